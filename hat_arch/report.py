"""What a run has come to, as pictures: training curves, and held-out images beside bicubic and ground truth."""

from __future__ import annotations

from dataclasses import dataclass
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

from .data.resize import imresize
from .models.hat_model import upscale

matplotlib.use("Agg")
from matplotlib import pyplot as plt

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
    ours, gt, lr = tensor2img(upscale(net, lq, opt)), tensor2img(sample["gt"]), tensor2img(lq)
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
    _save(figure, file)


def most_detailed(image: NDArray[np.uint8]) -> tuple[int, int]:
    """Top and left of the `CROP`-sided square with the largest gradients."""
    gray = image.astype(np.float32).mean(-1)
    energy = np.abs(np.diff(gray, axis=0))[:, :-1] + np.abs(np.diff(gray, axis=1))[:-1]
    total = np.pad(energy, ((1, 0), (1, 0))).cumsum(0).cumsum(1)  # summed-area table
    h, w = (min(CROP, side - 1) for side in gray.shape)
    sums = total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w]
    top, left = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(top), int(left)


def draw_curves(events: Path, baseline: float | None, file: Path) -> bool:
    """Loss, learning rate and metrics over iterations, from TensorBoard's logs; False if there are none.

    Args:
        events: the run's folder below ``tb_logger/``.
        baseline: bicubic's PSNR on the validation set, drawn beside the PSNR curve.
        file: PNG to write.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not events.is_dir():
        return False
    logs = EventAccumulator(str(events), {"scalars": 0}).Reload()
    tags = [tag for tag in logs.Tags()["scalars"] if tag.startswith(("losses/l_", "metrics/"))]
    if not tags:
        return False
    figure, axes = plt.subplots(1, len(tags), figsize=(4.2 * len(tags), 3.2), squeeze=False, layout="constrained")
    for ax, tag in zip(axes[0], tags):
        points = logs.Scalars(tag)
        ax.plot([p.step for p in points], [p.value for p in points], marker="." if len(points) < 40 else "")
        if tag.startswith("losses/"):
            ax.set_yscale("log")
        if tag.endswith("/psnr") and baseline is not None:
            ax.axhline(baseline, color="gray", linestyle="--", label=f"bicubic {baseline:.2f}")
            ax.legend()
        ax.set_title(tag.partition("/")[2].replace("/", ": "), fontsize=10)
        ax.set_xlabel("iteration")
        ax.grid(alpha=0.3)
    _save(figure, file)
    return True


def _save(figure: Any, file: Path) -> None:
    partial = file.with_name(f".{file.name}")
    figure.savefig(partial, dpi=150, format="png")
    plt.close(figure)
    partial.replace(file)
