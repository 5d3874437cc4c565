"""Where pixels and tokens go while a network is exported or traced: one graph for images of every size.

What is recorded for one image is wrong for others if a loop, a branch or a constant depends on its size. So places are
computed from the size by arithmetic, and everything is gathered from them at once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .attention import MASK_VALUE


def pad_by_index(x: Tensor, multiple: int) -> Tensor:
    """`pad_to_multiple`: rows and columns are gathered from where they are mirrored to or replicated from."""
    for dim in (-2, -1):
        size = x.shape[dim]
        places = torch.arange((size + multiple - 1) // multiple * multiple, device=x.device)
        mirrored = 2 * size - 2 - places
        beyond = torch.where(mirrored[-1:] < 0, size - 1, mirrored)  # too small to be mirrored: replicated
        x = x.index_select(dim, torch.where(places < size, places, beyond))
    return x


def masked_by_products(q: Tensor, k: Tensor, regions: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Queries and keys ``(N, heads, n, d)``, to which four entries are added, whose products are the mask.

    ``scale`` times the product of a query and a key is what it was if both are of one region, else `MASK_VALUE` is
    added. A mask itself would hold n² numbers for each window, which is most of the memory.
    """
    q_extra, k_extra = (
        z.to(q.dtype).expand(-1, q.shape[1], -1, -1) for z in (regions, (1 - regions) * (MASK_VALUE / scale))
    )
    return torch.cat([q, q_extra], -1), torch.cat([k, k_extra], -1)


def crop_by_index(x: Tensor, height: int, width: int) -> Tensor:
    """The upper left of ``(…, H, W)``. With a slice, exporters would ask whether it is all of the image."""
    for dim, size in ((-2, height), (-1, width)):
        x = x.index_select(dim, torch.arange(size, device=x.device))
    return x


class Places(NamedTuple):
    """Where the tokens of a map ``(B, H, W)`` are in its windows and back.

    Tokens are counted through the map, image by image and row by row, and through the windows, window by window. There
    are N windows of n tokens, and N larger key windows of m tokens around them.
    """

    size: tuple[int, int]
    """Height and width."""
    in_map: Tensor
    """``(N · n,)``: the map's token for each token of the windows."""
    in_windows: Tensor
    """``(B · H · W,)``: the windows' token for each token of the map."""
    shifted_in_map: Tensor
    shifted_in_windows: Tensor
    """The same for windows that are shifted down and right, cyclically."""
    regions: Tensor
    """float32 ``(N, 1, n, 4)``, of shifted windows: 1 at the region that a token lies in, 0 elsewhere. Regions differ
    where only the cycle brought two tokens together."""
    keys_in_map: Tensor
    """``(N · m,)``: the map's token for each token of the key windows; ``B · H · W`` for what is beyond the map."""


def as_tokens(x: Tensor, places: Places | None) -> Tensor:
    """Features ``(B, H, W, C)`` as ``(B, H · W, C)`` while a network is exported; else they stay as they are.

    Runtimes choose the order of four dimensions in memory by the next convolution, and copy them for layers that want
    another; of three they keep it, and some have normalisations for three alone.
    """
    return x if places is None else x.flatten(1, 2)


def as_map(x: Tensor, places: Places | None) -> Tensor:
    """Undoes `as_tokens`."""
    return x if places is None else x.unflatten(1, places.size)


class Windows(NamedTuple):
    """The windows of a map of images. All sizes are in tokens; height and width are multiples of ``side``."""

    batch: int
    height: int
    width: int
    side: int
    device: torch.device

    def places(self, shift: int, key_side: int) -> Places:
        """Of all tokens, for shifted windows and key windows too."""
        image, top, left = self.corners()
        y, x = top + self.steps(self.side), left + self.steps(self.side)  # N, side
        region = (2 * (y >= self.height - shift)[:, :, None] + 1 * (x >= self.width - shift)[:, None]).flatten(1)
        map_y, map_x = self.steps(self.height), self.steps(self.width)
        margin = (key_side - self.side) // 2
        key_y, key_x = top + self.steps(key_side) - margin, left + self.steps(key_side) - margin  # N, key_side
        inside = ((key_y >= 0) & (key_y < self.height))[:, :, None] & ((key_x >= 0) & (key_x < self.width))[:, None]
        return Places(
            size=(self.height, self.width),
            in_map=self.in_map(image, y, x),
            in_windows=self.in_windows(map_y, map_x),
            shifted_in_map=self.in_map(image, cycled(y + shift, self.height), cycled(x + shift, self.width)),
            shifted_in_windows=self.in_windows(cycled(map_y - shift, self.height), cycled(map_x - shift, self.width)),
            regions=torch.where(region[:, None, :, None] == self.steps(4), 1.0, 0.0),
            keys_in_map=torch.where(
                inside.flatten(), self.in_map(image, key_y, key_x), self.batch * self.height * self.width
            ),
        )

    def steps(self, count: int) -> Tensor:
        """0, 1, 2 …"""
        return torch.arange(count, device=self.device)

    def corners(self) -> tuple[Tensor, Tensor, Tensor]:
        """Image, first row and first column of each window, ``(N, 1)``.

        A single window is counted twice: exporters take a size of 1 for another kind, and would refuse all but it.
        """
        down, across = self.height // self.side, self.width // self.side
        count = self.batch * down * across
        twice = count.clamp(min=2) if isinstance(count, Tensor) else torch.sym_max(count, 2)  # tracers' are tensors
        window = self.steps(twice)[:, None]
        window = torch.where(window < count, window, 0)
        row, image = window // across, window // (across * down)
        return image, (row - image * down) * self.side, (window - row * across) * self.side

    def in_map(self, image: Tensor, y: Tensor, x: Tensor) -> Tensor:
        """The map's tokens at rows ``(N, side)`` and columns ``(N, side)`` of images ``(N, 1)``."""
        return ((image * self.height + y)[:, :, None] * self.width + x[:, None]).flatten()

    def in_windows(self, y: Tensor, x: Tensor) -> Tensor:
        """The windows' tokens at rows ``(H,)`` and columns ``(W,)`` of all images."""
        row, column = y // self.side, x // self.side
        y, x = y - row * self.side, x - column * self.side
        images = self.steps(self.batch)[:, None, None] * (self.height * self.width)
        rows = (row * self.width + y) * self.side
        return (images + rows[:, None] + column * self.side**2 + x).flatten()


def cycled(x: Tensor, size: int) -> Tensor:
    """Modulo ``size``, for values from ``-size`` to less than ``2 · size``; exporters to ONNX lack ``%`` by a size."""
    return torch.where(x < 0, x + size, torch.where(x < size, x, x - size))
