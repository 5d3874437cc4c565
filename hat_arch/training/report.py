"""What a run has come to: a summary, training curves, and held-out images beside bicubic and ground truth."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from basicsr.metrics import calculate_psnr
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import nn

from ..config import ConfigError
from ..data.named_errors import build_dataset
from ..inference.upscaler import Upscaler
from ..utils.files import write_file
from ..utils.machine import cpu_name
from .checkpoints import versions
from .measuring import baseline, enlarged, for_network, has_ground_truth, picture
from .monitor import Monitor

CROP = 96  # side of the shown part, in pixels of the ground truth


class Psnr(NamedTuple):
    """PSNR in dB, of luma and of all three colours."""

    y: float
    rgb: float

    def __str__(self) -> str:
        return f"{self.y:.2f} / {self.rgb:.2f} dB"


class Comparison(NamedTuple):
    """A held-out image, upscaled, and what a picture shows of it."""

    name: str
    scores: dict[str, Psnr]
    """By what enlarged it: bicubic (at scale 1 the input as it is), then each network."""
    parts: dict[str, NDArray[np.uint8]]
    """Title → the part in which the first and the last of them differ most, RGB, of GT size."""


def means(comparisons: list[Comparison]) -> dict[str, Psnr]:
    """The mean scores over the images."""
    scores = [comparison.scores for comparison in comparisons]
    return {name: Psnr(*(fmean(column) for column in zip(*(one[name] for one in scores)))) for name in scores[0]}


def compare(opt: dict[str, Any], nets: Mapping[str, nn.Module]) -> list[Comparison]:
    """Upscales the images of the first validation set that has ground truth, with ``nets`` and MATLAB's bicubic.

    Raises:
        ConfigError: there is none.
    """
    upscalers = {name: Upscaler.from_options(net, opt) for name, net in nets.items()}
    for name, section in opt["datasets"].items():
        if name.startswith("val"):
            dataset = build_dataset({**section, "phase": "val", "scale": opt["scale"]})
            if has_ground_truth(dataset):
                samples = (for_network(dataset[n], opt) for n in range(len(dataset)))
                return [_compare_one(sample, upscalers, opt["scale"]) for sample in samples]
    raise ConfigError(f"{opt['name']}: datasets has no validation set with ground truth to report on")


def _compare_one(sample: dict[str, Any], upscalers: Mapping[str, Upscaler], scale: int) -> Comparison:
    lr, gt = picture(sample["lq"]), picture(sample["gt"])
    made = {baseline(scale): enlarged(lr, scale)}
    made |= {name: picture(upscaler(sample["lq"][None])) for name, upscaler in upscalers.items()}
    scores = {name: psnr(image, gt, scale if scale > 1 else 0) for name, image in made.items()}
    images = {"LR": lr.repeat(scale, 0).repeat(scale, 1)} if scale > 1 else {}
    images |= {f"{name} {scores[name]}": image for name, image in made.items()}
    images["GT: PSNR of Y / of RGB"] = gt
    first, *_, ours = made.values()
    top, left = where_they_differ(first, ours)
    parts = {title: image[top : top + CROP, left : left + CROP] for title, image in images.items()}
    return Comparison(Path(sample["lq_path"]).stem, scores, parts)


def psnr(image: NDArray[np.uint8], gt: NDArray[np.uint8], border: int) -> Psnr:
    """PSNR of an image ``(H, W, 3)`` RGB, without ``border`` pixels on each side."""
    image, gt = image[..., ::-1], gt[..., ::-1]  # BasicSR's luma is that of BGR
    return Psnr(*(float(calculate_psnr(image, gt, crop_border=border, test_y_channel=y)) for y in (True, False)))


def draw_comparison(comparisons: list[Comparison], file: Path) -> None:
    """A row for each image (four at most): LR and bicubic, or the input; the networks; GT; where they differ most."""
    rows = comparisons[:4]
    columns = len(rows[0].parts)
    figure = Figure(figsize=(2.5 * columns, 2.7 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), columns, squeeze=False)
    for row, comparison in zip(axes, rows):
        for n, (ax, (title, part)) in enumerate(zip(row, comparison.parts.items())):
            ax.imshow(part, interpolation="nearest")
            ax.set_title(title if n else plain(f"{comparison.name}: {title}"), fontsize=9)
            ax.set_axis_off()
    save(figure, file)


def where_they_differ(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> tuple[int, int]:
    """Top and left of the `CROP`-sided square in which two images differ most."""
    difference = np.abs(one.astype(np.float64) - other).mean(-1)
    h, w = (min(CROP, side) for side in difference.shape)
    sums = cv2.boxFilter(difference, -1, (w, h), anchor=(0, 0), normalize=False)
    sums = sums[: len(sums) - h + 1, : sums.shape[1] - w + 1]  # of squares inside the image
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top), int(left)


def scalars(events: Path) -> dict[str, dict[int, float]]:
    """Iteration → value of all numbers in TensorBoard's logs; the later one where a run that went on repeated some.

    Args:
        events: the run's folder below ``tb_logger/``.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not events.is_dir():
        return {}
    logs = EventAccumulator(str(events), {"scalars": 0}).Reload()
    curves = {}
    for tag in logs.Tags()["scalars"]:
        points = {point.step: point.value for point in sorted(logs.Scalars(tag), key=lambda point: point.wall_time)}
        curves[tag] = dict(sorted(points.items()))
    return curves


def draw_curves(events: Path, beside: Mapping[str, float], file: Path, label: str = "bicubic") -> bool:
    """Draws losses and metrics over iterations from TensorBoard's logs in ``events``; False if there are none.

    ``beside`` has the values of some metrics on the validation set, of what ``label`` names, to be drawn beside curves.
    """
    curves = {tag: points for tag, points in scalars(events).items() if tag.startswith(("losses/l_", "metrics/"))}
    if not curves:
        return False
    figure = Figure(figsize=(4.2 * len(curves), 3.2), layout="constrained")
    axes = figure.subplots(1, len(curves), squeeze=False)
    for ax, (tag, points) in zip(axes[0], curves.items()):
        ax.plot([*points], [*points.values()], marker="." if len(points) < 40 else "")
        if tag.startswith("losses/"):
            ax.set_yscale("log")
        if (value := beside.get(tag.rpartition("/")[2])) is not None:
            ax.axhline(value, color="gray", linestyle="--", label=f"{label} {value:.2f}")
            ax.legend()
        ax.set_title(tag.partition("/")[2].replace("/", ": "), fontsize=10)
        ax.set_xlabel("iteration")
        ax.grid(alpha=0.3)
    save(figure, file)
    return True


def write_summary(opt: dict[str, Any], model: Any, monitor: Monitor) -> None:
    """Writes summary.md, and curves.png if the run has a TensorBoard log, into the folder of a run that is done."""
    folder = Path(opt["path"]["experiments_root"])
    drawn = draw_curves(Path(opt["root_path"]) / "tb_logger" / opt["name"], {}, folder / "curves.png")
    text = summary(opt, model, monitor) + ("![curves](curves.png)\n" if drawn else "")
    write_file(folder / "summary.md", text.encode())
    print(f"{folder / 'summary.md'}{', curves.png' if drawn else ''}")


def summary(opt: dict[str, Any], model: Any, monitor: Monitor) -> str:
    """What a run has come to, in Markdown; ``opt`` are the options as BasicSR's pipeline has completed them."""
    bare, rates = model.get_bare_model(model.net_g), monitor.rates()
    table = {
        "network": f"{type(bare).__name__}, {sum(p.numel() for p in bare.parameters()):,} parameters",
        "iterations": f"{monitor.iteration:,} of {int(opt['train']['total_iter']):,}",
        "time of the last start": str(timedelta(seconds=round(monitor.seconds()))),
        "samples per second": f"{rates['samples_per_second']:.3g}" if "samples_per_second" in rates else "",
        "memory": f"{rates['memory_mib']:.0f} MiB" if "memory_mib" in rates else "",
        "processes": str(opt["world_size"]),
        "precision": opt["train"].get("precision", "fp32"),
        "steps passed over": str(getattr(model, "bad_steps", 0) or ""),
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else cpu_name(),
        "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
        "date": f"{datetime.now().astimezone():%Y-%m-%d %H:%M %z}",
        "weights": "models/net_g_latest.pth",
    }
    lines = [f"# {opt['name']}", "", "| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in table.items() if v), ""]
    if last := getattr(model, "last_metrics", {}):
        lines += ["| data set | metric | at the end | best | at iteration |", "|---|---|---|---|---|"]
        for dataset, metrics in last.items():
            for name, value in metrics.items():
                best = model.best_metric_results[dataset][name]
                lines.append(f"| {dataset} | {name} | {value:.4f} | {best['val']:.4f} | {best['iter']:,} |")
        lines.append("")
    return "\n".join([*lines, ""])


def plain(text: str) -> str:
    """Text for a figure, in which dollars do not begin a formula."""
    return text.replace("$", r"\$")


def save(figure: Figure, file: Path) -> None:
    """Writes a figure as PNG, whole or not at all.

    No figure is made by pyplot, which would choose how all of the process draws, and open windows.
    """
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a box stands for what the font lacks
        figure.savefig(data, dpi=150, format="png")
    write_file(file, data.getvalue())
