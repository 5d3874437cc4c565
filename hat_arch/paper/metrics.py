"""Image quality as the papers measure it. Images are uint8 ``(H, W, 3)`` BGR, or ``(H, W)`` grey, values 0..255.

PSNR, SSIM and NIQE are BasicSR's, LPIPS and DISTS those of pyiqa, which is an extra.
"""

from __future__ import annotations

import contextlib
import math
import sys
import warnings
from collections.abc import Callable, Iterable
from functools import cache

import numpy as np
import torch
from basicsr.metrics import calculate_niqe, calculate_psnr, calculate_ssim
from numpy.typing import NDArray
from torch import Tensor

from ..training.metrics import calculate_psnrb
from ..utils.errors import UserError

Image = NDArray[np.uint8]

SSIM_WINDOW = 11
NIQE_BLOCK = 96


class MetricError(UserError):
    """A metric cannot be computed; the message says why and what to do."""


def psnr(image: Image, gt: Image, crop_border: int) -> float:
    """Peak signal-to-noise ratio of luma in dB (ITU-R BT.601, studio range, not rounded); infinite for equal images.

    ``crop_border`` pixels are left out on each side; the papers take the scale. Raises `MetricError` if the images
    differ in shape, or are too small for SSIM.
    """
    _require_comparable(image, gt, crop_border)
    return float(calculate_psnr(image, gt, crop_border=crop_border, test_y_channel=True))


def psnr_rgb(image: Image, gt: Image, crop_border: int) -> float:
    """Peak signal-to-noise ratio over all channels in dB; arguments and errors as of `psnr`."""
    _require_comparable(image, gt, crop_border)
    return float(calculate_psnr(image, gt, crop_border=crop_border))


def psnrb(image: Image, gt: Image, crop_border: int) -> float:
    """`calculate_psnrb` of luma; arguments and errors as of `psnr`."""
    _require_comparable(image, gt, crop_border)
    return calculate_psnrb(image, gt, crop_border, test_y_channel=True)


def ssim(image: Image, gt: Image, crop_border: int) -> float:
    """Structural similarity of luma (Wang et al., IEEE TIP 13(4), 2004); arguments and errors as of `psnr`."""
    _require_comparable(image, gt, crop_border)
    return float(calculate_ssim(image, gt, crop_border=crop_border, test_y_channel=True))


def _require_comparable(image: Image, gt: Image, crop_border: int) -> None:
    if image.shape != gt.shape:
        raise MetricError(f"images of {image.shape} and {gt.shape} cannot be compared")
    height, width = gt.shape[:2]
    least = SSIM_WINDOW + 2 * crop_border
    if min(height, width) < least:
        raise MetricError(f"{height}x{width} pixels are too few; PSNR and SSIM need {least}x{least} here")


def niqe(image: Image, crop_border: int) -> float:
    """Natural image quality (Mittal et al., 2013) of luma; lower is better, no ground truth.

    Raises:
        MetricError: the image is smaller than two of NIQE's 96x96 blocks.
    """
    height, width = image.shape[:2]
    if math.prod((side - 2 * crop_border) // NIQE_BLOCK for side in (height, width)) < 2:
        raise MetricError(f"{height}x{width} pixels are too few for NIQE, which needs two blocks of 96x96")
    return float(calculate_niqe(image, crop_border=crop_border))


def perceptual_distance(name: str, image: Image, gt: Image) -> float:
    """``lpips`` (Zhang et al., CVPR 2018; AlexNet) or ``dists`` (Ding et al., 2020) by pyiqa; lower is better.

    Raises:
        MetricError: see `unavailable`.
    """
    rgb = [torch.from_numpy(np.ascontiguousarray(x[..., ::-1])).permute(2, 0, 1)[None] / 255 for x in (image, gt)]
    with torch.no_grad():
        return float(_pyiqa(name)(*rgb))


@cache
def _pyiqa(name: str) -> Callable[[Tensor, Tensor], Tensor]:
    """A metric of pyiqa, on the CPU. Its first use downloads networks, which it says on standard error."""
    try:
        import pyiqa
    except ImportError as error:
        raise MetricError(f"{name.upper()} needs pyiqa: pip install 'hat-arch[paper]'") from error
    try:
        with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="torchvision")  # how pyiqa calls it
            return pyiqa.create_metric(name, device=torch.device("cpu"))
    except Exception as error:  # whatever a failed download raises
        reason = " ".join(str(error).split())[:200]
        problem = f"pyiqa cannot load its networks ({reason}); it downloads them once, to {torch.hub.get_dir()}"
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
    "psnr": psnr,
    "psnr_rgb": psnr_rgb,
    "psnrb": psnrb,
    "ssim": ssim,
    "lpips": lambda image, gt, crop: perceptual_distance("lpips", image, gt),
    "dists": lambda image, gt, crop: perceptual_distance("dists", image, gt),
    "niqe": lambda image, gt, crop: niqe(image, crop),
}
"""By name: image, ground truth and border to a number, by the papers' protocol."""


def measure(image: Image, gt: Image, crop_border: int, names: Iterable[str]) -> dict[str, float]:
    """Several of `METRICS` at once."""
    return {name: METRICS[name](image, gt, crop_border) for name in names}
