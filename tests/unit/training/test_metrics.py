"""PSNR-B beside its formulas, written as they stand in the paper, with a loop for each pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from basicsr.metrics import calculate_metric, calculate_psnr
from basicsr.utils import bgr2ycbcr
from basicsr.utils.registry import METRIC_REGISTRY

from hat_arch import calculate_psnrb
from hat_arch.training.metrics import blocking_effect_factor


def slow_factor(image: np.ndarray) -> float:
    """Yim and Bovik's equations 8 to 13, of rows and columns of pixels."""
    height, width = image.shape
    edges, inside, between = 0.0, 0.0, {"edges": 0, "all": 0}
    for y in range(height):
        for x in range(width):
            for below, right in ((0, 1), (1, 0)):
                if y + below == height or x + right == width:
                    continue
                squared = (float(image[y, x]) - float(image[y + below, x + right])) ** 2
                at = x if right else y
                between["all"] += 1
                if at % 8 == 7:
                    edges += squared
                else:
                    inside += squared
    count = height * (width // 8 - 1) + width * (height // 8 - 1)
    d_b, d_bc = edges / count, inside / (between["all"] - count)
    eta = math.log2(8) / math.log2(min(height, width)) if d_b > d_bc else 0
    return eta * (d_b - d_bc)


def blocky(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    blocks = rng.integers(60, 200, (height // 8 + 1, width // 8 + 1)).repeat(8, 0).repeat(8, 1)
    return np.clip(blocks[:height, :width] + rng.normal(0, 4, (height, width)), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("size", [(16, 16), (24, 40), (33, 47), (20, 14)])
def test_the_factor_is_the_papers(size):
    for image in (blocky(*size), np.random.default_rng(1).integers(0, 256, size, np.uint8)):
        assert blocking_effect_factor(image.astype(np.float64)) == pytest.approx(slow_factor(image), abs=1e-9)


def test_steps_between_blocks_count_and_steps_elsewhere_do_not():
    gt = np.full((32, 32), 100, np.uint8)
    steps, shifted = gt.copy(), gt.copy()
    steps[:, 8:16] += 10
    shifted[:, 4:12] += 10
    assert calculate_psnrb(steps, gt, 0) < calculate_psnr(steps, gt, 0) == calculate_psnrb(shifted, gt, 0)
    # 32 of the 32 · 3 · 2 pairs between blocks differ at each side of the stripe; log 8 / log 32 is 3/5
    assert blocking_effect_factor(steps.astype(np.float64)) == pytest.approx(0.6 * 100 * 64 / 192)
    assert calculate_psnrb(gt, gt, 0) == math.inf


@pytest.mark.parametrize("shape", [(40, 33), (40, 33, 3)])
@pytest.mark.parametrize("border", [0, 3])
def test_images_are_taken_as_basicsr_takes_them(shape, border):
    rng = np.random.default_rng(0)
    gt = rng.integers(0, 256, shape, np.uint8)
    image = np.clip(gt + rng.normal(0, 9, shape), 0, 255).astype(np.uint8)
    image[:, :16] //= 2
    inner = (slice(border, -border or None),) * 2
    channels = (
        [(image[inner], gt[inner])]
        if len(shape) == 2
        else list(zip(*(np.moveaxis(x[inner], -1, 0) for x in (image, gt))))
    )
    expected = np.mean(
        [10 * np.log10(255**2 / (np.mean((a - b.astype(float)) ** 2) + slow_factor(a))) for a, b in channels]
    )
    options = {"type": "calculate_psnrb", "crop_border": border}
    assert calculate_metric({"img": image, "img2": gt}, options) == pytest.approx(expected, abs=1e-9)
    if len(shape) == 3:
        luma = [bgr2ycbcr(x.astype(np.float32) / 255, y_only=True) * 255 for x in (image, gt)]
        of_luma = calculate_psnrb(image, gt, border, test_y_channel=True)
        assert of_luma == pytest.approx(calculate_psnrb(*luma, border), abs=1e-6)
        turned = [x.transpose(2, 0, 1) for x in (image, gt)]
        assert calculate_psnrb(*turned, border, input_order="CHW") == pytest.approx(expected, abs=1e-9)


def test_what_cannot_be_measured_is_said():
    image = np.zeros((16, 16), np.uint8)
    for other, border, words in ((image[:8], 0, "cannot be compared"), (image, 2, "12x12 pixels are too few")):
        with pytest.raises(ValueError, match=words):
            calculate_psnrb(image, other, border)
    assert "calculate_psnrb" in METRIC_REGISTRY
