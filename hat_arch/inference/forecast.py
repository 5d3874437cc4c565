"""What upscaling would take, by a trial of the network on small images."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import torch

from ..utils.errors import UserError
from . import memory
from .upscaler import Upscaler

SIDE = 64  # pixels of the trial


@dataclass(frozen=True)
class Forecast:
    """Of an `Upscaler` on this machine, as busy as it is now."""

    seconds_per_pixel: float
    model: memory.MemoryModel | None
    """None where the system does not tell how much memory is taken."""
    free: int | None
    """Bytes."""

    def bytes(self, height: int, width: int) -> float | None:
        """Memory that an image takes beside the weights: whole, or what is free if that is less (then in tiles)."""
        if self.model is None:
            return None
        need = self.model.bytes(height * width)
        return need if self.free is None else min(need, self.free)


def forecast(upscaler: Upscaler, channels: int) -> Forecast:
    """Runs the network on small images, and measures."""
    device = upscaler._device(torch.device("cpu"))
    seconds = seconds_per_pixel(upscaler, channels)
    try:
        model = memory.measure(upscaler.run, channels, upscaler.multiple, device, upscaler.run.release)
    except UserError:
        model = None
    return Forecast(seconds, model, memory.available(device))


def seconds_per_pixel(upscaler: Upscaler, channels: int) -> float:
    """Time that upscaling takes for a pixel of the input, by the second of two runs on a small image."""
    side = math.ceil(SIDE / upscaler.multiple) * upscaler.multiple
    image = torch.rand(1, channels, side, side)
    upscaler(image)
    before = time.perf_counter()
    upscaler(image)
    return (time.perf_counter() - before) / side**2
