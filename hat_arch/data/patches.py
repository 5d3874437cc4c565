"""Random patches of pairs, and their way into tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from basicsr.utils import bgr2ycbcr
from numpy.typing import NDArray
from torch import Tensor


class Crop:
    """A random patch: its place in the LR image, its flips, its turn, and the order of its channels.

    Args:
        rng: what decides.
        shape: height and width of the LR image.
        size: side of the patch in LR pixels.
        opt: ``use_hflip`` and ``use_rot``, as BasicSR's ``augment`` understands them, and
            ``use_channel_permutation``: whether red, green and blue change places.
    """

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int], size: int, opt: dict[str, Any]) -> None:
        self.top = int(rng.integers(shape[0] - size + 1))
        self.left = int(rng.integers(shape[1] - size + 1))
        self.size = size
        flip, vertical, turn = rng.random(3) < 0.5
        self.flip = flip and opt["use_hflip"]
        self.vertical, self.turn = vertical and opt["use_rot"], turn and opt["use_rot"]
        self.channels = rng.permutation(3) if opt.get("use_channel_permutation") else None

    def cut(self, image: NDArray, scale: int) -> NDArray:
        """The patch of an image that is ``scale`` times the LR image, neither flipped nor turned yet: a view."""
        y, x, size = self.top * scale, self.left * scale, self.size * scale
        return image[y : y + size, x : x + size]

    def augment(self, patch: NDArray) -> NDArray:
        """A patch ``(H, W, C)``, flipped, turned, its channels permuted: a view unless the channels change places."""
        patch = patch[:, ::-1] if self.flip else patch
        patch = patch[::-1] if self.vertical else patch
        patch = patch.transpose(1, 0, 2) if self.turn else patch
        return patch if self.channels is None else patch[..., self.channels]


def to_tensor(image: NDArray, opt: dict[str, Any]) -> Tensor:
    """``(H, W, 3)`` BGR, uint8 or float32 in 0…1, to ``(3, H, W)`` RGB in 0…1, or ``(1, H, W)`` with ``color: y``.

    With ``mean`` and ``std`` in the options, normalized by them.
    """
    if opt.get("color") == "y":
        values = image.astype(np.float32) / 255 if image.dtype == np.uint8 else image
        tensor = torch.from_numpy(np.ascontiguousarray(bgr2ycbcr(values, y_only=True))[None].astype(np.float32))
    else:
        tensor = from_pixels(image)
    return normalized(tensor, opt)


def from_pixels(image: NDArray) -> Tensor:
    """``(H, W, C)`` BGR or grey, uint8 or float32 in 0…1, to ``(C, H, W)`` RGB or grey, float32 in 0…1."""
    tensor = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
    return tensor.float().div_(255) if image.dtype == np.uint8 else tensor


def normalized(tensor: Tensor, opt: dict[str, Any]) -> Tensor:
    """``(C, H, W)`` without ``mean``, in units of ``std``, where the options have them."""
    mean, std = opt.get("mean"), opt.get("std")
    if mean is None and std is None:
        return tensor
    per_channel = (-1, 1, 1)
    return (tensor - torch.tensor(mean or 0.0).view(per_channel)) / torch.tensor(std or 1.0).view(per_channel)
