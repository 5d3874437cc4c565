"""JPEG compression: that of files, by libjpeg, and Real-ESRGAN's approximation of it, on any device."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import torch
from basicsr.utils.diffjpeg import c_table, y_table
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .operations import as_uint8

BLOCK = 8  # pixels
TO_YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
TO_RGB = ((1, 0, 1.402), (1, -0.344136, -0.714136), (1, 1.772, 0))


def real_jpeg(image: Tensor, quality: int) -> Tensor:
    """What is read back from a JPEG file: by OpenCV's libjpeg, on the CPU, colour at half the resolution (4:2:0).

    MATLAB's ``imwrite`` has the same tables and the same 4:2:0.

    Args:
        image: ``(3, H, W)`` RGB or ``(1, H, W)``, float32; rounded to 8 bits first.
        quality: 1 to 100.

    Returns:
        The same shape, one of 256 values in 0…1, on the image's device.
    """
    pixels: NDArray[np.uint8] = np.ascontiguousarray(as_uint8(image).cpu().numpy().transpose(1, 2, 0)[..., ::-1])
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE if len(image) == 1 else cv2.IMREAD_COLOR))
    planes = np.ascontiguousarray(np.atleast_3d(decoded)[..., ::-1].transpose(2, 0, 1))
    return torch.from_numpy(planes).to(image.device, torch.float32).div_(255)


def approximate_jpeg(image: Tensor, quality: float) -> Tensor:
    """Real-ESRGAN's JPEG, which rounds the transform's coefficients and nothing else: BasicSR's ``DiffJPEG``.

    Where BasicSR fills the image up to whole blocks with black, which rings at the right and bottom edges, its last
    pixels are repeated, as encoders do.

    Args:
        image: ``(3, H, W)`` RGB or ``(1, H, W)``, float32 in 0…1, on any device.
        quality: 1 to 100, which need not be whole.

    Returns:
        The same shape, in 0…1.
    """
    channels, height, width = image.shape
    factor = (50 / quality if quality < 50 else 2 - quality / 50) or 0.01  # 0: nothing would be left to divide by
    unit = BLOCK if channels == 1 else 2 * BLOCK
    image = F.pad(image[None], (0, -width % unit, 0, -height % unit), mode="replicate")[0]
    of_luma, of_colour = (table.to(image.device) * factor for table in _tables())
    if channels == 1:
        result = _coded(image.mul(255).sub_(128), of_luma).add_(128)
    else:
        ycc = _mixed(image, TO_YCBCR).mul_(255)
        luma = _coded(ycc[:1].sub_(128), of_luma).add_(128)
        colour = _coded(F.avg_pool2d(ycc[1:], 2), of_colour)
        colour = colour.repeat_interleave(2, 1).repeat_interleave(2, 2)
        result = _mixed(torch.cat([luma, colour]), TO_RGB)
    return result[:, :height, :width].div(255).clamp_(0, 1)


def _mixed(image: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    """The channels of an image, multiplied by a 3x3 matrix."""
    return (image.new_tensor(matrix) @ image.flatten(1)).view_as(image)


def _coded(planes: Tensor, table: Tensor) -> Tensor:
    """Planes ``(C, H, W)`` around 0 after transform, rounding to multiples of the table's values, and back."""
    channels, height, width = planes.shape
    transform = _cosines().to(planes.device)
    blocks = planes.reshape(channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(2, 3)
    coefficients = transform @ blocks @ transform.T
    rounded = coefficients.div_(table).round_().mul_(table)
    return (transform.T @ rounded @ transform).transpose(2, 3).reshape_as(planes)


@lru_cache(maxsize=1)
def _cosines() -> Tensor:
    """The orthonormal discrete cosine transform of eight values, ``(8, 8)``."""
    frequency, place = np.mgrid[:BLOCK, :BLOCK]
    cosines = np.cos((2 * place + 1) * frequency * np.pi / (2 * BLOCK)) / 2
    cosines[0] /= np.sqrt(2)
    return torch.from_numpy(cosines).float()


@lru_cache(maxsize=1)
def _tables() -> tuple[Tensor, Tensor]:
    """BasicSR's tables at quality 50, ``(8, 8)`` each: of luma, the standard's transposed, and of colour."""
    return y_table.detach(), c_table.detach()
