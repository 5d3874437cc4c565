"""What the machine can do, and how long a forward pass must take on it at the least."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from .candidates import PRECISIONS
from .measure import synchronize

RUNS = 5
MATMULS = {"cpu": (1024, 2048), "cuda": (4096, 8192)}  # sides of square matrices
CONVOLUTIONS = {"cpu": ((192, 64), (256, 128)), "cuda": ((256, 256), (512, 256))}  # channels, side of the map
COPIED = {"cpu": 2**28, "cuda": 2**30}  # bytes, beyond any cache
BLOCKS = {"HAB", "OCAB", "RHAG", "SwinTransformerBlock", "RSTB"}  # classes that end in a residual sum


@dataclass(frozen=True)
class Peak:
    """The best that was measured."""

    precision: str
    matmul: float
    """FLOP/s of a square matrix product."""
    convolution: float
    """FLOP/s of a 3×3 convolution, channels last."""
    copy: float
    """Bytes/s read and written while a large tensor is copied."""

    @property
    def flops(self) -> float:
        return max(self.matmul, self.convolution)


@dataclass(frozen=True)
class Work:
    """What a forward pass cannot do without, however it is written."""

    flops: int
    """Of matrix products and convolutions; a multiply-add is two."""
    bytes: int
    """Weights and image read, output written, and the features read and written once by each residual block."""

    def floor(self, peak: Peak) -> float:
        """Seconds below which the machine cannot do it."""
        return max(self.flops / peak.flops, self.bytes / peak.copy)


def measure_peak(device: torch.device, precision: str) -> Peak:
    """The machine at its best in a precision (a key of `PRECISIONS`); takes about a second."""
    dtype = PRECISIONS[precision]
    with torch.inference_mode():
        matmul = max(2 * n**3 / _best(_matmul(n, device, dtype), device) for n in MATMULS[device.type])
        convolution = max(
            2 * 9 * (channels * side) ** 2 / _best(_convolution(channels, side, device, dtype), device)
            for channels, side in CONVOLUTIONS[device.type]
        )
        source = torch.ones(COPIED[device.type], dtype=torch.uint8, device=device)
        target = torch.zeros_like(source)
        copied = 2 * len(source) / _best(lambda: target.copy_(source), device)
    return Peak(precision, matmul, convolution, copied)


def _matmul(n: int, device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    a, b = torch.randn(2, n, n, device=device).to(dtype)
    return lambda: a @ b


def _convolution(channels: int, side: int, device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    layer = nn.Conv2d(channels, channels, 3, 1, 1).to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    features = torch.randn(1, channels, side, side, device=device).to(dtype, memory_format=torch.channels_last)
    return lambda: layer(features)


def _best(call: Callable[[], object], device: torch.device) -> float:
    """Least seconds of some runs after the first."""
    seconds = []
    for _ in range(RUNS + 1):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def count_work(network: nn.Module, shape: Sequence[int], precision: str) -> Work:
    """Counts what one forward pass must do, without doing it.

    FLOPs are those of the operators of ``network``: count the peer, whose operators are the paper's (103.88 G
    multiply-adds for HAT ×4 at 64×64), with windows filled up but head widths not.

    Args:
        network: with its features' width as ``embed_dim``, as spandrel's HAT and SwinIR.
        shape: of the input, ``(B, C, H, W)``.
        precision: of weights and features, a key of `PRECISIONS`.
    """
    on_meta = copy.deepcopy(network).to("meta")
    image = torch.empty(*shape, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        output = on_meta(image)
    blocks = sum(type(module).__name__ in BLOCKS for module in network.modules())
    features = shape[0] * shape[2] * shape[3] * int(network.embed_dim)  # type: ignore[arg-type]
    values = sum(p.numel() for p in network.parameters()) + image.numel() + output.numel() + 2 * blocks * features
    return Work(counter.get_total_flops(), values * PRECISIONS[precision].itemsize)


def against_floor(work: Work, peak: Peak, seconds: float) -> dict[str, Any]:
    """For the JSON file: the work, its floor in seconds, the share of peak FLOP/s, and how far from the floor."""
    floor = work.floor(peak)
    return {
        "flops": work.flops,
        "bytes": work.bytes,
        "precision": peak.precision,
        "floor_seconds": floor,
        "share_of_peak": work.flops / peak.flops / seconds,
        "times_the_floor": seconds / floor,
    }
