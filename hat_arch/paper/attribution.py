"""Local Attribution Maps: which pixels of the LR image a network uses to draw a part of the SR image.

After J. Gu and C. Dong, "Interpreting Super-Resolution Networks with Local Attribution Maps", CVPR 2021, with the
settings that the authors of HAT used (``evaluation_protocol/lam_settings`` in ``tables.yml``). Integrated gradients
along a path from the blurred LR image to the sharp one explain how much structure is in a window of the SR image.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from torch import Tensor
from torch.nn import functional as F
from tqdm import trange

from ..data.images import DataError

Network = Callable[[Tensor], Tensor]
Map = NDArray[np.float64]

SIGMA = 1.2
"""Standard deviation, in LR pixels, of the blur that the path begins with."""
STEPS = 50
QUICK = 17
"""Gradients of the quick way."""
KERNEL = 9
"""Side of the blur kernel."""
AREA = 0.9
"""Share of the attribution that the contribution area holds."""
FLAT = "the window is flat: nothing in the LR image draws it"
TINY = 1e-5
"""Keeps the last kernel of the path, of deviation 0, from dividing by 0: it is 1 in the middle and 0 elsewhere."""


@dataclass(frozen=True)
class Window:
    """The square of the SR image that is explained: left, top and side in its pixels."""

    x: int
    y: int
    side: int


@dataclass(frozen=True)
class Attribution:
    """What a network used."""

    values: Tensor
    """Attribution of each value of the LR image, ``(C, H, W)``; they sum to ``gain``, up to the steps of the path."""
    gain: float
    """Objective of the LR image minus that of the blurred one."""
    gradients: int
    """How many were computed."""

    @property
    def map(self) -> Map:
        """``(H, W)``, 0 to 1: sizes of the attributions, summed over the channels, over their maximum."""
        sizes = self.values.sum(0).abs().double().cpu().numpy()
        return sizes / sizes.max()


def blur_path(lr: Tensor, steps: int = STEPS, sigma: float = SIGMA) -> Tensor:
    """The images of the path, ``(steps + 1, C, H, W)``, from ``lr`` blurred by ``sigma`` pixels to ``lr`` itself.

    Beyond its borders ``lr``, ``(C, H, W)``, is mirrored. Raises `DataError` if it is too small for that.
    """
    half = KERNEL // 2
    if min(lr.shape[1:]) <= half:
        raise DataError(f"an LR image of {lr.shape[1]}x{lr.shape[2]} is too small; it takes {half + 1}x{half + 1}")
    sigmas = torch.linspace(sigma, 0, steps + 1).double()[:, None] + TINY
    lines = torch.exp(-((torch.arange(KERNEL) - half) ** 2) / (2 * sigmas**2))
    lines /= lines.sum(1, keepdim=True)
    kernels = (lines[:, :, None] * lines[:, None, :]).to(lr)
    padded = F.pad(lr[:, None], (half, half, half, half), "reflect")
    return F.conv2d(padded, kernels[:, None]).transpose(0, 1)


def objective(sr: Tensor, window: Window) -> Tensor:
    """The gradient detector: sums ``sqrt(dy² + dx²)`` over the window and the channels; ``(B, C, H, W)`` to ``(B,)``.

    The last row and column of an image have no neighbour and do not count. Where an image is flat the derivative of the
    root is taken to be 0; the authors' code gets NaN there, and drops every LR pixel that reaches that point.
    """
    rows = slice(window.y, window.y + window.side)
    columns = slice(window.x, window.x + window.side)
    dy = (sr[..., 1:, :-1] - sr[..., :-1, :-1])[..., rows, columns]
    dx = (sr[..., :-1, 1:] - sr[..., :-1, :-1])[..., rows, columns]
    return torch.linalg.vector_norm(torch.stack([dy, dx]), dim=0).sum((1, 2, 3))


def attribute(
    network: Network,
    lr: Tensor,
    window: Window,
    steps: int = STEPS,
    batch: int = 1,
    gradients: int | None = None,
    label: str = "",
) -> Attribution:
    """Attributes the structure in a window of the network's output to the values of its input.

    The path integral of the gradient is that of the authors' code: the sum over the steps of the gradient at the
    sharper of two images times their difference.

    Args:
        network: differentiable, ``(B, C, H, W)`` in 0..1 to an enlarged one.
        lr: ``(C, H, W)``, 0..1.
        window: of the network's output.
        steps: of the path. Time is a forward and a backward pass for each gradient.
        batch: gradients computed at once; memory grows with it, the result changes by rounding alone.
        gradients: compute about so many, and interpolate those of the other steps (an approximation); by default, all.
        label: of the progress bar, which is drawn on a terminal.

    Raises:
        DataError: the gradient is not finite, or 0 everywhere, as where the window is flat.
    """
    path = blur_path(lr, steps)
    moves = path.diff(dim=0)
    lengths = moves.double().flatten(1).norm(dim=1)
    moving = lengths > torch.finfo(lr.dtype).eps * lengths.sum()  # near the sharp image, steps change nothing
    if not moving.any():
        raise DataError(FLAT)
    images, moves, places = path[1:][moving], moves[moving], lengths.cumsum(0)[moving].cpu().numpy()
    if gradients and gradients < len(places):
        nodes = spread(places, gradients)
        # Σ over steps of (Σ over nodes of weight · gradient) · move = Σ over nodes of gradient · (Σ of weight · move)
        weights = torch.from_numpy(CubicSpline(places[nodes], np.eye(len(nodes)))(places)).to(moves)
        images, moves = images[nodes], torch.einsum("sn,schw->nchw", weights, moves)

    values, last = torch.zeros_like(lr), 0.0
    for first in trange(0, len(images), batch, desc=label, unit="gradient", leave=False, disable=None):
        part = images[first : first + batch].clone().requires_grad_()
        with torch.enable_grad():
            objectives = objective(network(part), window)
            (gradient,) = torch.autograd.grad(objectives.sum(), part)
        if not gradient.isfinite().all():
            raise DataError("the network's gradient is not finite")
        values += (gradient * moves[first : first + batch]).sum(0)
        last = objectives[-1].item()
    if values.abs().max() < 100 * torch.finfo(lr.dtype).eps:  # of a flat image the path is flat but for rounding
        raise DataError(FLAT)
    with torch.no_grad():
        start = objective(network(path[:1]), window).item()
    return Attribution(values, last - start, len(images))


def spread(places: Map, count: int) -> list[int]:
    """Indices of about ``count`` of some increasing places: both ends, and denser there, as Chebyshev's nodes."""
    wanted = places[0] + np.ptp(places) * (1 - np.cos(np.linspace(0, np.pi, count))) / 2
    return np.unique(np.abs(places[:, None] - wanted).argmin(0)).tolist()


def gini(values: Map) -> float:
    """Gini coefficient of non-negative values: 0 if all are equal, near 1 if one holds everything.

    A small constant is added to each value, as in the authors' code, so that it is defined for zeros: it is 0 then.
    """
    x = np.sort(values, axis=None).astype(np.float64) + 1e-7
    n = x.size
    return float(((2 * np.arange(1, n + 1) - n - 1) * x).sum() / (n * x.sum()))


def diffusion_index(values: Map) -> float:
    """DI of an attribution map: 100 if the whole image is used equally, near 0 if a single pixel is."""
    return (1 - gini(values)) * 100


def contribution_area(values: Map, share: float = AREA) -> NDArray[np.bool_]:
    """The fewest pixels that hold at least ``share`` of a map's sum, those with the largest values; ``(H, W)``.

    Pixels without any attribution are never among them.
    """
    order = np.argsort(-values, axis=None, kind="stable")
    held = np.cumsum(values.ravel()[order])
    area = np.zeros(values.size, bool)
    area[order[: np.searchsorted(held, share * held[-1]) + 1]] = True
    return area.reshape(values.shape) & (values > 0)
