"""Single steps of degradations on ``(C, H, W)`` tensors: blur, sharpening, resizing, noise, rounding.

On the CPU, filters are OpenCV's, one channel after the other in place; on a GPU they are PyTorch's convolutions. Both
mirror the image at its edges without repeating the edge (``BORDER_REFLECT_101``), as BasicSR's ``filter2D``.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor
from torch.nn import functional as F

from .kernels import Kernel
from .resize import imresize

Mode = Literal["area", "bilinear", "bicubic"]
MODES: tuple[Mode, ...] = ("area", "bilinear", "bicubic")
LUMA = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in torchvision's ``rgb_to_grayscale``, which BasicSR's grey noise uses."""
STEPS = 2**16
"""In which a uniform random number is drawn, for Poisson noise."""


def filtered(image: Tensor, kernel: Kernel) -> Tensor:
    """Each channel correlated with a kernel."""
    if image.device.type != "cpu":
        return _convolved(image, [torch.from_numpy(part) for part in _parts(kernel)])
    image = image.contiguous()
    result = torch.empty_like(image)
    for plane, out in zip(image.numpy(), result.numpy()):
        if kernel.factor is None:
            cv2.filter2D(plane, -1, kernel.values, out, borderType=cv2.BORDER_REFLECT_101)
        else:
            cv2.sepFilter2D(plane, -1, kernel.factor, kernel.factor, out, borderType=cv2.BORDER_REFLECT_101)
    return result


def _parts(kernel: Kernel) -> list[NDArray[np.float32]]:
    """The kernel, or the column and the row that it is the product of."""
    return [kernel.values] if kernel.factor is None else [kernel.factor[:, None], kernel.factor[None]]


def _convolved(image: Tensor, parts: list[Tensor]) -> Tensor:
    """`filtered` by PyTorch's convolutions, with kernels ``(h, w)`` one after the other."""
    height, width = image.shape[1:]
    reach = max(max(part.shape) for part in parts) // 2
    rows, columns = (torch.from_numpy(_mirrored(n, reach)).to(image.device) for n in (height, width))
    image = image[:, rows][..., columns][:, None]
    for part in parts:
        image = F.conv2d(image, part.to(image)[None, None])
    return image[:, 0]


@lru_cache(maxsize=1024)
def _mirrored(n: int, reach: int) -> NDArray[np.int64]:
    """Indices of a side of ``n`` pixels that goes on mirrored by ``reach`` pixels at both ends."""
    period = max(1, 2 * n - 2)
    indices = np.abs(np.arange(-reach, n + reach)) % period
    return np.minimum(indices, period - indices)


def usm_sharpened(images: Tensor, weight: float = 0.5, radius: int = 50, threshold: float = 10) -> Tensor:
    """Sharpened by an unsharp mask, as BasicSR's ``USMSharp`` does; in two passes of its Gaussian instead of one.

    Args:
        images: ``(..., H, W)``, float32 in 0…1.
        weight: of what the blur removed, which is added.
        radius: of the Gaussian: its side in pixels, made odd.
        threshold: of 255: where less was removed, the image stays as it is.
    """
    side = radius + 1 - radius % 2
    kernel = Kernel.separable("", np.asarray(cv2.getGaussianKernel(side, 0), np.float64).ravel())
    planes = images.reshape(-1, *images.shape[-2:])
    residual = planes - filtered(planes, kernel)
    mask = filtered((residual.abs() > threshold / 255).to(planes.dtype), kernel)
    sharp = torch.add(planes, residual, alpha=weight).clamp_(0, 1)
    return torch.lerp(planes, sharp, mask).reshape(images.shape)


def resized(image: Tensor, mode: Mode, *, factor: float | None = None, size: tuple[int, int] | None = None) -> Tensor:
    """``torch.nn.functional.interpolate`` of one image, by a factor or to a size; no side gets below a pixel."""
    height, width = image.shape[1:]
    if factor == 1 or size == (height, width):
        return image
    if factor is not None and min(height, width) * factor < 1:
        size, factor = (max(1, int(height * factor)), max(1, int(width * factor))), None
    return F.interpolate(image[None], size, factor, mode)[0]


def matlab_bicubic(image: Tensor, scale: int) -> Tensor:
    """The image as 8 bits, reduced by MATLAB's ``imresize``, which rounds after each side."""
    return imresize(as_uint8(image), 1 / scale, convention="uint8").float().div_(255)


def as_uint8(image: Tensor) -> Tensor:
    return image.mul(255).round_().clamp_(0, 255).to(torch.uint8)


def rounded(image: Tensor) -> Tensor:
    """The image with the 256 values that a file holds."""
    return image.mul(255).round_().clamp_(0, 255).div_(255)


def add_gaussian_noise(image: Tensor, sigma: float, grey: bool, rng: np.random.Generator) -> Tensor:
    """White Gaussian noise added; not clipped.

    Args:
        sigma: standard deviation, of 255.
        grey: whether all channels get the same.
    """
    channels, height, width = image.shape
    noise = rng.standard_normal((1 if grey else channels, height, width), np.float32)
    return torch.add(image, torch.from_numpy(noise).to(image.device), alpha=sigma / 255)


def add_poisson_noise(image: Tensor, strength: float, grey: bool, rng: np.random.Generator) -> Tensor:
    """Shot noise added, as BasicSR's ``add_poisson_noise_pt`` adds it; not clipped.

    The image as 8 bits, of which 2^n values at the most are used, counts up to 2^n; the noise is what Poisson
    distributed counts differ from these, times ``strength``. A count is found in its distribution function by a uniform
    random number of 16 bits: so a pixel whose value is one off gets nearly the same noise.
    """
    levels = as_uint8(_luma(image) if grey else image)
    used = int(torch.bincount(levels.flatten(), minlength=256).count_nonzero())
    counts = 2 ** int(np.ceil(np.log2(used)))
    above, lowest = (torch.from_numpy(part).to(image.device) for part in _poisson(counts))
    uniform = torch.from_numpy(rng.integers(0, STEPS, tuple(levels.shape), np.uint16).astype(np.int64))
    levels = levels.long()
    noise = above[uniform.to(image.device).add_(levels, alpha=STEPS)].float().div_(counts).add_(lowest[levels])
    return torch.add(image, noise, alpha=strength)


def _luma(image: Tensor) -> Tensor:
    if len(image) == 1:
        return image
    red, green, blue = image
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[None]


@lru_cache(maxsize=2)
def _poisson(counts: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Poisson noise of each of 256 levels, whose means are level / 255 · ``counts``, as a table.

    Returns:
        ``(256 · STEPS,)``: by level and uniform random number, how far a count is above the level's lowest one; and
        ``(256,)``: how far each level's lowest count is from its mean. The latter is divided by ``counts``.
    """
    means = np.arange(256) / 255 * counts
    middle = 0.5 / STEPS  # the first of the numbers that stand for the steps
    lowest = stats.poisson.ppf(middle, means).astype(np.int64).clip(0)
    highest = stats.poisson.ppf(1 - middle, means).astype(np.int64)
    above = np.empty((256, STEPS), np.uint8)
    for level, (mean, first, last) in enumerate(zip(means, lowest, highest)):
        ends = np.rint(stats.poisson.cdf(np.arange(first, last), mean) * STEPS).astype(np.int64)
        above[level] = np.repeat(np.arange(last - first + 1), np.diff(ends, prepend=0, append=STEPS))
    return above.ravel(), ((lowest - means) / counts).astype(np.float32)
