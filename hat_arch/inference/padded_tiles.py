"""Tiles as the official HAT cuts them, for its option files: the same pixels go through the network together."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ..archs.layers import pad_to_multiple


def in_padded_tiles(
    upscale: Callable[[Tensor], Tensor], lq: Tensor, scale: int, tile_size: int, tile_pad: int, multiple: int = 1
) -> Tensor:
    """Upscales images tile by tile; each tile is seen with a pad around it, which is cut off again.

    Args:
        upscale: ``(B, C, h, w)`` to ``(B, C, scale · h, scale · w)``.
        lq: ``(B, C, H, W)``.
        scale: by how much ``upscale`` enlarges.
        tile_size: side of a tile in pixels of ``lq``, without its pads; the last of a row or column may be smaller.
        tile_pad: pixels around a tile, as far as the padded image goes.
        multiple: the image is first mirrored at the bottom and right, up to sides that are multiples of it.

    Returns:
        ``(B, C, scale · H, scale · W)``.
    """
    height, width = lq.shape[-2:]
    lq = pad_to_multiple(lq, multiple)
    rows, columns = (range(0, side, tile_size) for side in lq.shape[-2:])
    output = lq.new_zeros(*lq.shape[:-2], *(side * scale for side in lq.shape[-2:]))
    for top in rows:
        for left in columns:
            above, before = min(top, tile_pad), min(left, tile_pad)
            bottom, right = top + tile_size + tile_pad, left + tile_size + tile_pad
            sr = upscale(lq[..., top - above : bottom, left - before : right])
            target = output[..., top * scale : (top + tile_size) * scale, left * scale : (left + tile_size) * scale]
            y, x = above * scale, before * scale
            target.copy_(sr[..., y : y + target.shape[-2], x : x + target.shape[-1]])
    return output[..., : height * scale, : width * scale]
