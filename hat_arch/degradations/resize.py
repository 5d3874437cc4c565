"""MATLAB's ``imresize``: bicubic, antialiased when it reduces.

The LR images of SR papers are made by it. It differs from OpenCV, Pillow and ``torch.nn.functional.interpolate`` in
its kernel (Keys, a = -0.5, widened by the scale when reducing), its mirrored edges, and its rounding.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = TypeVar("Image", NDArray, Tensor)
Convention = Literal["double", "uint8"]

KERNEL_WIDTH = 4.0
BLOCK = 16  # output pixels a matrix product: fewer cost calls, more multiply zeros


class Region(NamedTuple):
    """A rectangle of the output, in its pixels."""

    top: int
    left: int
    height: int
    width: int


class _Block(NamedTuple):
    """``output[start:stop] = matrix @ input[first:last]`` along one side."""

    first: int
    last: int
    matrix: Tensor  # stop - start, last - first


def imresize(
    image: Image,
    scale: float | None = None,
    *,
    size: tuple[int, int] | None = None,
    convention: Convention = "double",
    region: Region | None = None,
) -> Image:
    """Resizes as MATLAB's ``imresize(image, scale)`` or ``imresize(image, [height width])`` does.

    Each side is resized by a product with the kernel's banded matrix, the side that is reduced most first.

    Args:
        image: array ``(H, W)`` or ``(H, W, C)``, or tensor ``(..., H, W)``, of uint8, float32 or float64. Any range.
        scale: output side / input side; the output has ``ceil(H * scale), ceil(W * scale)`` pixels.
        size: height and width of the output, instead of a scale.
        convention: for uint8 images, what is rounded: ``double`` computes in float64 and rounds once (``im2double``
            first in MATLAB), ``uint8`` rounds after each side (MATLAB given the uint8 image). Halves round up.
        region: compute only this part of the output, from the part of the input that it needs.

    Returns:
        The resized image, of the type of ``image``. Floats are neither clipped nor rounded.

    Raises:
        TypeError: another type, or the convention ``uint8`` for floats.
        ValueError: an empty image, both or neither of scale and size, one that leaves no pixel, or a region outside.
    """
    if not isinstance(image, np.ndarray):
        return _resize(image, 1, _sides(image.shape[-2:], scale, size), convention, region)
    if image.ndim not in (2, 3):
        raise ValueError(f"an image array is (H, W) or (H, W, C), not {image.shape}")
    height, width, channels = (*image.shape, 1)[:3]
    if any(stride < 0 for stride in image.strides) or not image.flags.writeable:
        image = image.copy()  # torch takes neither
    interleaved = torch.from_numpy(image).reshape(height, width * channels)
    resized = _resize(interleaved, channels, _sides((height, width), scale, size), convention, region)
    return resized.reshape(len(resized), -1, *image.shape[2:]).numpy()


def _sides(shape: tuple[int, ...], scale: float | None, size: tuple[int, int] | None) -> list[tuple[int, int, float]]:
    """Input length, output length and scale of height and width."""
    if (scale is None) == (size is None):
        raise ValueError("give either scale or size")
    if min(shape) < 1:
        raise ValueError(f"an image of {shape[0]}x{shape[1]} pixels cannot be resized")
    if size is not None:
        sides = [(n, out, out / n) for n, out in zip(shape, size)]
    else:
        assert scale is not None
        sides = [(n, math.ceil(n * scale), scale) for n in shape]
    if min(out for _, out, _ in sides) < 1:
        raise ValueError(f"scale {scale}, size {size}: no pixel would be left of {shape[0]}x{shape[1]}")
    return sides


def _resize(
    image: Tensor,
    channels: int,
    sides: list[tuple[int, int, float]],
    convention: Convention,
    region: Region | None,
) -> Tensor:
    """`imresize` for a tensor ``(..., H, W * channels)``."""
    if image.dtype not in (torch.uint8, torch.float32, torch.float64):
        raise TypeError(f"imresize takes uint8, float32 or float64, not {image.dtype}")
    integer = image.dtype == torch.uint8
    if convention not in ("double", "uint8"):
        raise ValueError(f"convention {convention!r} is neither 'double' nor 'uint8'")
    if convention == "uint8" and not integer:
        raise TypeError(f"convention 'uint8' rounds to uint8 on the way, but the image is {image.dtype}")
    height, width = (out for _, out, _ in sides)
    top, left, rows, columns = region or Region(0, 0, height, width)
    if min(top, left) < 0 or min(rows, columns) < 1 or top + rows > height or left + columns > width:
        raise ValueError(f"{region} is not inside the output of {height}x{width}")

    spans = ((top, top + rows), (left, left + columns))
    first, second = sorted((0, 1), key=lambda i: sides[i][2])  # MATLAB: the smaller scale first; rows, if equal
    kind, device = image.dtype, image.device
    repeats = (1, channels)  # of a side's matrices: columns of interleaved channels are apart
    before = _blocks(*sides[first], *spans[first], kind, integer, repeats[first], device)
    after = _blocks(*sides[second], *spans[second], kind, convention == "uint8", repeats[second], device)
    start = min(b.first for b in after)
    image = image.narrow(second - 2, start, max(b.last for b in after) - start)  # all that the second pass needs
    after = tuple(b._replace(first=b.first - start, last=b.last - start) for b in after)

    image = _apply(image, before, first)
    if convention == "uint8":
        image = _round(image)
    image = _apply(image, after, second)
    return _round(image).to(torch.uint8) if integer else image


def _round(values: Tensor) -> Tensor:
    return values.add_(0.5).floor_().clamp_(0, 255)


def _apply(image: Tensor, blocks: tuple[_Block, ...], side: int) -> Tensor:
    """Multiplies the rows (side 0) or columns (side 1) of ``(..., H, W)`` by the blocks' matrices."""
    dtype = blocks[0].matrix.dtype
    if image.ndim > 2 or image.requires_grad:
        parts = ((image.narrow(side - 2, b.first, b.last - b.first).to(dtype), b.matrix) for b in blocks)
        return torch.cat([m @ x if side == 0 else x @ m.T for x, m in parts], side - 2)
    sizes = [len(b.matrix) for b in blocks]
    shape = (sum(sizes), image.shape[1]) if side == 0 else (image.shape[0], sum(sizes))
    result = image.new_empty(shape, dtype=dtype)
    for b, part in zip(blocks, result.split(sizes, side)):
        x = image.narrow(side, b.first, b.last - b.first).to(dtype)
        torch.mm(*((b.matrix, x) if side == 0 else (x, b.matrix.T)), out=part)
    return result


@lru_cache(maxsize=256)
def _blocks(
    n: int,
    out: int,
    scale: float,
    start: int,
    stop: int,
    dtype: torch.dtype,
    whole: bool,
    channels: int,
    device: torch.device,
) -> tuple[_Block, ...]:
    """The output pixels ``start`` to ``stop`` of a side of ``n`` pixels resized to ``out``, as matrix products.

    Floats are multiplied in their own precision, uint8 in float64, or float32 where that loses nothing: ``whole`` says
    that the pixels are whole numbers. Each pixel is ``channels`` values.
    """
    indices, weights = contributions(n, scale, np.arange(start, stop))
    if not dtype.is_floating_point:
        dtype = torch.float32 if whole and _exact_in_float32(weights) else torch.float64
    blocks = []
    step = BLOCK if channels == 1 else BLOCK // 2
    for i in range(0, stop - start, step):
        index, weight = indices[i : i + step], weights[i : i + step]
        first, last = int(index.min()), int(index.max()) + 1
        matrix: NDArray = np.zeros((len(index), last - first))
        np.add.at(matrix, (np.arange(len(index))[:, None], index - first), weight)  # mirrored pixels add up
        matrix = np.kron(matrix, np.eye(channels))
        blocks.append(_Block(first * channels, last * channels, torch.from_numpy(matrix).to(device, dtype)))
    return tuple(blocks)


def _exact_in_float32(weights: NDArray[np.float64]) -> bool:
    """Whether sums of weights times 0 ... 255 are exact in float32's 24 bits: so for scales 2, 4, 1/2 and 1/4."""
    fraction_bits = 14
    scaled = weights * 2**fraction_bits
    return bool((scaled == np.round(scaled)).all() and np.abs(scaled).sum(1).max() * 255 < 2**24)


def contributions(n: int, scale: float, outputs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which input pixels make up the given output pixels, and with which weights.

    MATLAB's ``contributions``: pixel centres of input and output align at the image's middle, the weights of an
    output pixel sum to 1, and the image goes on mirrored beyond its edges.

    Args:
        n: input pixels of this side.
        scale: output side / input side.
        outputs: indices of output pixels, from 0, ``(P,)``.

    Returns:
        Indices from 0, and weights, ``(P, K)`` both.
    """
    narrow = min(scale, 1.0)  # antialiasing: the kernel is widened when reducing
    width = KERNEL_WIDTH / narrow
    u = (outputs + 1) / scale + 0.5 * (1 - 1 / scale)  # MATLAB counts from 1
    taps = np.floor(u - width / 2)[:, None] + np.arange(math.ceil(width) + 2)
    weights = _cubic((u[:, None] - taps) * narrow)
    weights /= weights.sum(1, keepdims=True)
    used = (weights != 0).any(0)
    mirrored = (taps[:, used].astype(np.int64) - 1) % (2 * n)
    return np.minimum(mirrored, 2 * n - 1 - mirrored), weights[:, used]


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel, a = -0.5 (IEEE ASSP 29(6), 1981, equation 15)."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x**2 + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))
