"""The eight symmetries of a square, for self-ensemble."""

from __future__ import annotations

from torch import Tensor


def symmetry(images: Tensor, k: int) -> Tensor:
    """The ``k``-th of the eight symmetries of a square: flipped left-right (1), upside down (2), transposed (4)."""
    images = images.flip([dim for bit, dim in ((1, -1), (2, -2)) if k & bit])
    return images.transpose(-1, -2) if k & 4 else images


def undo_symmetry(images: Tensor, k: int) -> Tensor:
    """Inverse of `symmetry`."""
    images = images.transpose(-1, -2) if k & 4 else images
    return images.flip([dim for bit, dim in ((1, -1), (2, -2)) if k & bit])
