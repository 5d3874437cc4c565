"""Where the tiles of an image lie, and with what weights they are put together again.

Along each side of the image, tiles have one size, lie on the grid of the attention windows, and overlap. A pixel in an
overlap is a weighted mean of two tiles, with weights that pass smoothly from one to the other (``blend``), or is taken
from the nearer one. The outermost quarter of an overlap never counts: there a tile lacks context.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Span(NamedTuple):
    """A tile along one side of an image: its first pixel and the one behind its last."""

    start: int
    stop: int


def plan(size: int, tile: int, overlap: int, multiple: int = 1) -> list[Span]:
    """Cuts one side of an image into equal tiles.

    Args:
        size: of the side, in pixels.
        tile: largest side of a tile, its overlaps included; rounded down to ``multiple``, but at least that.
        overlap: least number of pixels that neighbours share; rounded up to ``multiple``, at most half a tile.
        multiple: what starts and sizes of tiles are multiples of.

    Returns:
        One span ``(0, size)`` if that fits a tile. Else as few as possible, of the least equal size, as evenly spaced
        as the grid allows; the last ends at ``size`` rounded up to ``multiple``.
    """
    units, largest = math.ceil(size / multiple), max(1, tile // multiple)
    if units <= largest:
        return [Span(0, size)]
    shared = min(math.ceil(overlap / multiple), largest // 2)
    count = math.ceil((units - shared) / (largest - shared))
    side = math.ceil((units + (count - 1) * shared) / count)
    starts = (i * (units - side) // (count - 1) for i in range(count))
    return [Span(start * multiple, (start + side) * multiple) for start in starts]


def _share_of_next(before: Span, after: Span, first: int, count: int, scale: int, blend: bool) -> Tensor:
    """Share that the second of two neighbouring tiles has in the image, 0 to 1, at ``count`` pixels from ``first``.

    Args:
        before, after: the tiles, in pixels of the input.
        first, count: in pixels of the output.
        scale: output pixels for each of the input.
        blend: whether the share grows smoothly over the middle half of the overlap, or jumps in its middle.

    Returns:
        float32 of shape ``(count,)``.
    """
    x = torch.arange(count, dtype=torch.float64) + first + 0.5
    middle, width = scale * (after.start + before.stop) / 2, scale * (before.stop - after.start) / 2
    if not blend or not width:
        return (x >= middle).float()
    t = ((x - middle) / width + 0.5).clamp(0, 1)
    return (t * t * (3 - 2 * t)).float()


def weights(spans: Sequence[Span], scale: int, blend: bool) -> list[Tensor]:
    """Weight of each tile at each of its pixels in the output, along one side.

    At every pixel they sum to 1, also where more than two tiles overlap: a tile's weight is its share against the tile
    before it, less the share of the tile after it.

    Returns:
        For each span float32 of shape ``((stop - start) · scale,)``, in 0 to 1.
    """
    result = []
    for i, span in enumerate(spans):
        first, count = span.start * scale, (span.stop - span.start) * scale
        weight = _share_of_next(spans[i - 1], span, first, count, scale, blend) if i else torch.ones(count)
        if i + 1 < len(spans):
            weight = weight - _share_of_next(span, spans[i + 1], first, count, scale, blend)
        result.append(weight)
    return result
