"""A mild degradation, of photographs as cameras, phones and web sites leave them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from .jpeg import real_jpeg
from .kernels import gaussian_kernel
from .operations import MODES, add_gaussian_noise, filtered, matlab_bicubic, rounded
from .recipe import AboveZero, Degradation, FileQualities, FromZero, Probability, Step


class Photo(Degradation):
    """A little blur, reduction, a little noise and JPEG, each but the reduction often absent.

    A fifth of the images is reduced by MATLAB's bicubic and otherwise untouched, so that a network that is trained on
    these stays good on clean pictures. The others are reduced with antialiasing, as programs for photographs do it.
    This is the project's own; it is meant for models that are trained for PSNR, and to be calm on photographs.
    """

    name: ClassVar[str] = "photo"

    clean_prob: Probability = 0.2
    """How often bicubic is all that is done."""
    blur_prob: Probability = 0.5
    """Of the others, how often the image is blurred by a round Gaussian."""
    blur_sigma: AboveZero = (0.1, 0.6)
    """Of the blur, in LR pixels: 0.4 to 2.4 pixels of the GT at scale 4, 0.2 to 1.2 at scale 2."""
    noise_prob: Probability = 0.5
    noise_range: FromZero = (0, 12)
    """σ of Gaussian noise, of 255."""
    gray_noise_prob: Probability = 0.5
    jpeg_prob: Probability = 0.75
    jpeg_range: FileQualities = (40, 95)

    def steps(self, image: Tensor, rng: np.random.Generator) -> Iterator[Step]:
        yield (step := Step("input", image))
        if rng.random() < self.clean_prob:
            yield Step(f"MATLAB's bicubic 1/{self.scale}", matlab_bicubic(image, self.scale))
            return
        if rng.random() < self.blur_prob:
            sigma = rng.uniform(*self.blur_sigma) * self.scale
            kernel = gaussian_kernel(2 * math.ceil(3 * sigma) + 1, sigma)
            yield (step := Step(f"blur: {kernel.label}", filtered(step.image, kernel)))
        if self.scale > 1:
            yield (step := _reduce(step.image, self.scale, rng))
        if rng.random() < self.noise_prob:
            sigma, grey = rng.uniform(*self.noise_range), rng.random() < self.gray_noise_prob
            label = f"{'grey' if grey else 'colour'} Gaussian noise, σ {sigma:.1f}"
            yield (step := Step(label, add_gaussian_noise(step.image, sigma, grey, rng)))
        if rng.random() < self.jpeg_prob:
            quality = int(rng.integers(*self.jpeg_range, endpoint=True))
            yield Step(f"JPEG, quality {quality}", real_jpeg(step.image, quality))
        else:
            yield Step("8 bits", rounded(step.image))


def _reduce(image: Tensor, scale: int, rng: np.random.Generator) -> Step:
    """The mean of the pixels, or bilinear or bicubic with a kernel as much wider as the image gets smaller."""
    mode = MODES[int(rng.integers(len(MODES)))]
    size = image.shape[1] // scale, image.shape[2] // scale
    reduced = F.interpolate(image[None], size, mode=mode, antialias=mode != "area")[0]
    return Step(f"reduce ×1/{scale}, {mode}", reduced)
