"""Peak memory of a call, in MiB."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from . import allocator
from .errors import UserError

MIB = 2**20
SAMPLING_SECONDS = 0.002
STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class PeakMemory:
    """Memory that a call needed beyond what was held before it."""

    extra_mib: float
    """Peak while it ran, minus before, in MiB."""
    method: str
    """How it was measured."""


def peak_memory(call: Callable[[], object], device: torch.device) -> PeakMemory:
    """Runs ``call`` once and measures its peak memory.

    On CUDA that is what PyTorch allocated, on a CPU the resident memory of this process. For a CPU, measure in a fresh
    process: memory that earlier work has left is reused and does not count.

    Raises:
        UserError: the CPU's system has no ``/proc``.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device) / MIB
        call()
        torch.cuda.synchronize(device)
        peak = torch.cuda.max_memory_allocated(device) / MIB
        return PeakMemory(peak - before, "torch.cuda.max_memory_allocated")

    if not STATUS.exists():
        raise UserError("memory on a CPU can be measured on Linux only")
    allocator.hand_back()  # else the call would reuse it and seem to need less
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return _peak_by_sampling(call)
    before = resident_mib("VmRSS")
    call()
    return PeakMemory(resident_mib("VmHWM") - before, "VmHWM after clear_refs")


def _peak_by_sampling(call: Callable[[], object]) -> PeakMemory:
    before = peak = resident_mib("VmRSS")
    done = threading.Event()

    def sample() -> None:
        nonlocal peak
        while not done.wait(SAMPLING_SECONDS):
            peak = max(peak, resident_mib("VmRSS"))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        call()
    finally:
        done.set()
        sampler.join()
    return PeakMemory(peak - before, f"VmRSS every {1000 * SAMPLING_SECONDS:g} ms")


def resident_mib(field: str) -> float:
    """``VmRSS`` (memory held now) or ``VmHWM`` (its peak) of this process, in MiB."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) / 1024
