"""What every benchmark suite needs: time, memory, a description of the machine, JSON and a table."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from hat_arch.training.checkpoints import write_bytes

from ..utils.errors import UserError
from ..utils.files import digest
from ..utils.machine import cpu_name

MIB = 2**20
SAMPLING_SECONDS = 0.002
PACKAGE = Path(__file__).parents[1]
STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")


class BenchmarkError(UserError):
    """Why a benchmark cannot run, in one line for the terminal."""

    exit_code = 2


class WrongResultError(BenchmarkError):
    """What was measured does not compute the same, so that its speed says nothing."""

    exit_code = 1


def pick_device(name: str) -> torch.device:
    """``cpu``, ``cuda``, or for ``auto`` CUDA where there is one.

    Raises:
        BenchmarkError: CUDA was asked for and is not there.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise BenchmarkError("--device cuda: PyTorch sees no CUDA device here")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


@contextlib.contextmanager
def settings_of_torch(threads: int | None) -> Iterator[None]:
    """Runs its block as `set_torch` says, and sets what was before again."""
    before = torch.get_num_threads(), torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    set_torch(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before[1:]


def set_torch(threads: int | None) -> None:
    """This many CPU threads (None: as many as before), and fp32 that is not TF32."""
    torch.set_num_threads(threads or torch.get_num_threads())
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call; on CUDA the device is idle before and after it."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def alternate(clocks: Mapping[str, Callable[[], float]], runs: int, warmups: int) -> dict[str, list[float]]:
    """Runs them in turn, a, b, a, b, …: what slows the machine for a while slows all of them.

    Args:
        clocks: each runs what is measured once, and returns its seconds.
        runs: of each that count.
        warmups: of each before.

    Returns:
        Seconds of each of the ``runs``, by name.
    """
    turns = [{name: clock() for name, clock in clocks.items()} for _ in range(warmups + runs)]
    return {name: [turn[name] for turn in turns[warmups:]] for name in clocks}


def synchronize(device: torch.device) -> None:
    """Waits until the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def summary(seconds: Sequence[float]) -> dict[str, Any]:
    """Median, minimum, maximum, and every run, all in seconds."""
    return {
        "median": statistics.median(seconds),
        "min": min(seconds),
        "max": max(seconds),
        "runs": list(seconds),
    }


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """Median of the ratios of runs that stood side by side."""
    return statistics.median(a / b for a, b in zip(numerators, denominators))


def environment(device: torch.device, *packages: str) -> dict[str, Any]:
    """The machine, its threads and load of this moment, and the versions of Python, torch and ``packages``."""
    return {
        "device": device.type,
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name(),
        "cpu": cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "cuda": torch.version.cuda,
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            **{package.replace("-", "_"): importlib.metadata.version(package) for package in packages},
        },
        "source": source_digest(),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def source_digest() -> str:
    """Checksum of the code that a forward pass runs, for telling whether it has changed since."""
    files = [path for folder in ("archs", "inference") for path in sorted((PACKAGE / folder).glob("*.py"))]
    return digest(b"".join(path.read_bytes() for path in files))


def describe(machine: Mapping[str, Any]) -> str:
    """One line about an `environment`."""
    name = machine["device_name"]
    if machine["device"] == "cpu":
        name += f" ({machine['cpu_capability']})"
    versions = [f"{package} {version}" for package, version in machine["versions"].items()]
    counts = [f"{machine['cores']} cores", f"{machine['threads']} threads", f"load {machine['load']} at the start"]
    return ", ".join([name, *counts, *versions, machine["date"]])


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Aligned columns, the first to the left, the others to the right."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    first, *others = widths
    return "\n".join(
        "  ".join([line[0].ljust(first), *(cell.rjust(width) for cell, width in zip(line[1:], others))])
        for line in lines
    )


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])


def show_size(size: Sequence[int]) -> str:
    """``480×640``."""
    return "×".join(map(str, size))


def require_positive(**options: float | None) -> None:
    """Raises `BenchmarkError` for an option that is 0 or less; None passes."""
    for option, value in options.items():
        if value is not None and value <= 0:
            raise BenchmarkError(f"--{option} {value}: must be more than 0")


def require_name(option: str, name: str, names: Iterable[str]) -> None:
    """Raises `BenchmarkError` for a name that is not one of ``names``."""
    if name not in names:
        raise BenchmarkError(f"--{option} {name!r}: there are {', '.join(map(repr, names))}")


def require_folder(folder: Path) -> None:
    """Makes the folder of the results, if need be, before anything is measured.

    Raises:
        BenchmarkError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise BenchmarkError(f"{folder}: results cannot be written there ({error.strerror}); pass --out") from error


def write_json(result: Mapping[str, Any], path: Path) -> None:
    """Writes ``path`` whole or not at all."""
    write_bytes((json.dumps(result, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode(), path)
