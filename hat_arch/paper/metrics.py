"""Image quality as the papers measure it. Images are uint8 ``(H, W, 3)`` BGR or ``(H, W)`` grey, values 0..255.

PSNR and SSIM equal BasicSR's ``calculate_psnr`` and ``calculate_ssim``; SSIM takes a fraction of the time.
"""

from __future__ import annotations

import contextlib
import math
import sys
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.metrics import calculate_niqe
from basicsr.metrics.metric_util import to_y_channel
from numpy.typing import NDArray
from torch import Tensor

from ..utils.errors import UserError

Image = NDArray[np.uint8]
Plane = NDArray[np.float64]

WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
NIQE_BLOCK = 96


class MetricError(UserError):
    """A metric cannot be computed; the message says why and what to do."""


def psnr(image: Image, gt: Image, *, crop_border: int, test_y_channel: bool = True) -> float:
    """Peak signal-to-noise ratio in dB, infinite for equal images.

    Args:
        image: of the shape of ``gt``.
        gt: ground truth.
        crop_border: pixels left out on each side; the papers take the scale.
        test_y_channel: measure luma (ITU-R BT.601, studio range, not rounded) instead of all channels together.
    """
    a, b = planes(image, gt, crop_border, test_y_channel)
    mse = np.mean((a - b) ** 2)
    return float("inf") if mse == 0 else float(10 * np.log10(255.0**2 / mse))


def ssim(image: Image, gt: Image, *, crop_border: int, test_y_channel: bool = True) -> float:
    """Structural similarity (Wang et al., IEEE TIP 13(4), 2004): arguments as `psnr`; mean of the channels."""
    a, b = planes(image, gt, crop_border, test_y_channel)
    return float(np.mean([_ssim(a[..., c], b[..., c]) for c in range(a.shape[2])]))


def planes(image: Image, gt: Image, crop_border: int, test_y_channel: bool) -> tuple[Plane, Plane]:
    """What is compared of two images, ``(H, W, C)`` both.

    Raises:
        MetricError: they differ in shape, or are too small for SSIM's window inside the border.
    """
    if image.shape != gt.shape:
        raise MetricError(f"images of {image.shape} and {gt.shape} cannot be compared")
    least = WINDOW + 2 * crop_border
    if min(gt.shape[:2]) < least:
        height, width = gt.shape[:2]
        raise MetricError(f"{height}x{width} pixels are too few; PSNR and SSIM need {least}x{least} here")
    inside = slice(crop_border, -crop_border or None)
    parts = ((x if x.ndim == 3 else x[..., None])[inside, inside] for x in (image, gt))
    a, b = ((to_y_channel(x) if test_y_channel else x).astype(np.float64) for x in parts)
    return a, b


def _ssim(a: Plane, b: Plane) -> float:
    """SSIM of one channel. The Gaussian window is a product, so that it is applied to rows, then to columns."""
    kernel, half = cv2.getGaussianKernel(WINDOW, SIGMA), WINDOW // 2

    def blur(x: Plane) -> Plane:
        return cv2.sepFilter2D(x, cv2.CV_64F, kernel, kernel)[half:-half, half:-half]  # type: ignore[return-value]

    mean_a, mean_b = blur(a), blur(b)
    both, squares = mean_a * mean_b, mean_a**2 + mean_b**2
    covariance = blur(a * b) - both
    variances = blur(a**2 + b**2) - squares
    return float(np.mean((2 * both + C1) * (2 * covariance + C2) / ((squares + C1) * (variances + C2))))


def niqe(image: Image, *, crop_border: int) -> float:
    """Natural image quality (Mittal et al., 2013) by BasicSR, on luma; lower is better, no ground truth.

    Raises:
        MetricError: the image is smaller than two of its 96x96 blocks.
    """
    height, width = image.shape[:2]
    if math.prod((side - 2 * crop_border) // NIQE_BLOCK for side in (height, width)) < 2:
        raise MetricError(f"{height}x{width} pixels are too few for NIQE, which needs two blocks of 96x96")
    return float(calculate_niqe(image, crop_border=crop_border))


def lpips(image: Image, gt: Image) -> float:
    """Learned perceptual distance (Zhang et al., CVPR 2018; AlexNet) by pyiqa; lower is better."""
    return _learned("lpips", image, gt)


def dists(image: Image, gt: Image) -> float:
    """Structure and texture distance (Ding et al., 2020) by pyiqa; lower is better."""
    return _learned("dists", image, gt)


def _learned(name: str, image: Image, gt: Image) -> float:
    with torch.no_grad():
        return float(_pyiqa(name)(_to_tensor(image), _to_tensor(gt)))


def _to_tensor(image: Image) -> Tensor:
    """``(1, 3, H, W)`` RGB in 0..1."""
    rgb = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB if image.ndim == 2 else cv2.COLOR_BGR2RGB)
    return torch.from_numpy(rgb).permute(2, 0, 1)[None] / 255


@cache
def _pyiqa(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """A metric of pyiqa, on the CPU. Its first use downloads networks, which it says on standard error.

    Raises:
        MetricError: pyiqa is not installed, or cannot make it.
    """
    try:
        import pyiqa
    except ImportError as error:
        raise MetricError(f"{name.upper()} needs pyiqa: pip install 'hat-arch[paper]'") from error
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="torchvision")  # how pyiqa calls it
            return pyiqa.create_metric(name, device=torch.device("cpu"))
    except Exception as error:  # whatever a failed download raises
        reason, folder = " ".join(str(error).split())[:200], torch.hub.get_dir()
        problem = f"pyiqa cannot load its networks ({reason}); it downloads them once, to {folder}"
        raise MetricError(f"{name.upper()}: {problem}") from error


def unavailable(name: str) -> str | None:
    """Why a metric of `METRICS` cannot be computed here; None if it can."""
    if name in ("lpips", "dists"):
        try:
            _pyiqa(name)
        except MetricError as error:
            return str(error)
    return None


METRICS: dict[str, Callable[[Image, Image, int], float]] = {
    "psnr": lambda image, gt, crop: psnr(image, gt, crop_border=crop),
    "ssim": lambda image, gt, crop: ssim(image, gt, crop_border=crop),
    "lpips": lambda image, gt, crop: lpips(image, gt),
    "dists": lambda image, gt, crop: dists(image, gt),
    "niqe": lambda image, gt, crop: niqe(image, crop_border=crop),
}
"""By name: image, ground truth and border to a number, by the papers' protocol."""


def measure(image: Image, gt: Image, crop_border: int, names: Any) -> dict[str, float]:
    """Several of `METRICS` at once."""
    return {name: METRICS[name](image, gt, crop_border) for name in names}
