"""Attribution maps of several networks side by side: numbers, and one figure."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import tensor2img
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from ..training import report
from .attribution import AREA, STEPS, Attribution, Map, Window, attribute, contribution_area, diffusion_index
from .pair import Image, to_tensor
from .trained import Trained

MARK = "#e8112d"
FONT = 10
SIDE = 1.8  # of a picture, in inches


@dataclass(frozen=True)
class Explained:
    """What one network used, and what it drew of it."""

    network: Trained
    attribution: Attribution
    sr: Image
    psnr: float
    ssim: float
    """PSNR and SSIM of the whole image, of all channels and to the border, as the authors' figures have them."""
    seconds: float

    @property
    def map(self) -> Map:
        return self.attribution.map

    def numbers(self) -> dict[str, Any]:
        """For JSON and CSV. Changes are those upon the last doubling of the gradients, 0 with one for every step."""
        values, coarser = self.map, self.attribution.coarser
        area = contribution_area(values)
        before = coarser.map if coarser else values
        return {
            "network": self.network.label,
            "weights": self.network.weights,
            "diffusion_index": diffusion_index(values),
            "area_pixels": int(area.sum()),
            "area_share": float(area.mean()),
            "psnr": self.psnr,
            "ssim": self.ssim,
            "gradients": self.attribution.gradients,
            "map_change": float(np.abs(values - before).max()),
            "diffusion_index_change": abs(diffusion_index(values) - diffusion_index(before)),
            "gain": self.attribution.gain,
            "sum_of_attributions": self.attribution.values.sum().item(),
            "seconds": round(self.seconds, 2),
        }


def explain(
    network: Trained,
    gt: Image,
    lr: Image,
    window: Window,
    steps: int = STEPS,
    batch: int = 1,
    tolerance: float = 0,
    progress: Callable[[int, int], object] = lambda done, needed: None,
) -> Explained:
    """Runs one network; see `attribute`.

    Raises:
        DataError: there is no map to draw; the message names the network.
    """
    image = to_tensor(lr)
    start = time.perf_counter()
    with network.explaining("lower --batch, or take a smaller --crop"):
        attribution = attribute(network, image, window, steps, batch, tolerance, progress)
    seconds = time.perf_counter() - start
    with torch.no_grad():
        sr = tensor2img(network(image[None]))
    psnr, ssim = (float(metric(sr, gt, crop_border=0)) for metric in (calculate_psnr, calculate_ssim))
    return Explained(network, attribution, sr, psnr, ssim, seconds)


def as_json(explained: list[Explained], facts: dict[str, Any]) -> str:
    """Numbers of all networks, with what they hold for."""
    content = {**facts, "networks": [e.numbers() for e in explained]}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def as_csv(explained: list[Explained]) -> str:
    """A line for each network."""
    text = io.StringIO()
    rows = [e.numbers() for e in explained]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def draw(explained: list[Explained], gt: Image, lr: Image, window: Window, file: Path) -> None:
    """A column for each network: attribution map, contribution area, SR window; on the left LR and HR with the window.

    Attribution is white for none and dark red for the most, in the ``seismic`` colours of the original.
    """
    columns, scale = len(explained) + 1, gt.shape[0] // lr.shape[0]
    heights = [SIDE * gt.shape[0] / gt.shape[1]] * 2 + [SIDE]
    size = SIDE * columns + 0.4, sum(heights) + 1
    figure, axes = plt.subplots(3, columns, figsize=size, height_ratios=heights, layout="constrained")
    _show(axes[0, 0], lr[..., ::-1], "LR")
    _mark(axes[0, 0], window, scale)
    _show(axes[1, 0], gt[..., ::-1], "HR")
    _mark(axes[1, 0], window, 1)
    _show(axes[2, 0], _inside(gt, window), f"HR, {window.side}×{window.side}")
    for ax, e in zip(axes[:, 1:].T, explained):
        values = e.map
        area = contribution_area(values)
        ax[0].set_title(report.plain(e.network.label), fontsize=FONT + 1, fontweight="bold")
        _show(ax[0], plt.get_cmap("seismic")(values * 0.5 + 0.5)[..., :3], f"DI {diffusion_index(values):.2f}")
        _mark(ax[0], window, scale, "black")
        _show(ax[1], _lit(lr, area), f"{area.mean():.1%} of the pixels")
        _show(ax[2], _inside(e.sr, window), f"{e.psnr:.2f} dB / {e.ssim:.4f}")
    for ax, name in zip(axes[:, 1], ("attribution", f"{AREA:.0%} of it", "SR")):
        ax.set_ylabel(name, fontsize=FONT)
    report.save(figure, file)


def _show(ax: Axes, image: np.ndarray, caption: str) -> None:
    ax.imshow(image, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel(caption, fontsize=FONT, labelpad=3)
    for spine in ax.spines.values():
        spine.set(linewidth=0.5, color="gray")


def _mark(ax: Axes, window: Window, scale: int, color: str = MARK) -> None:
    side = window.side / scale
    corner = window.x / scale - 0.5, window.y / scale - 0.5
    ax.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=color, linewidth=1.2 if color == MARK else 0.6))


def _inside(image: Image, window: Window) -> Image:
    """The window of an image of HR size, RGB."""
    return image[window.y : window.y + window.side, window.x : window.x + window.side, ::-1]


def _lit(lr: Image, area: np.ndarray) -> np.ndarray:
    """The LR image in RGB, faded to grey outside the area."""
    grey = 0.25 * lr.mean(-1, keepdims=True) + 0.75 * 255
    return np.where(area[..., None], lr[..., ::-1], grey).astype(np.uint8)
