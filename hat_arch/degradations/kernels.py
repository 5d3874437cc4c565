"""Blur kernels, drawn as BasicSR draws them, by its formulas, from a generator that is passed in.

BasicSR's ``random_…`` functions draw from the global generators of Python and NumPy.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from basicsr.data.degradations import (
    bivariate_Gaussian,
    bivariate_generalized_Gaussian,
    bivariate_plateau,
    circular_lowpass_kernel,
)
from numpy.typing import NDArray

from .recipe import choice

Kind = Literal["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Gaussian, generalized Gaussian and plateau, round or not: the names of BasicSR's ``kernel_list``."""
LEAST_SIZE = 7
"""Side of the smallest kernel that Real-ESRGAN draws."""
LARGE = 13  # pixels: smaller sinc kernels cannot cut off the lowest frequencies


class Kernel(NamedTuple):
    """A filter whose values sum to 1."""

    label: str
    """Its kind and values."""
    values: NDArray[np.float32]
    """``(k, k)``, k odd."""
    factor: NDArray[np.float32] | None = None
    """``(k,)``, if the kernel is a column times a row that are both this."""

    @classmethod
    def of(cls, label: str, values: NDArray[np.float64]) -> Kernel:
        return cls(label, values.astype(np.float32))

    @classmethod
    def separable(cls, label: str, factor: NDArray[np.float64]) -> Kernel:
        return cls(label, np.outer(factor, factor).astype(np.float32), factor.astype(np.float32))


def gaussian_kernel(size: int, sigma: float) -> Kernel:
    """A round Gaussian, ``sigma`` in pixels."""
    across = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2)
    return Kernel.separable(f"Gaussian, σ {sigma:.2f}", across / across.sum())


def mixed_kernel(
    rng: np.random.Generator,
    kinds: tuple[Kind, ...],
    shares: tuple[float, ...],
    size: int,
    sigma: tuple[float, float],
    betag: tuple[float, float],
    betap: tuple[float, float],
) -> Kernel:
    """A kernel of a random kind, as BasicSR's ``random_mixed_kernels`` draws it.

    Args:
        rng: what decides.
        kinds: of `KINDS`.
        shares: how often each of them is drawn.
        size: side in pixels, odd.
        sigma: range of the standard deviations along both axes, in pixels.
        betag: range of the generalized Gaussian's exponent; half of them are drawn below 1, half above.
        betap: the same of the plateau's.
    """
    kind = kinds[choice(rng, shares)]
    shape, _, direction = kind.rpartition("_")
    sigma_x = sigma_y = rng.uniform(*sigma)
    angle = 0.0
    if direction == "aniso":
        sigma_y, angle = rng.uniform(*sigma), rng.uniform(-np.pi, np.pi)
    where = f"σ {sigma_x:.2f}" if direction == "iso" else f"σ {sigma_x:.2f}, {sigma_y:.2f}, {np.degrees(angle):.0f}°"
    if not shape:
        if direction == "iso":
            return gaussian_kernel(size, sigma_x)
        values = bivariate_Gaussian(size, sigma_x, sigma_y, angle, isotropic=False)
        return Kernel.of(f"Gaussian, {where}", values)
    lowest, highest = betag if shape == "generalized" else betap
    beta = rng.uniform(lowest, 1) if rng.random() < 0.5 else rng.uniform(1, highest)
    formula = bivariate_generalized_Gaussian if shape == "generalized" else bivariate_plateau
    values = formula(size, sigma_x, sigma_y, angle, beta, isotropic=direction == "iso")
    return Kernel.of(f"{'generalized Gaussian' if shape == 'generalized' else shape}, {where}, β {beta:.2f}", values)


def sinc_kernel(rng: np.random.Generator, size: int, lowest: float) -> Kernel:
    """A low-pass filter, which rings at edges; it cuts off at a random frequency, ``lowest`` to π."""
    cutoff = rng.uniform(lowest, np.pi)
    with np.errstate(divide="ignore", invalid="ignore"):  # at the centre, whose value is set afterwards
        return Kernel.of(f"sinc, cut-off {cutoff:.2f}", circular_lowpass_kernel(cutoff, size))


def kernel_size(rng: np.random.Generator, largest: int) -> int:
    """A random odd side, from 7 to ``largest``."""
    return 2 * int(rng.integers(LEAST_SIZE // 2, largest // 2 + 1)) + 1
