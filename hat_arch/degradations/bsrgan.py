"""BSRGAN's degradation (Zhang et al., ICCV 2021, section 4): its steps in a random order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import cv2
import numpy as np
import torch
from basicsr.data.degradations import bivariate_Gaussian
from torch import Tensor

from .jpeg import real_jpeg
from .kernels import Kernel, gaussian_kernel
from .operations import add_gaussian_noise, filtered
from .recipe import Degradation, FileQualities, Probability, Step, WholeFromZero
from .resize import imresize

INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}
LEAST_SIGMA = 0.1  # pixels: a blur below it does nothing, and its formula divides by it
SHIFTED_SIZE = 25  # pixels, of the Gaussian before every s-th pixel is taken


class BSRGAN(Degradation):
    """Two blurs, two reductions, Gaussian noise and JPEG in a random order, then a last JPEG.

    Blurs are round or oval Gaussians of 7 to 25 pixels. The first reduction is by a random factor or, behind a shifted
    Gaussian, to every s-th pixel; the second, always later, is to the LR's size. Some images are halved before all, at
    scale 4. Noise is coloured, grey, or correlated between the channels. JPEG is that of files (`real_jpeg`).

    Left out is the noise of a camera's sensor and processing: it needs networks that were never published, without
    which BSRGAN's own code leaves it out too. All is computed on the CPU, wherever the image is.
    """

    name: ClassVar[str] = "bsrgan"

    halving_prob: Probability = 0.25
    """At scale 4, how often the image is halved before all else."""
    shifted_prob: Probability = 0.25
    """How often the first reduction is by a shifted Gaussian."""
    jpeg_prob: Probability = 0.9
    """How often there is a JPEG before the last one."""
    noise_range: WholeFromZero = (2, 25)
    """σ of the noise, of 255."""
    jpeg_range: FileQualities = (30, 95)

    @property
    def least_side(self) -> int:
        return max(self.scale, SHIFTED_SIZE)

    def steps(self, image: Tensor, rng: np.random.Generator) -> Iterator[Step]:
        device, size = image.device, (image.shape[1] // self.scale, image.shape[2] // self.scale)
        yield (step := Step("input", image.cpu()))
        scale = self.scale
        if scale == 4 and rng.random() < self.halving_prob:
            yield (step := _halve(step.image, rng))
            scale = 2
        order = rng.permutation(["blur", "blur", "reduce", "reduce to LR", "noise", "JPEG"]).tolist()
        first, second = sorted((order.index("reduce"), order.index("reduce to LR")))
        order[first], order[second] = "reduce", "reduce to LR"
        for name in order:
            if name == "blur":
                yield (step := _blur(step.image, scale, rng))
            elif name == "reduce":
                yield (step := self._reduce(step.image, scale, rng))
            elif name == "reduce to LR":
                yield (step := _resize(step.image, size, rng, name))
            elif name == "noise":
                yield (step := self._add_noise(step.image, rng))
            elif rng.random() < self.jpeg_prob:
                yield (step := self._compress(step.image, rng))
        label, image = self._compress(step.image, rng)
        yield Step(label, image.to(device))

    def _reduce(self, image: Tensor, scale: int, rng: np.random.Generator) -> Step:
        """Reduces by a random factor of 1 to twice the scale, or to every ``scale``-th pixel."""
        if rng.random() >= self.shifted_prob:
            factor = 1 / rng.uniform(1, 2 * scale)
            height, width = (max(1, int(side * factor)) for side in image.shape[1:])
            return _resize(image, (height, width), rng, f"reduce ×{factor:.2f}")
        sigma = rng.uniform(0.1, 0.6 * scale)
        # to the middle of the pixels that one of the LR stands for
        across = np.exp(-0.5 * ((np.arange(SHIFTED_SIZE) - SHIFTED_SIZE // 2 - (scale - 1) / 2) / sigma) ** 2)
        blurred = filtered(image, Kernel.separable("", across / across.sum()))
        label = f"shifted Gaussian, σ {sigma:.2f}, one pixel of {scale}x{scale}"
        return Step(label, blurred[:, ::scale, ::scale].clamp(0, 1))

    def _add_noise(self, image: Tensor, rng: np.random.Generator) -> Step:
        sigma, kind = int(rng.integers(*self.noise_range, endpoint=True)), rng.random()
        if kind > 0.6 or kind < 0.4:
            grey = kind < 0.4
            label = f"{'grey' if grey else 'colour'} Gaussian noise, σ {sigma}"
            return Step(label, add_gaussian_noise(image, sigma, grey, rng).clamp_(0, 1))
        highest = self.noise_range[1]
        return Step(f"correlated noise, σ up to {highest}", _add_correlated_noise(image, highest, rng).clamp_(0, 1))

    def _compress(self, image: Tensor, rng: np.random.Generator) -> Step:
        quality = int(rng.integers(*self.jpeg_range, endpoint=True))
        return Step(f"JPEG, quality {quality}", real_jpeg(image, quality))


def _halve(image: Tensor, rng: np.random.Generator) -> Step:
    if rng.random() < 0.5:
        return _resize(image, (image.shape[1] // 2, image.shape[2] // 2), rng, "halve")
    return Step("halve, MATLAB's bicubic", imresize(image, 0.5).clamp_(0, 1))


def _blur(image: Tensor, scale: int, rng: np.random.Generator) -> Step:
    """A round or an oval Gaussian; the larger the scale, the wider."""
    size = 2 * int(rng.integers(2, 11, endpoint=True)) + 3
    if rng.random() < 0.5:
        sigma_x, sigma_y = (max(LEAST_SIGMA, np.sqrt(rng.uniform(0, 4 + scale))) for _ in range(2))
        angle = rng.uniform(0, np.pi)
        label = f"Gaussian, σ {sigma_x:.2f}, {sigma_y:.2f}, {np.degrees(angle):.0f}°"
        kernel = Kernel.of(label, bivariate_Gaussian(size, sigma_x, sigma_y, angle, isotropic=False))
    else:
        kernel = gaussian_kernel(size, max(LEAST_SIGMA, rng.uniform(0, 2 + 0.2 * scale)))
    return Step(f"blur: {kernel.label}", filtered(image, kernel))


def _resize(image: Tensor, size: tuple[int, int], rng: np.random.Generator, label: str) -> Step:
    """OpenCV's resizing, without an antialiasing filter but for ``area``."""
    mode = list(INTERPOLATIONS)[int(rng.integers(3))]
    planes = [cv2.resize(plane, size[::-1], interpolation=INTERPOLATIONS[mode]) for plane in image.numpy()]
    return Step(f"{label}, {mode}", torch.from_numpy(np.stack(planes)).clamp_(0, 1))


def _add_correlated_noise(image: Tensor, highest: float, rng: np.random.Generator) -> Tensor:
    """Gaussian noise with a random covariance of the channels, of ``highest`` / 255 at the most."""
    channels = len(image)
    directions = np.linalg.qr(rng.random((channels, channels)))[0]
    covariance = np.abs(directions.T @ np.diag(rng.random(channels)) @ directions) * (highest / 255) ** 2
    variances, axes = np.linalg.eigh(covariance)  # the absolute values may leave one below 0
    mixing = torch.from_numpy(axes * np.sqrt(variances.clip(0))).float()
    noise = torch.from_numpy(rng.standard_normal((channels, image[0].numel()), np.float32))
    return image + (mixing @ noise).view_as(image)
