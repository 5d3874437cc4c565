"""Single steps beside BasicSR's functions and their definitions."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import degradations as theirs
from basicsr.utils import DiffJPEG, USMSharp
from basicsr.utils.img_process_util import filter2D

from hat_arch.data.stand_ins import picture
from hat_arch.degradations import operations as ours
from hat_arch.degradations.jpeg import approximate_jpeg, real_jpeg
from hat_arch.degradations.kernels import KINDS, Kernel, gaussian_kernel, kernel_size, mixed_kernel, sinc_kernel

IMAGE = torch.from_numpy(picture(64, 80).transpose(2, 0, 1).astype(np.float32) / 255)


def kernels(count: int = 12) -> list[Kernel]:
    rng = np.random.default_rng(0)
    drawn = [mixed_kernel(rng, KINDS, (1,) * 6, kernel_size(rng, 21), (0.2, 3), (0.5, 4), (1, 2)) for _ in range(count)]
    return [*drawn, gaussian_kernel(51, 8), sinc_kernel(rng, 21, np.pi / 3)]


def test_filters_are_basicsrs():
    for kernel in kernels():
        values = torch.from_numpy(kernel.values)[None]
        expected = filter2D(IMAGE[None], values)[0]
        torch.testing.assert_close(ours.filtered(IMAGE, kernel), expected, atol=5e-6, rtol=0)
        parts = [torch.from_numpy(part) for part in ours._parts(kernel)]
        torch.testing.assert_close(ours._convolved(IMAGE, parts), expected, atol=5e-6, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (9, 3)])
def test_both_ways_to_filter_agree_on_images_smaller_than_the_kernel(size):
    image = IMAGE[:, : size[0], : size[1]]
    for kernel in kernels():
        parts = [torch.from_numpy(part) for part in ours._parts(kernel)]
        torch.testing.assert_close(ours.filtered(image, kernel), ours._convolved(image, parts), atol=5e-6, rtol=0)


def test_sharpening_is_basicsrs():
    expected = USMSharp()(IMAGE[None])[0]
    torch.testing.assert_close(ours.usm_sharpened(IMAGE), expected, atol=5e-6, rtol=0)
    batch = torch.stack([IMAGE, IMAGE.flip(2)])
    torch.testing.assert_close(ours.usm_sharpened(batch)[1].flip(2), expected, atol=5e-6, rtol=0)
    assert (expected - IMAGE).abs().max() > 0.05, "it does something"


@pytest.mark.parametrize("mode", ours.MODES)
@pytest.mark.parametrize("factor", [0.15, 0.7, 1.0, 1.4])
def test_resizing_is_basicsrs(mode, factor):
    expected = torch.nn.functional.interpolate(IMAGE[None], scale_factor=factor, mode=mode)[0]
    torch.testing.assert_close(ours.resized(IMAGE, mode, factor=factor), expected)


@pytest.mark.parametrize("grey", [False, True])
def test_gaussian_noise_is_basicsrs(grey, monkeypatch):
    """Given the same random numbers."""
    drawn = np.random.default_rng(1).standard_normal(IMAGE[:1].shape if grey else IMAGE.shape, np.float32)
    monkeypatch.setattr(np.random, "randn", lambda *_: drawn[0] if grey else drawn.transpose(1, 2, 0))
    array = IMAGE.numpy().transpose(1, 2, 0)
    expected = theirs.add_gaussian_noise(array, 20, clip=False, gray_noise=grey).transpose(2, 0, 1)
    result = ours.add_gaussian_noise(IMAGE, 20, grey, np.random.default_rng(1))
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("levels", [256, 17, 2, 1])
def test_poisson_noise_has_the_moments_of_basicsrs(grey, levels):
    """Mean, variance and skewness at each level, as the Poisson distribution of 2^n counts has them."""
    ramp = torch.linspace(0.1, 0.9, levels).mul(255).round().div(255)
    image = ramp.repeat_interleave(4096 // levels + 1)[: 3 * 1365].view(1, 63, 65).repeat(3, 1, 1)
    rng = np.random.default_rng(0)
    noise = torch.stack([ours.add_poisson_noise(image, 2, grey, rng) - image for _ in range(40)]).numpy() / 2
    torch.manual_seed(0)
    batch = image[None].repeat(40, 1, 1, 1)
    same = theirs.generate_poisson_noise_pt(batch, 1.0, torch.full((40,), float(grey))).numpy()
    if grey:
        np.testing.assert_allclose(noise[:, 0], noise[:, 2], atol=1e-6)
    counts = 2 ** math.ceil(math.log2(len(image.unique())))
    for level in image.unique()[:: max(1, levels // 4)].tolist():
        here = (image - level).abs().numpy() < 1e-6
        for sample in (noise[:, here], same[:, here]):
            assert sample.mean() == pytest.approx(0, abs=5 * math.sqrt(level / counts / sample.size))
            assert sample.var() == pytest.approx(level / counts, rel=0.15)
        assert noise[:, here].var() == pytest.approx(same[:, here].var(), rel=0.15)


@pytest.mark.parametrize("counts", [1, 16, 256])
def test_the_table_of_poisson_counts_is_its_distribution(counts):
    from scipy import stats

    above, lowest = ours._poisson(counts)
    for level in (0, 1, 100, 255):
        mean = level / 255 * counts
        found = np.rint((above.reshape(256, -1)[level] / counts + lowest[level]) * counts + mean).astype(int)
        assert (np.diff(found) >= 0).all()
        share = np.bincount(found, minlength=found.max() + 1) / ours.STEPS
        np.testing.assert_allclose(share, stats.poisson.pmf(np.arange(len(share)), mean), atol=4e-5)


@pytest.mark.parametrize("quality", [30, 49.9, 50, 77.3, 95])
def test_the_approximated_jpeg_is_basicsrs(quality):
    expected = DiffJPEG(differentiable=False)(IMAGE[None], quality)[0].detach()
    result = approximate_jpeg(IMAGE, quality)
    off = (result - expected).abs()
    assert off.median() < 1e-6 and (off > 1e-4).float().mean() < 0.01, "but for coefficients that lie at a half"


@pytest.mark.parametrize("size", [(64, 80), (50, 61), (17, 15), (9, 100)])
@pytest.mark.parametrize("channels", [3, 1])
def test_the_approximated_jpeg_is_near_that_of_files_to_the_edges(size, channels):
    """BasicSR's rings at the right and bottom edges, where it fills up the image with black."""
    image = torch.from_numpy(cv2.GaussianBlur(picture(*size), (0, 0), 2).transpose(2, 0, 1).astype(np.float32) / 255)
    image = image[:channels] * 0.4 + 0.6
    file, result = real_jpeg(image, 40), approximate_jpeg(image, 40)
    assert result.shape == image.shape
    edges = torch.ones(size, dtype=torch.bool)
    edges[:-2, :-2] = False
    assert (result - file).abs().mean() < 0.01 and (result - file)[:, edges].abs().mean() < 0.015


def test_the_best_quality_changes_next_to_nothing():
    assert (approximate_jpeg(IMAGE[:1], 100) - IMAGE[:1]).abs().max() < 1 / 255


def test_poisson_noise_is_nearly_the_same_on_nearly_the_same_image():
    """Whatever device computed it: where a pixel is one off, its noise is too, and no other pixel's."""
    other = IMAGE.clone()
    other[0, 5, 7] += 1 / 255
    first, second = (ours.add_poisson_noise(image, 3, False, np.random.default_rng(0)) for image in (IMAGE, other))
    changed = (first - second).abs() > 1e-6
    assert changed.sum() == 1 and (first - second).abs().max() < 0.03
