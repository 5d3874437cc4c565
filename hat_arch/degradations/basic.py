"""The degradations of the papers' tables: MATLAB's bicubic, JPEG, Gaussian noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from .jpeg import real_jpeg
from .operations import add_gaussian_noise, matlab_bicubic
from .recipe import Degradation, FileQualities, FromZero, Step


class Bicubic(Degradation):
    """MATLAB's ``imresize`` of the image as 8 bits, as ``basicsr data downsample`` does it."""

    name: ClassVar[str] = "bicubic"

    def steps(self, image: Tensor, rng: np.random.Generator) -> Iterator[Step]:
        yield Step("input", image)
        yield Step(f"MATLAB's bicubic 1/{self.scale}", matlab_bicubic(image, self.scale))


class Jpeg(Degradation):
    """JPEG by libjpeg, as in OpenCV, Pillow and MATLAB: what a file of that quality holds. Colour is kept 4:2:0.

    A scale above 1 is done by MATLAB's bicubic first. With a range, each image has a random quality in it.
    """

    name: ClassVar[str] = "jpeg"

    quality: FileQualities

    def steps(self, image: Tensor, rng: np.random.Generator) -> Iterator[Step]:
        yield Step("input", image)
        if self.scale > 1:
            image = matlab_bicubic(image, self.scale)
            yield Step(f"MATLAB's bicubic 1/{self.scale}", image)
        lowest, highest = self.quality
        quality = int(rng.integers(lowest, highest, endpoint=True))
        yield Step(f"JPEG, quality {quality}", real_jpeg(image, quality))


class Noise(Degradation):
    """White Gaussian noise, neither clipped nor rounded, as the papers on denoising add it; σ in units of 1/255.

    A scale above 1 is done by MATLAB's bicubic first. With a range, each image has a random σ in it. With ``seed``, an
    image gets the noise that published evaluations of denoisers add (KAIR, SwinIR): of NumPy's legacy generator, seeded
    anew for each image, there with 0, channels last.
    """

    name: ClassVar[str] = "noise"
    margin: ClassVar[int] = 0

    sigma: FromZero
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None

    def steps(self, image: Tensor, rng: np.random.Generator) -> Iterator[Step]:
        yield Step("input", image)
        if self.scale > 1:
            image = matlab_bicubic(image, self.scale)
            yield Step(f"MATLAB's bicubic 1/{self.scale}", image)
        sigma = rng.uniform(*self.sigma)
        if self.seed is None:
            noisy = add_gaussian_noise(image, sigma, False, rng)
        else:
            channels, height, width = image.shape
            noise = np.random.RandomState(self.seed).normal(0, sigma / 255, (height, width, channels))
            noisy = (image.double() + torch.from_numpy(noise.transpose(2, 0, 1)).to(image.device)).float()
        yield Step(f"Gaussian noise, σ {sigma:.3g}", noisy)
