"""An image and its LR image, for the papers' figures."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor

from ..data import images
from ..data.images import DataError, mod_crop
from ..data.resize import imresize

Image = NDArray[np.uint8]
Downsample = Literal["pil", "matlab"]
"""``matlab``: the papers' LR images. ``pil``: Pillow's bicubic, of which the authors of HAT made attribution maps."""


def load_pair(
    file: Path, scale: int, downsample: Downsample, crop: tuple[int, ...] | None = None
) -> tuple[Image, Image]:
    """GT, cropped to a multiple of the scale, and LR; both ``(H, W, 3)`` BGR, also of a grey image.

    Args:
        crop: left, top, width and height of a part to cut out first.

    Raises:
        DataError: no image, or the part is not inside it.
    """
    gt = images.read(file)
    if gt.ndim == 2:
        gt = cv2.cvtColor(gt, cv2.COLOR_GRAY2BGR)  # type: ignore[assignment]
    if crop is not None:
        check_inside("--crop", crop, gt, file)
        x, y, width, height = crop
        gt = gt[y : y + height, x : x + width]
    gt = np.ascontiguousarray(mod_crop(gt, scale, file))
    if downsample == "matlab":
        return gt, imresize(gt, 1 / scale)
    size = gt.shape[1] // scale, gt.shape[0] // scale
    return gt, np.asarray(PillowImage.fromarray(gt).resize(size, PillowImage.Resampling.BICUBIC))


def check_inside(
    option: str, part: tuple[int, ...], image: Image, file: Path, corner: tuple[int, ...] = (0, 0)
) -> None:
    """Raises `DataError` unless left, top, width and height describe a part of an image.

    Args:
        corner: where in the file the image begins; ``part`` is counted from there.
    """
    x, y, width, height = part
    rows, columns = image.shape[:2]
    if min(x, y) < 0 or min(width, height) < 1 or x + width > columns or y + height > rows:
        what = f"{width}x{height} pixels at {x + corner[0]},{y + corner[1]}"
        where = f" from {corner[0]},{corner[1]}" if any(corner) else ""
        raise DataError(f"{option}: {what} do not lie inside {file} ({columns}x{rows}{where} after cropping)")


def to_tensor(image: Image) -> Tensor:
    """``(H, W, 3)`` BGR to ``(3, H, W)`` RGB in 0..1, float32."""
    return torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))).float() / 255
