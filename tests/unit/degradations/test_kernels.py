"""Kernels over many draws: sums, sizes, kinds, ranges, and BasicSR's formulas."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from basicsr.data.degradations import bivariate_Gaussian, circular_lowpass_kernel

from hat_arch.degradations.kernels import KINDS, gaussian_kernel, kernel_size, mixed_kernel, sinc_kernel
from hat_arch.degradations.realesrgan import RealESRGAN

DRAWS = 2000
SIGMA, BETAG, BETAP = (0.2, 3.0), (0.5, 4.0), (1.0, 2.0)


@pytest.fixture(scope="module")
def drawn():
    rng, shares = np.random.default_rng(0), RealESRGAN(scale=4).kernel_prob
    return [mixed_kernel(rng, KINDS, shares, kernel_size(rng, 21), SIGMA, BETAG, BETAP) for _ in range(DRAWS)]


def test_kernels_sum_to_one_and_are_symmetric(drawn):
    for kernel in drawn:
        assert kernel.values.dtype == np.float32 and kernel.values.min() >= 0
        assert kernel.values.sum() == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(kernel.values, kernel.values[::-1, ::-1], atol=1e-6)
        if kernel.factor is not None:
            np.testing.assert_allclose(np.outer(kernel.factor, kernel.factor), kernel.values, atol=1e-7)


def test_sizes_are_odd_and_each_as_frequent(drawn):
    sizes = Counter(len(kernel.values) for kernel in drawn)
    assert sorted(sizes) == [7, 9, 11, 13, 15, 17, 19, 21]
    assert all(count == pytest.approx(DRAWS / 8, rel=0.25) for count in sizes.values())


def test_kinds_have_their_shares(drawn):
    def kind(label: str) -> str:
        shape = label.partition(",")[0].replace("generalized Gaussian", "generalized")
        return f"{shape} {'aniso' if '°' in label else 'iso'}"

    found = Counter(kind(kernel.label) for kernel in drawn)
    names = [f"{shape} {way}" for shape in ("Gaussian", "generalized", "plateau") for way in ("iso", "aniso")]
    assert set(found) == set(names)
    for name, share in zip(names, RealESRGAN(scale=4).kernel_prob):
        assert found[name] / DRAWS == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / DRAWS))


def test_sigma_and_beta_stay_in_their_ranges(drawn):
    sigmas, betas = [], {"generalized": [], "plateau": []}
    for kernel in drawn:
        sigmas += [float(number) for number in re.findall(r"\d\.\d\d", kernel.label.partition("β")[0])]
        if "β" in kernel.label:
            betas[kernel.label.split()[0].strip(",")].append(float(kernel.label.split()[-1]))
    assert 0.19 < min(sigmas) < 0.25 and 2.95 < max(sigmas) < 3.01
    for name, (low, high) in (("generalized", BETAG), ("plateau", BETAP)):
        assert low - 0.01 <= min(betas[name]) and max(betas[name]) <= high + 0.01
        below = np.mean([beta < 1 for beta in betas[name]])
        assert below == pytest.approx(0 if name == "plateau" else 0.5, abs=0.12)


@pytest.mark.parametrize(("size", "sigma"), [(7, 0.2), (13, 1.3), (21, 3.0)])
def test_the_round_gaussian_is_basicsrs(size, sigma):
    np.testing.assert_allclose(
        gaussian_kernel(size, sigma).values, bivariate_Gaussian(size, sigma, sigma, 0), atol=1e-7
    )


def test_sinc_kernels_are_basicsrs_and_cut_off_within_their_range():
    rng = np.random.default_rng(0)
    kernels = [sinc_kernel(rng, 13, np.pi / 3) for _ in range(300)]
    cutoffs = [float(kernel.label.split()[-1]) for kernel in kernels]
    assert np.pi / 3 - 0.01 < min(cutoffs) < 1.1 and 3.1 < max(cutoffs) < np.pi + 0.01
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = circular_lowpass_kernel(cutoffs[0], 13)
    np.testing.assert_allclose(kernels[0].values, expected, atol=2e-3)
    assert all(kernel.values.sum() == pytest.approx(1, abs=1e-5) for kernel in kernels)
    assert min(kernel.values.min() for kernel in kernels) < -0.01, "it rings"
