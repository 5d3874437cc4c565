"""What this machine is: its processor, its cores, its device, and what was installed and running when."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import UserError

if TYPE_CHECKING:  # PyTorch takes a second to import, which ``basicsr --help`` need not wait for
    import torch


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    """The processor's model, from ``/proc/cpuinfo`` where there is one."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def pick_device(name: str) -> torch.device:
    """The device of a name as PyTorch has it, such as ``cpu``, ``cuda:1``, ``mps`` or ``xpu``; ``auto``: the best.

    Raises:
        UserError: there is no such device here.
    """
    import torch

    there = {"cuda": torch.cuda, "xpu": torch.xpu, "mps": torch.mps}
    usable = [kind for kind, module in there.items() if module.is_available()]
    if name == "auto":
        return torch.device((*usable, "cpu")[0])
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"--device {name}: is to be auto, cpu, {', '.join(there)}, or one such as cuda:1") from error
    if device.type != "cpu" and device.type not in usable:
        raise UserError(f"--device {name}: PyTorch sees no {device.type.upper()} device here")
    if device.index and device.index >= there[device.type].device_count():
        raise UserError(f"--device {name}: there are {there[device.type].device_count()} of them, from 0")
    return device


def fast_in_bf16(device: torch.device) -> bool:
    """Whether a device has bf16 arithmetic: CUDA from compute capability 8, x86 with AVX512_BF16 or AMX (Linux)."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    with contextlib.suppress(OSError):
        words = set(Path("/proc/cpuinfo").read_text().split())
        return device.type == "cpu" and not words.isdisjoint({"avx512_bf16", "amx_bf16"})
    return False


def environment(device: torch.device, *packages: str) -> dict[str, Any]:
    """What a measurement on a device depends on, as JSON can hold it: the machine, its load at this moment, versions.

    ``packages`` are distributions whose versions are noted if they are installed, beside Python's and PyTorch's.
    """
    import torch

    versions = {"python": platform.python_version(), "torch": str(torch.__version__)}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package.replace("-", "_")] = importlib.metadata.version(package)
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "cpu": cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "cuda": torch.version.cuda,
        "versions": versions,
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def describe(machine: Mapping[str, Any]) -> str:
    """One line about an `environment`."""
    name = machine["device_name"]
    if machine["device"] == "cpu":
        name += f" ({machine['cpu_capability']})"
    versions = [f"{package} {version}" for package, version in machine["versions"].items()]
    counts = [f"{machine['cores']} cores", f"{machine['threads']} threads", f"load {machine['load']} at the start"]
    return ", ".join([name, *counts, *versions, machine["date"]])
