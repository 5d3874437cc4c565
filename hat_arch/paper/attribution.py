"""Local Attribution Maps: which pixels of the LR image a network uses to draw a part of the SR image.

After J. Gu and C. Dong, "Interpreting Super-Resolution Networks with Local Attribution Maps", CVPR 2021, with the
settings that the authors of HAT used (``evaluation_protocol/lam_settings`` in ``tables.yml``). Integrated gradients
along a path from the blurred LR image to the sharp one explain how much structure is in a window of the SR image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from torch import Tensor
from torch.nn import functional as F

from ..data.images import DataError

Network = Callable[[Tensor], Tensor]
Map = NDArray[np.float64]

SIGMA = 1.2
"""Standard deviation, in LR pixels, of the blur that the path begins with."""
STEPS = 50
KERNEL = 9
"""Side of the blur kernel."""
AREA = 0.9
"""Share of the attribution that the contribution area holds."""
FIRST = 5
"""Gradients that are computed first where not all are."""
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
    coarser: Attribution | None = None
    """The same from about half the gradients, where they are not those of every step."""

    @property
    def map(self) -> Map:
        """``(H, W)``, 0 to 1: sizes of the attributions, summed over the channels, over their maximum."""
        sizes = self.values.sum(0).abs().double().cpu().numpy()
        return sizes / sizes.max()


def gaussian(sigma: float, dtype: torch.dtype = torch.float64) -> Tensor:
    """Kernel of the path, ``(KERNEL, KERNEL)``, summing to 1."""
    r = torch.arange(KERNEL, dtype=torch.float64) - KERNEL // 2
    line = torch.exp(-(r**2) / (2 * (sigma + TINY) ** 2))
    kernel = line[:, None] * line
    return (kernel / kernel.sum()).to(dtype)


def blur_path(lr: Tensor, steps: int = STEPS, sigma: float = SIGMA) -> Tensor:
    """The images of the path, ``(steps + 1, C, H, W)``, from ``lr`` blurred by ``sigma`` to ``lr`` itself.

    Args:
        lr: ``(C, H, W)``; beyond its borders it is mirrored.

    Raises:
        DataError: it is too small to be mirrored.
    """
    if min(lr.shape[1:]) <= KERNEL // 2:
        least = KERNEL // 2 + 1
        raise DataError(f"an LR image of {lr.shape[1]}x{lr.shape[2]} is too small; it takes {least}x{least}")
    kernels = torch.stack([gaussian(s, lr.dtype) for s in torch.linspace(sigma, 0, steps + 1).tolist()]).to(lr.device)
    half = KERNEL // 2
    padded = F.pad(lr[:, None], (half, half, half, half), "reflect")
    return F.conv2d(padded, kernels[:, None]).transpose(0, 1)


def objective(sr: Tensor, window: Window) -> Tensor:
    """The gradient detector: sums ``sqrt(dy² + dx²)`` over the window and the channels, for each image.

    Where an image is flat the derivative of the root is taken to be 0. (The authors' code gets NaN there and sets the
    attribution of every LR pixel that reaches that point to 0.)

    Args:
        sr: ``(B, C, H, W)``. Its last row and column have no neighbour and do not count.

    Returns:
        ``(B,)``.
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
    tolerance: float = 0,
    progress: Callable[[int, int], object] = lambda done, needed: None,
) -> Attribution:
    """Attributes the structure in a window of the network's output to the values of its input.

    The path integral of the gradient is that of the authors' code: the sum over the steps of the gradient at the
    sharper of two images times their difference. With a tolerance, the gradient is computed at `FIRST` images of the
    path and then at twice as many, again and again, until the map changes no more; at the images between it is
    interpolated.

    Args:
        network: differentiable, ``(B, C, H, W)`` in 0..1 to an enlarged one.
        lr: ``(C, H, W)``, 0..1.
        steps: of the path. Time is a forward and a backward pass for each gradient.
        batch: gradients computed at once; memory grows with it, the result changes by rounding alone.
        tolerance: largest change of a value of the map, which are 0 to 1, upon twice the gradients at which it is
            good enough; what is left of error is smaller, as a rule. 0 computes the gradient of every step.
        progress: called with the number of gradients computed, and of those that are needed as far as is known.

    Raises:
        DataError: the gradient is not finite, or 0 everywhere, as where the window is flat.
    """
    path = blur_path(lr, steps)
    moves, lengths = path.diff(dim=0), path.double().diff(dim=0).flatten(1).norm(dim=1)
    moving = lengths > torch.finfo(lr.dtype).eps * lengths.sum()  # near the sharp image steps change nothing
    if not moving.any():
        raise DataError(FLAT)
    ends, places = moving.nonzero()[:, 0], lengths.cumsum(0)[moving].cpu().numpy()
    gradients: dict[int, Tensor] = {}
    objectives: dict[int, float] = {}
    with torch.no_grad():
        start = objective(network(path[:1]), window).item()
    result = None
    for nodes in levels(places) if tolerance else [[*range(len(ends))]]:
        new = [node for node in nodes if node not in gradients]
        for first in range(0, len(new), batch):
            part = new[first : first + batch]
            images = path[1:][ends[part]].requires_grad_()
            with torch.enable_grad():
                values = objective(network(images), window)
                (found,) = torch.autograd.grad(values.sum(), images)
            if not found.isfinite().all():
                raise DataError("the network's gradient is not finite")
            gradients.update(zip(part, found))
            objectives.update(zip(part, values.tolist()))
            progress(len(gradients), len(nodes))
        weights = torch.from_numpy(interpolation(places, nodes)).to(moves)
        shares = torch.einsum("si,schw->ichw", weights, moves[ends])
        total = (torch.stack([gradients[node] for node in nodes]) * shares).sum(0)
        if total.abs().max() < 100 * torch.finfo(lr.dtype).eps:  # of a flat image the path is flat but for rounding
            raise DataError(FLAT)
        coarser = result if len(nodes) < len(ends) else None
        result = Attribution(total, objectives[nodes[-1]] - start, len(nodes), coarser)
        if coarser and np.abs(result.map - coarser.map).max() <= tolerance:
            break
    assert result
    return result


def levels(places: Map) -> Iterator[list[int]]:
    """Ever more of some increasing places, by their numbers: `FIRST`, then twice the spans between them, at last all.

    The first and the last, then always the one farthest from those before, measured by the angle at which it would be
    on a half circle above the path: the ends have more, as of Chebyshev's nodes.
    """
    angles = np.arccos(np.clip(1 - 2 * (places - places[0]) / max(np.ptp(places), 1e-300), -1, 1))
    order = list(dict.fromkeys([0, len(places) - 1]))
    distances = np.abs(angles[:, None] - angles[order]).min(1)
    while len(order) < len(places):
        distances[order] = -1
        order.append(int(distances.argmax()))
        distances = np.minimum(distances, np.abs(angles - angles[order[-1]]))
    count = FIRST
    while count < 0.7 * len(places):
        yield sorted(order[:count])
        count = 2 * count - 1
    yield sorted(order)


def interpolation(places: Map, nodes: list[int]) -> Map:
    """Weights, ``(places, nodes)``, that take values at some of the places to all of them, by a cubic spline."""
    if len(nodes) == len(places):
        return np.eye(len(places))
    return CubicSpline(places[nodes], np.eye(len(nodes)))(places)


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
    held = np.cumsum(values.reshape(-1)[order])
    count = int(np.searchsorted(held, share * held[-1])) + 1 if held[-1] > 0 else 0
    area = np.zeros(values.size, bool)
    area[order[:count]] = True
    return area.reshape(values.shape)
