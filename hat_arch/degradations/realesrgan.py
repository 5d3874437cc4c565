"""Real-ESRGAN's degradation of two orders (Wang et al., ICCVW 2021), as BasicSR's data set and model make it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from torch import Tensor

from .jpeg import approximate_jpeg
from .kernels import KINDS, LARGE, LEAST_SIZE, Kernel, Kind, kernel_size, mixed_kernel, sinc_kernel
from .operations import MODES, Mode, add_gaussian_noise, add_poisson_noise, filtered, resized, rounded
from .recipe import AboveZero, AroundOne, Degradation, FromZero, Probability, Qualities, Shares, Step, choice


def _odd(size: int) -> int:
    if size % 2 == 0:
        raise ValueError("should be odd")
    return size


def _three(shares: tuple[float, ...]) -> tuple[float, ...]:
    if len(shares) != 3:
        raise ValueError("should be three shares: of up, down and keep")
    return shares


KernelSize = Annotated[int, Field(ge=LEAST_SIZE), AfterValidator(_odd)]
Kinds = Annotated[tuple[Kind, ...], BeforeValidator(lambda kinds: tuple(kinds) if isinstance(kinds, list) else kinds)]
UpDownKeep = Annotated[Shares, AfterValidator(_three)]


class RealESRGAN(Degradation):
    """Blur, resizing, noise and JPEG, twice, and a sinc filter before or after the last JPEG.

    The fields are the options of BasicSR's ``RealESRGANDataset`` and ``RealESRGANModel``, with the values of the
    official HAT as defaults; those of the second order end in 2. ``kernel_prob`` belongs to ``kernel_list``,
    ``resize_prob`` to enlarging, reducing and keeping. What differs from BasicSR: every image has its own random
    choices, where BasicSR makes most of them once for a batch; kernels have 7 to ``blur_kernel_size`` pixels, where
    BasicSR has 7 to 21 always; JPEG repeats the last pixels (see `approximate_jpeg`). The result has 256 values.
    """

    name: ClassVar[str] = "realesrgan"

    blur_kernel_size: KernelSize = 21
    kernel_list: Kinds = KINDS
    kernel_prob: Shares = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    sinc_prob: Probability = 0.1
    blur_sigma: AboveZero = (0.2, 3)
    betag_range: AroundOne = (0.5, 4)
    betap_range: AroundOne = (1, 2)
    resize_prob: UpDownKeep = (0.2, 0.7, 0.1)
    resize_range: AroundOne = (0.15, 1.5)
    gaussian_noise_prob: Probability = 0.5
    noise_range: FromZero = (1, 30)
    poisson_scale_range: FromZero = (0.05, 3)
    gray_noise_prob: Probability = 0.4
    jpeg_range: Qualities = (30, 95)

    second_blur_prob: Probability = 0.8
    blur_kernel_size2: KernelSize = 21
    kernel_list2: Kinds = KINDS
    kernel_prob2: Shares = (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
    sinc_prob2: Probability = 0.1
    blur_sigma2: AboveZero = (0.2, 1.5)
    betag_range2: AroundOne = (0.5, 4)
    betap_range2: AroundOne = (1, 2)
    resize_prob2: UpDownKeep = (0.3, 0.4, 0.3)
    resize_range2: AroundOne = (0.3, 1.2)
    gaussian_noise_prob2: Probability = 0.5
    noise_range2: FromZero = (1, 25)
    poisson_scale_range2: FromZero = (0.05, 2.5)
    gray_noise_prob2: Probability = 0.4
    jpeg_range2: Qualities = (30, 95)

    final_sinc_prob: Probability = 0.8

    @model_validator(mode="after")
    def _kinds_have_shares(self) -> RealESRGAN:
        for kinds, shares, end in (
            (self.kernel_list, self.kernel_prob, ""),
            (self.kernel_list2, self.kernel_prob2, "2"),
        ):
            if len(kinds) != len(shares):
                raise ValueError(f"kernel_prob{end} should be {len(kinds)} shares, one for each of kernel_list{end}")
        return self

    @property
    def least_side(self) -> int:
        return max(self.scale, self.blur_kernel_size, self.blur_kernel_size2)

    def steps(self, image: Tensor, rng: np.random.Generator) -> Iterator[Step]:
        yield Step("input", image)
        height, width = (side // self.scale for side in image.shape[1:])

        order = self._order("")
        yield (step := order.blur(image, rng))
        factor, mode = order.factor(rng), _mode(rng)
        yield (step := Step(f"resize ×{factor:.2f}, {mode}", resized(step.image, mode, factor=factor)))
        yield (step := order.add_noise(step.image, rng))
        yield (step := order.compress(step.image, rng))

        order = self._order("2")
        if rng.random() < self.second_blur_prob:
            yield (step := order.blur(step.image, rng))
        factor, mode = order.factor(rng), _mode(rng)
        size = max(1, int(height * factor)), max(1, int(width * factor))
        yield (step := Step(f"resize to LR ×{factor:.2f}, {mode}", resized(step.image, mode, size=size)))
        yield (step := order.add_noise(step.image, rng))
        first, mode = rng.random() < 0.5, _mode(rng)
        if not first:
            yield (step := order.compress(step.image, rng))
        yield (step := Step(f"resize to LR, {mode}", resized(step.image, mode, size=(height, width))))
        if kernel := self._final_kernel(rng):
            yield (step := Step(kernel.label, filtered(step.image, kernel)))
        if first:
            yield (step := order.compress(step.image, rng))
        yield Step("8 bits", rounded(step.image))

    def kernels(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], ...]:
        """The kernels of both orders and the final one, as BasicSR's data set draws them for BasicSR's models.

        All are filled up with zeros to the side of the largest kernel, ``(k, k)`` float32. The final one may be a
        pulse, which changes nothing.
        """
        first, second, final = self._order("").kernel(rng), self._order("2").kernel(rng), self._final_kernel(rng)
        drawn = first.values, second.values, final.values if final else np.ones((1, 1), np.float32)
        side = max(self.blur_kernel_size, self.blur_kernel_size2)
        return tuple(np.pad(values, (side - len(values)) // 2) for values in drawn)

    def _final_kernel(self, rng: np.random.Generator) -> Kernel | None:
        if rng.random() >= self.final_sinc_prob:
            return None
        return sinc_kernel(rng, kernel_size(rng, self.blur_kernel_size2), np.pi / 3)

    def _order(self, end: str) -> _Order:
        return _Order(*(getattr(self, name + end) for name in _Order._fields))


class _Order(NamedTuple):
    """The options that both orders have, and what they are for."""

    blur_kernel_size: int
    kernel_list: tuple[Kind, ...]
    kernel_prob: tuple[float, ...]
    sinc_prob: float
    blur_sigma: tuple[float, float]
    betag_range: tuple[float, float]
    betap_range: tuple[float, float]
    resize_prob: tuple[float, ...]
    resize_range: tuple[float, float]
    gaussian_noise_prob: float
    noise_range: tuple[float, float]
    poisson_scale_range: tuple[float, float]
    gray_noise_prob: float
    jpeg_range: tuple[float, float]

    def kernel(self, rng: np.random.Generator) -> Kernel:
        size = kernel_size(rng, self.blur_kernel_size)
        if rng.random() < self.sinc_prob:
            return sinc_kernel(rng, size, np.pi / 3 if size < LARGE else np.pi / 5)
        ranges = self.blur_sigma, self.betag_range, self.betap_range
        return mixed_kernel(rng, self.kernel_list, self.kernel_prob, size, *ranges)

    def blur(self, image: Tensor, rng: np.random.Generator) -> Step:
        kernel = self.kernel(rng)
        return Step(f"blur: {kernel.label}", filtered(image, kernel))

    def factor(self, rng: np.random.Generator) -> float:
        lowest, highest = self.resize_range
        return (rng.uniform(1, highest), rng.uniform(lowest, 1), 1.0)[choice(rng, self.resize_prob)]

    def add_noise(self, image: Tensor, rng: np.random.Generator) -> Step:
        is_gaussian, grey = rng.random() < self.gaussian_noise_prob, rng.random() < self.gray_noise_prob
        if is_gaussian:
            sigma = rng.uniform(*self.noise_range)
            label, image = f"Gaussian noise, σ {sigma:.1f}", add_gaussian_noise(image, sigma, grey, rng)
        else:
            strength = rng.uniform(*self.poisson_scale_range)
            label, image = f"Poisson noise ×{strength:.2f}", add_poisson_noise(image, strength, grey, rng)
        return Step(f"{label}, grey" if grey else label, image.clamp_(0, 1))

    def compress(self, image: Tensor, rng: np.random.Generator) -> Step:
        quality = rng.uniform(*self.jpeg_range)
        return Step(f"JPEG, quality {quality:.0f}", approximate_jpeg(image.clamp(0, 1), quality))


def _mode(rng: np.random.Generator) -> Mode:
    return MODES[int(rng.integers(len(MODES)))]
