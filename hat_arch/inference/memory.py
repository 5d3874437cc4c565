"""How much memory there is, and how much a network needs for an image."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..utils import allocator
from ..utils.peak_memory import peak_memory

MEMINFO = Path("/proc/meminfo")
OWN_CGROUP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")
CGROUP_FILES = {
    "": ("memory.max", "memory.current"),
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes"),
}
"""Of control groups, version 2 and 1: folder in `CGROUPS`, and the files that hold the limit and what is in use."""
MEASURED_SIDES = {"cpu": 64, "cuda": 192}  # of the smaller of two images, in pixels


def available(device: torch.device) -> int | None:
    """Bytes that a process may still take on a device, or None where the system does not tell.

    On CUDA with what PyTorch holds in its cache; on a CPU as Linux estimates it without swapping, within the limits of
    the process's control groups (containers, SLURM, systemd).
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu" or not MEMINFO.exists():
        return None
    allocator.hand_back()
    fields = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    return min([1024 * int(fields["MemAvailable"].split()[0]), *_left_in_cgroups()])


def _left_in_cgroups() -> Iterator[int]:
    """Bytes left in each control group that limits the memory of this process: its own and those around it."""
    with contextlib.suppress(OSError):
        for line in OWN_CGROUP.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if "memory" not in (controllers or "memory").split(","):  # version 2 names none
                continue
            for folder, (limit, usage) in CGROUP_FILES.items():
                own = CGROUPS / folder / path.lstrip("/")
                for group in (own, *own.parents):
                    yield from _left(group / limit, group / usage)


def _left(limit: Path, usage: Path) -> Iterator[int]:
    """What a limit leaves, or nothing without one. Memory of cached files counts as left: the system takes it back."""
    with contextlib.suppress(OSError, ValueError):  # no such group; "max"
        allowed, used = int(limit.read_text()), int(usage.read_text())
        fields = dict(line.split() for line in (limit.parent / "memory.stat").read_text().splitlines())
        yield allowed - used + int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out: CUDA's, PyTorch's on a CPU, or Python's."""
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    words = ("DefaultCPUAllocator", "not enough memory", "out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


@dataclass(frozen=True)
class MemoryModel:
    """Peak memory of a network beside its weights: linear in the pixels of the input, in bytes."""

    fixed: float
    per_pixel: float

    def bytes(self, pixels: int) -> float:
        return self.fixed + self.per_pixel * pixels


def measure(
    network: Callable[[Tensor], Tensor],
    channels: int,
    multiple: int,
    device: torch.device,
    release: Callable[[], object] = lambda: None,
) -> MemoryModel:
    """Measures what a network needs: the peaks of two square images, one four times as large, after a first run.

    Args:
        network: takes and returns images ``(1, C, H, W)``.
        channels: C.
        multiple: the sides of the images are multiples of it.
        device: where the network runs.
        release: gives back what the network keeps from call to call; called before each.
    """
    side = math.ceil(MEASURED_SIDES.get(device.type, 64) / multiple) * multiple
    small, large = (torch.zeros(1, channels, n, n, device=device) for n in (side, 2 * side))
    least = 4 * channels + 4 * network(small).numel() / side**2  # bytes of input and output for each pixel
    peaks = []
    for image in (small, large):
        release()
        peaks.append(2**20 * peak_memory(lambda x=image: network(x), device).extra_mib)  # type: ignore[misc]
    per_pixel = max(least, (peaks[1] - peaks[0]) / (3 * side**2))
    return MemoryModel(max(0.0, peaks[1] - 4 * per_pixel * side**2), per_pixel)
