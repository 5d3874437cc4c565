"""Layers and helpers that know nothing of HAT. Features are ``(B, H, W, C)``, images ``(B, C, H, W)``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .exported import pad_by_index
from .linear import through
from .strips import is_exported, join, saves_memory, strips

UPSAMPLERS = ("pixelshuffle", "pixelshuffledirect", "")
NUM_FEAT = 64  # channels between the two last convolutions


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, dim: int, hidden: int, drop: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:  # B, H, W, C
        if not saves_memory():
            return self.of_rows(x)
        return join((self.of_rows(x[:, i:j]) for i, j in strips(x)), x.shape[1])

    def of_rows(self, x: Tensor) -> Tensor:
        return self.drop(through(self.fc2, self.drop(F.gelu(through(self.fc1, x)))))


class ChannelAttention(nn.Module):
    """Scales each channel by a gate computed from the channels' means (RCAN; paper section 3.2)."""

    def __init__(self, num_feat: int, squeeze_factor: int) -> None:
        super().__init__()
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(num_feat, num_feat // squeeze_factor, 1),
            nn.ReLU(),
            nn.Conv2d(num_feat // squeeze_factor, num_feat, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        if not (saves_memory() and isinstance(next(self.attention.children(), None), nn.AdaptiveAvgPool2d)):
            return x * self.attention(x)
        rows = strips(x.permute(0, 2, 3, 1))  # PyTorch's mean would hold all of a bf16 map in fp32
        precise = torch.promote_types(x.dtype, torch.float32)
        sums = [x[:, :, i:j].sum((2, 3), dtype=precise, keepdim=True) for i, j in rows]
        mean = torch.stack(sums).sum(0) / x[0, 0].numel()
        return x.mul_(self.attention(mean.to(x.dtype)))  # the mean of a mean is itself


class DropPath(nn.Module):
    """Stochastic depth: in training, drops the branch of a sample with probability ``rate``."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.rate or not self.training:
            return x
        keep = x.new_empty(x.shape[0], *[1] * (x.dim() - 1)).bernoulli_(1 - self.rate)
        return x * keep.div_(1 - self.rate)


def reconstruction(upsampler: str, scale: int, dim: int, channels: int) -> tuple[nn.Module, nn.Module, nn.Module]:
    """What makes images of ``dim`` features: the layers before, in and after the upsampling, by `HAT`'s ``upsampler``.

    Raises:
        ValueError: another upsampler, or a scale that it does not make.
    """
    if upsampler not in UPSAMPLERS:
        raise ValueError(f"upsampler is {upsampler!r}; it may be {', '.join(map(repr, UPSAMPLERS))}")
    if upsampler == "pixelshuffledirect":
        return nn.Identity(), direct_upsampling(scale, dim, channels), nn.Identity()
    if upsampler == "" and scale != 1:
        raise ValueError(f"upscale is {scale}; with upsampler '', which keeps the size, it may be 1")
    before = nn.Sequential(nn.Conv2d(dim, NUM_FEAT, 3, 1, 1), nn.LeakyReLU())
    upsample = upsampling(scale, NUM_FEAT) if upsampler else nn.Identity()
    last = nn.Conv2d(NUM_FEAT, channels, 3, 1, 1)
    return (before, upsample, last) if upsampler else (nn.Identity(), upsample, nn.Sequential(*before, last))


def upsampling(scale: int, num_feat: int) -> nn.Sequential:
    """Convolutions and pixel shuffles that enlarge by ``scale``: a power of two, or 3."""
    steps = [3] if scale == 3 else [2] * (scale.bit_length() - 1)
    if math.prod(steps) != scale:
        raise ValueError(f"upscale is {scale}; it may be 3 or a power of two")
    layers: list[nn.Module] = []
    for step in steps:
        layers += [nn.Conv2d(num_feat, step * step * num_feat, 3, 1, 1), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


def direct_upsampling(scale: int, dim: int, channels: int) -> nn.Sequential:
    """A convolution from ``dim`` features to all pixels of the enlarged image, and a pixel shuffle (SwinIR-light)."""
    if scale < 1:
        raise ValueError(f"upscale is {scale}; it may be 1 or more")
    return nn.Sequential(nn.Conv2d(dim, scale * scale * channels, 3, 1, 1), nn.PixelShuffle(scale))


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pads ``(…, C, H, W)`` at the bottom and right to multiples of ``multiple``.

    Pixels are mirrored (the border pixel is not repeated) where the image is large enough for it, else replicated.
    """
    if is_exported():
        return pad_by_index(x, multiple)
    height, width = x.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if right:
        x = F.pad(x, (0, right, 0, 0), "reflect" if right < width else "replicate")
    if below:
        x = F.pad(x, (0, 0, 0, below), "reflect" if below < height else "replicate")
    return x
