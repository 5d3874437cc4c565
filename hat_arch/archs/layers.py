"""Layers and helpers that know nothing of HAT. Features are ``(B, H, W, C)``, images ``(B, C, H, W)``."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIP_TOKENS_CPU = 2048  # pixels that go through attention or MLP at a time, see `strips`
STRIP_TOKENS = 65536


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, dim: int, hidden: int, drop: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:  # B, H, W, C
        return join([self.narrow(F.gelu(self.fc1(x[:, i:j]))) for i, j in strips(x)])

    def narrow(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(x)))


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
        return x * self.attention(x)


class DropPath(nn.Module):
    """Stochastic depth: in training, drops the branch of a sample with probability ``rate``."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.rate or not self.training:
            return x
        keep = x.new_empty(len(x), *[1] * (x.dim() - 1)).bernoulli_(1 - self.rate)
        return x * keep.div_(1 - self.rate)


def strips(x: Tensor, multiple: int = 1) -> list[tuple[int, int]]:
    """Ranges of rows of ``(B, H, W, C)`` to treat one after the other, in steps of ``multiple`` rows.

    Without gradients each has about `STRIP_TOKENS` pixels: temporary memory does not grow with the image, and on a
    CPU it stays in the cache. For training, and for compilers that plan memory themselves, it is one range.
    """
    b, h, w, _ = x.shape
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return [(0, h)]
    budget = STRIP_TOKENS_CPU if x.device.type == "cpu" else STRIP_TOKENS
    rows = max(1, budget // (b * w * multiple)) * multiple
    return [(start, min(start + rows, h)) for start in range(0, h, rows)]


def join(parts: list[Tensor], dim: int = 1) -> Tensor:
    """`torch.cat` that does not copy a single part."""
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def upsampling(scale: int, num_feat: int) -> nn.Sequential:
    """Convolutions and pixel shuffles that enlarge by ``scale``: a power of two, or 3."""
    if scale == 3:
        steps = [3]
    elif scale >= 1 and scale & (scale - 1) == 0:
        steps = [2] * int(math.log2(scale))
    else:
        raise ValueError(f"upscale is {scale}; it may be 3 or a power of two")
    layers: list[nn.Module] = []
    for step in steps:
        layers += [nn.Conv2d(num_feat, step * step * num_feat, 3, 1, 1), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


def pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pads ``(…, C, H, W)`` at the bottom and right to multiples of ``multiple``.

    Pixels are mirrored (the border pixel is not repeated) where the image is large enough for it, else replicated.
    """
    for dim, sides in ((-1, (0, 1)), (-2, (2, 3))):
        size = x.shape[dim]
        extra = -size % multiple
        if extra:
            pads = [0, 0, 0, 0]
            pads[sides[1]] = extra
            x = F.pad(x, pads, "reflect" if extra < size else "replicate")
    return x
