"""Layers and helpers that know nothing of HAT. Features are ``(B, H, W, C)``, images ``(B, C, H, W)``."""

from __future__ import annotations

import math
from collections.abc import Iterable

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
        return join((self.narrow(F.gelu(self.fc1(x[:, i:j]))) for i, j in strips(x)), x.shape[1])

    def narrow(self, x: Tensor) -> Tensor:
        return self.drop(self.fc2(self.drop(x)))


class ChannelAttention(nn.Module):
    """Scales each channel by a gate computed from the channels' means (RCAN; paper section 3.2).

    Without gradients in place.
    """

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
        if keeps_all():
            return x * self.attention(x)
        rows = strips(x.permute(0, 2, 3, 1))  # PyTorch's mean would hold all of a bf16 map in fp32
        precise = torch.promote_types(x.dtype, torch.float32)
        sums = [x[:, :, i:j].sum((2, 3), dtype=precise, keepdim=True) for i, j in rows]
        mean = torch.stack(sums).sum(0) / x[0, 0].numel()
        return x.mul_(self.attention[1:](mean.to(x.dtype)))


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
    if keeps_all():
        return [(0, h)]
    budget = STRIP_TOKENS_CPU if x.device.type == "cpu" else STRIP_TOKENS
    rows = max(1, budget // (b * w * multiple)) * multiple
    return [(start, min(start + rows, h)) for start in range(0, h, rows)]


def join(parts: Iterable[Tensor], size: int, dim: int = 1) -> Tensor:
    """`torch.cat` of parts with this size together; does not copy a single one, and without gradients keeps none."""
    if keeps_all():
        parts = list(parts)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim)
    joined: Tensor | None = None
    start = 0
    for part in parts:
        if part.shape[dim] == size:
            return part
        if joined is None:
            joined = part.new_empty(*part.shape[:dim], size, *part.shape[dim + 1 :])
        joined.narrow(dim, start, part.shape[dim]).copy_(part)
        start += part.shape[dim]
    assert joined is not None
    return joined


def add(x: Tensor, branch: Tensor, alpha: float = 1) -> Tensor:
    """``x + alpha · branch``; without gradients in the memory of ``branch``, which nothing but ``x`` may share."""
    if keeps_all() or branch.dtype != x.dtype or branch.data_ptr() == x.data_ptr():
        return x.add(branch, alpha=alpha)
    return torch.add(x, branch, alpha=alpha, out=branch)


def keeps_all() -> bool:
    """Whether nothing may be overwritten or cut: for gradients, or for a compiler, which plans memory itself."""
    return torch.is_grad_enabled() or torch.compiler.is_compiling()


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
