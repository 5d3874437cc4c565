"""A marked patch of an image in several versions side by side: LR, bicubic, each network, ground truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..data.images import DataError
from ..degradations.resize import imresize
from ..training.report import plain, save
from .drawing import mark, show
from .evaluation_images import Image
from .metrics import SSIM_WINDOW, psnr, ssim
from .trained_networks import TrainedNetwork, naming_failures

Box = tuple[int, int, int, int]
"""Left, top, width and height of a patch, in pixels of the ground truth."""

WIDTH, CAPTION = 1.9, 0.45  # of a patch, of the lines below it, in inches


@dataclass(frozen=True)
class Patch:
    """The marked part of one version of an image."""

    name: str
    image: Image
    """``(h, w, 3)`` BGR."""
    psnr: float | None = None
    ssim: float | None = None
    """Of the patch, on luma; None for LR and GT."""


def patches(gt: Image, lr: Image, box: Box, networks: list[TrainedNetwork]) -> list[Patch]:
    """LR (pixels repeated), bicubic (MATLAB's), each network, and GT, at a patch; the input for both first at scale 1.

    The whole LR image is upscaled. PSNR and SSIM are those of the patch, without a border.

    Raises:
        DataError: the patch is too small for SSIM.
        NetworkError: a network fails.
    """
    x, y, width, height = box
    if min(width, height) < SSIM_WINDOW:
        raise DataError(f"--at: a patch of {width}x{height} is too small; SSIM needs {SSIM_WINDOW}x{SSIM_WINDOW}")
    scale = gt.shape[0] // lr.shape[0]

    def part(image: Image) -> Image:
        return np.ascontiguousarray(image[y : y + height, x : x + width])

    enlarged = [("bicubic", imresize(lr, scale))] if scale > 1 else [("input", lr)]
    for network in networks:
        with naming_failures(network.label, "take a smaller image"):
            enlarged.append((network.label, network.enlarger()(lr)))
    truth = part(gt)
    scored = [Patch(name, part(sr), psnr(part(sr), truth, 0), ssim(part(sr), truth, 0)) for name, sr in enlarged]
    small = [Patch("LR", part(lr.repeat(scale, 0).repeat(scale, 1)))] if scale > 1 else []
    return [*small, *scored, Patch("GT", truth)]


def draw_strip(name: str, gt: Image, box: Box, found: list[Patch], file: Path) -> None:
    """The image with the patch marked, then all patches in one or two rows; the best numbers in bold."""
    rows = 1 if len(found) <= 5 else 2
    columns = math.ceil(len(found) / rows)
    total = rows * (WIDTH * box[3] / box[2] + CAPTION)
    overview = min((total - CAPTION) * gt.shape[1] / gt.shape[0], 2.5 * WIDTH)
    figure = Figure(figsize=(overview + columns * WIDTH + 0.3, total + 0.1), layout="constrained")
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[overview, *[WIDTH] * columns])
    ax = figure.add_subplot(grid[:, 0])
    show(ax, gt[..., ::-1], plain(name))
    mark(ax, box)
    scored = [patch for patch in found if patch.psnr is not None]
    best = {key: max(getattr(patch, key) for patch in scored) for key in ("psnr", "ssim")} if len(scored) > 1 else {}
    for i, patch in enumerate(found):
        ax = figure.add_subplot(grid[i // columns, 1 + i % columns])
        show(ax, patch.image[..., ::-1], f"{plain(patch.name)}\n{_numbers(patch, best)}")
    save(figure, file)


def _numbers(patch: Patch, best: dict[str, float]) -> str:
    """PSNR and SSIM as matplotlib's mathtext, bold where they are the best as printed."""
    if patch.psnr is None:
        return "PSNR / SSIM" if patch.name == "GT" else ""
    texts = []
    for key, digits in (("psnr", 2), ("ssim", 4)):
        text = f"{getattr(patch, key):.{digits}f}"
        texts.append(rf"$\mathbf{{{text}}}$" if key in best and text == f"{best[key]:.{digits}f}" else text)
    return " / ".join(texts)
