"""Attribution maps of several networks side by side: numbers, and one figure."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from basicsr.metrics import calculate_psnr, calculate_ssim
from matplotlib import colormaps
from matplotlib.figure import Figure

from ..training.report import plain, save
from .attribution import AREA, STEPS, Attribution, Window, attribute, contribution_area, diffusion_index
from .drawing import FONT, mark, show
from .evaluation_images import Image, to_tensor
from .trained_networks import TrainedNetwork, naming_failures

SIDE = 1.8  # of a picture, in inches


@dataclass(frozen=True)
class ExplainedNetwork:
    """What one network used, and what it drew of it."""

    network: TrainedNetwork
    attribution: Attribution
    sr: Image
    psnr: float
    ssim: float
    """PSNR and SSIM of the whole image, of all channels and to the border, as the authors' figures have them."""
    seconds: float

    def numbers(self) -> dict[str, Any]:
        """For JSON."""
        area = contribution_area(self.attribution.map)
        return {
            "network": self.network.label,
            "weights": self.network.weights,
            "diffusion_index": diffusion_index(self.attribution.map),
            "area_pixels": int(area.sum()),
            "area_share": float(area.mean()),
            "psnr": self.psnr,
            "ssim": self.ssim,
            "gradients": self.attribution.gradients,
            "gain": self.attribution.gain,
            "sum_of_attributions": self.attribution.values.sum().item(),
            "seconds": round(self.seconds, 2),
        }


def explain(
    network: TrainedNetwork,
    gt: Image,
    lr: Image,
    window: Window,
    steps: int = STEPS,
    batch: int = 1,
    gradients: int | None = None,
) -> ExplainedNetwork:
    """Runs one network; see `attribute`.

    Raises:
        NetworkError: there is no map to draw; the message names the network.
    """
    start = time.perf_counter()
    with naming_failures(network.label, "lower --batch, or take a smaller --crop"):
        attribution = attribute(network, to_tensor(lr)[0], window, steps, batch, gradients, network.label)
        seconds = time.perf_counter() - start
        sr = network.enlarger()(lr)
    psnr, ssim = (float(metric(sr, gt, crop_border=0)) for metric in (calculate_psnr, calculate_ssim))
    return ExplainedNetwork(network, attribution, sr, psnr, ssim, seconds)


def protocol(steps: int, gradients: int | None) -> str:
    """How the maps were made, for the figure."""
    if gradients:
        return f"quick: about {gradients} gradients on a path of {steps} steps, the others interpolated; approximate"
    return f"gradient at each of {steps} steps{', as the authors' if steps == STEPS else f'; the authors take {STEPS}'}"


def draw(explained: list[ExplainedNetwork], gt: Image, lr: Image, window: Window, how: str, file: Path) -> None:
    """A column for each network: attribution map, contribution area, SR window; on the left LR and HR with the window.

    Attribution is white for none and dark red for the most, in the ``seismic`` colours of the original. ``how`` is
    written below.
    """
    columns, scale = len(explained) + 1, gt.shape[0] // lr.shape[0]
    heights = [SIDE * gt.shape[0] / gt.shape[1]] * 2 + [SIDE]
    size = SIDE * columns + 0.4, sum(heights) + 1.2
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(3, columns, height_ratios=heights)
    on_hr = (window.x, window.y, window.side, window.side)
    on_lr = tuple(value / scale for value in on_hr)
    inside = np.s_[window.y : window.y + window.side, window.x : window.x + window.side, ::-1]
    show(axes[0, 0], lr[..., ::-1], "LR")
    mark(axes[0, 0], on_lr)
    show(axes[1, 0], gt[..., ::-1], "HR")
    mark(axes[1, 0], on_hr)
    show(axes[2, 0], gt[inside], f"HR, {window.side}×{window.side}")
    for column, one in zip(axes[:, 1:].T, explained):
        values = one.attribution.map
        area, grey = contribution_area(values), 0.25 * lr.mean(-1, keepdims=True) + 0.75 * 255
        faded = np.where(area[..., None], lr[..., ::-1], grey).astype(np.uint8)
        column[0].set_title(plain(one.network.label), fontsize=FONT + 1, fontweight="bold")
        show(column[0], colormaps["seismic"](values * 0.5 + 0.5)[..., :3], f"DI {diffusion_index(values):.2f}")
        mark(column[0], on_lr, "black", 0.6)
        show(column[1], faded, f"{area.mean():.1%} of the pixels")
        show(column[2], one.sr[inside], f"{one.psnr:.2f} dB / {one.ssim:.4f}")
    for ax, name in zip(axes[:, 1], ("attribution", f"{AREA:.0%} of it", "SR")):
        ax.set_ylabel(name, fontsize=FONT)
    figure.supxlabel(how, fontsize=FONT - 2, wrap=True)
    save(figure, file)
