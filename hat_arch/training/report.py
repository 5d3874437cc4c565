"""What a run has come to: a summary, training curves, and held-out images beside bicubic and ground truth."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset
from basicsr.metrics import calculate_psnr
from basicsr.utils import tensor2img
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.resize import imresize
from ..inference.upscaler import Upscaler
from ..utils.files import write_file
from ..utils.machine import cpu_name
from .checkpoints import versions
from .monitor import Monitor

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

CROP = 128  # side of the shown part, in pixels of the ground truth


@dataclass
class Comparison:
    """One image: its parts as uint8 BGR of GT size, and PSNR-Y in dB."""

    name: str
    lr: NDArray[np.uint8]
    bicubic: NDArray[np.uint8]
    ours: NDArray[np.uint8]
    gt: NDArray[np.uint8]
    psnr_bicubic: float
    psnr_ours: float


def load_trained(opt: dict[str, Any], weights: Path) -> nn.Module:
    """The run's network with its averaged weights (the plain ones, if it keeps no average), in evaluation mode."""
    content = torch.load(weights, map_location="cpu", weights_only=True)
    net = build_network(opt["network_g"])
    net.load_state_dict(content.get("params_ema", content["params"]))
    return net.eval()


def compare(opt: dict[str, Any], net: nn.Module) -> list[Comparison]:
    """Upscales the images of the first validation set with ``net`` and with bicubic (MATLAB's)."""
    name = next(name for name in opt["datasets"] if name.startswith("val"))
    dataset = build_dataset({**opt["datasets"][name], "phase": "val", "scale": opt["scale"]})
    return [_compare_one(sample, opt, net) for sample in dataset]


def _compare_one(sample: dict[str, Any], opt: dict[str, Any], net: nn.Module) -> Comparison:
    scale = opt["scale"]
    lq: Tensor = sample["lq"][None]
    ours, gt, lr = tensor2img(Upscaler.from_options(net, opt)(lq)), tensor2img(sample["gt"]), tensor2img(lq)
    enlarged = imresize(lr, scale)
    psnr = [float(calculate_psnr(image, gt, crop_border=scale, test_y_channel=True)) for image in (enlarged, ours)]
    nearest = lr.repeat(scale, 0).repeat(scale, 1)
    return Comparison(Path(sample["lq_path"]).stem, nearest, enlarged, ours, gt, *psnr)


def draw_comparison(comparisons: list[Comparison], file: Path) -> None:
    """A row for each image (four at most): LR, bicubic, ours, GT, at the part with the most detail."""
    rows = comparisons[:4]
    figure, axes = plt.subplots(len(rows), 4, figsize=(10, 2.7 * len(rows)), squeeze=False, layout="constrained")
    for row, c in zip(axes, rows):
        top, left = most_detailed(c.gt)
        parts = (
            (c.lr, "LR"),
            (c.bicubic, f"bicubic {c.psnr_bicubic:.2f} dB"),
            (c.ours, f"ours {c.psnr_ours:.2f} dB"),
            (c.gt, "GT"),
        )
        for ax, (image, title) in zip(row, parts):
            ax.imshow(image[top : top + CROP, left : left + CROP, ::-1], interpolation="nearest")
            ax.set_title(title, fontsize=10)
            ax.set_axis_off()
        row[0].set_title(f"{c.name}: LR", fontsize=10)
    save(figure, file)


def most_detailed(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Top and left of the `CROP`-sided square with the largest gradients."""
    gray = image.astype(np.float32).mean(-1)
    energy = np.abs(np.diff(gray, axis=0))[:, :-1] + np.abs(np.diff(gray, axis=1))[:-1]
    total = np.pad(energy, ((1, 0), (1, 0))).cumsum(0).cumsum(1)  # summed-area table
    h, w = (min(CROP, side - 1) for side in gray.shape)
    sums = total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w]
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


def draw_curves(events: Path, baseline: float | None, file: Path) -> bool:
    """Loss, learning rate and metrics over iterations, from TensorBoard's logs; False if there are none.

    Args:
        events: the run's folder below ``tb_logger/``.
        baseline: bicubic's PSNR on the validation set, drawn beside the PSNR curve.
        file: PNG to write.
    """
    curves = {tag: points for tag, points in scalars(events).items() if tag.startswith(("losses/l_", "metrics/"))}
    if not curves:
        return False
    figure, axes = plt.subplots(1, len(curves), figsize=(4.2 * len(curves), 3.2), squeeze=False, layout="constrained")
    for ax, (tag, points) in zip(axes[0], curves.items()):
        ax.plot([*points], [*points.values()], marker="." if len(points) < 40 else "")
        if tag.startswith("losses/"):
            ax.set_yscale("log")
        if tag.endswith("/psnr") and baseline is not None:
            ax.axhline(baseline, color="gray", linestyle="--", label=f"bicubic {baseline:.2f}")
            ax.legend()
        ax.set_title(tag.partition("/")[2].replace("/", ": "), fontsize=10)
        ax.set_xlabel("iteration")
        ax.grid(alpha=0.3)
    save(figure, file)
    return True


def write_summary(opt: dict[str, Any], model: Any, monitor: Monitor) -> None:
    """Writes summary.md, and curves.png if the run has a TensorBoard log, into the folder of a run that is done.

    Args:
        opt: the options as BasicSR's pipeline has completed them.
        model: as it is at the end.
        monitor: of the run.
    """
    folder = Path(opt["path"]["experiments_root"])
    drawn = draw_curves(Path(opt["root_path"]) / "tb_logger" / opt["name"], None, folder / "curves.png")
    text = summary(opt, model, monitor) + ("![curves](curves.png)\n" if drawn else "")
    write_file(folder / "summary.md", text.encode())
    print(f"{folder / 'summary.md'}{', curves.png' if drawn else ''}")


def summary(opt: dict[str, Any], model: Any, monitor: Monitor) -> str:
    """What a run has come to, in Markdown. Arguments as for `write_summary`."""
    bare, rates = model.get_bare_model(model.net_g), monitor.rates()
    table = {
        "network": f"{type(bare).__name__}, {sum(p.numel() for p in bare.parameters()):,} parameters",
        "iterations": f"{monitor.iteration:,} of {int(opt['train']['total_iter']):,}",
        "time of the last start": f"{timedelta(seconds=round(monitor.seconds()))}",
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
    """Writes a figure as PNG, whole or not at all, and closes it."""
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a box stands for what the font lacks
        figure.savefig(data, dpi=150, format="png")
    plt.close(figure)
    write_file(file, data.getvalue())
