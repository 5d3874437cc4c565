"""Metrics beside BasicSR's."""

from __future__ import annotations

from typing import Any

import numpy as np
from basicsr.metrics.metric_util import reorder_image, to_y_channel
from numpy.typing import NDArray

BLOCK = 8  # pixels of a side of JPEG's blocks


def calculate_psnrb(
    img: NDArray[Any],
    img2: NDArray[Any],
    crop_border: int,
    input_order: str = "HWC",
    test_y_channel: bool = False,
    **kwargs: Any,
) -> float:
    """PSNR-B (Yim and Bovik, IEEE TIP 20(1), 2011): PSNR that counts steps between JPEG's blocks as errors.

    It is ``10 · log10(255² / (MSE + BEF))`` with the `blocking_effect_factor` of the first image; blocks begin at its
    upper left. Of colours, the mean of each channel's PSNR-B, as SwinIR's evaluation has it.

    Args:
        img: the image to judge, values 0 to 255; ``(H, W)``, ``(H, W, C)`` or ``(C, H, W)``, colours in BGR.
        img2: the ground truth, of the same shape.
        crop_border: pixels left out on each side; a number that is no multiple of 8 moves the blocks.
        input_order: ``HWC`` or ``CHW``.
        test_y_channel: of colours, measure luma (ITU-R BT.601, studio range) in place of each channel.
        kwargs: of other metrics of BasicSR, without effect.

    Returns:
        Decibels; infinite for equal images without such steps.

    Raises:
        ValueError: the images differ in shape, or have no two blocks beside each other.
    """
    if img.shape != img2.shape:
        raise ValueError(f"images of {img.shape} and {img2.shape} cannot be compared")
    images = [reorder_image(image, input_order) for image in (img, img2)]
    if crop_border:
        images = [image[crop_border:-crop_border, crop_border:-crop_border] for image in images]
    if test_y_channel:
        images = [to_y_channel(image) for image in images]
    images = [image.astype(np.float64) for image in images]
    if max(images[0].shape[:2]) < 2 * BLOCK:
        raise ValueError(f"{images[0].shape[0]}x{images[0].shape[1]} pixels are too few; PSNR-B needs two blocks of 8")
    with np.errstate(divide="ignore"):
        return float(np.mean([_psnrb(*channels) for channels in zip(*(np.moveaxis(image, -1, 0) for image in images))]))


def _psnrb(image: NDArray[np.float64], gt: NDArray[np.float64]) -> np.float64:
    return 10 * np.log10(255**2 / (np.mean((image - gt) ** 2) + blocking_effect_factor(image)))


def blocking_effect_factor(image: NDArray[np.float64]) -> float:
    """By how much squared differences of neighbours are larger between blocks than inside (equations 10 to 13).

    The mean over pairs of neighbours in two blocks, minus that over all other pairs, times ``log 8 / log`` of the
    shorter side; 0 if it is not larger. For sides that are no multiples of 8, the papers' numbers have the count of the
    first pairs for sides rounded down to one, but the sum over all of them; so does this.

    Args:
        image: one channel ``(H, W)``, one side 16 or more.
    """
    height, width = image.shape
    across, down = np.diff(image, axis=1) ** 2, np.diff(image, axis=0) ** 2
    between = across[:, BLOCK - 1 :: BLOCK].sum() + down[BLOCK - 1 :: BLOCK].sum()
    pairs_between = height * max(0, width // BLOCK - 1) + width * max(0, height // BLOCK - 1)
    inside = across.sum() + down.sum() - between
    excess = between / pairs_between - inside / (across.size + down.size - pairs_between)
    return max(0.0, float(np.log(BLOCK) / np.log(min(height, width)) * excess))
