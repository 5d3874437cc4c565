"""Suite ``infer``: time and memory of one forward pass, ours beside spandrel's HAT with the same weights."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torch._dynamo.exc import TorchDynamoException

from ..utils.peak_memory import PeakMemory, peak_memory
from . import NETWORKS, plot
from .candidates import CONTEXT, PEER, PRECISIONS, VARIANTS, build, make_image, prepare, require_peer, settle
from .measure import (
    BenchmarkError,
    WrongResultError,
    alternate,
    describe,
    environment,
    pick_device,
    require_name,
    require_positive,
    settings_of_torch,
    show_size,
    summary,
    table,
    timed,
)
from .peak import Peak, against_floor, count_work, measure_peak
from .processes import Worker

WARMUP_SIZE = (64, 64)  # pixels, before memory is measured
TOLERANCES = {"fp32": 1e-5, "bf16": 5e-2, "fp16": 1e-2}  # of the output's range; lower precisions round, no more
FOLDER = Path("experiments/benchmarks")


@dataclass(frozen=True)
class InferSettings:
    """What is measured.

    Raises:
        BenchmarkError: a value that cannot be measured; the message names the option.
    """

    network: str = "HAT"
    """A key of `hat_arch.bench.NETWORKS`, or the name of the configuration given beside it."""
    size: tuple[int, int] = (64, 64)
    """Height and width of the input whose forward is timed, in pixels."""
    memory_size: tuple[int, int] | None = (256, 256)
    """Height and width of the input whose forward is weighed, in pixels; None: memory is not measured."""
    precision: str = "fp32"
    """``fp32``, or ``bf16`` or ``fp16`` for autocast."""
    peer_precision: str | None = None
    """The peer's; None: the same."""
    variants: tuple[str, ...] = ("prepared",)
    """Keys of `VARIANTS`: how ours is run."""
    context: bool = False
    """Whether SwinIR is measured too."""
    device: str = "auto"
    """``cpu``, ``cuda`` or ``auto``."""
    runs: int = 7
    """Timed forwards of each."""
    warmups: int = 2
    """Forwards of each before; the outputs of the first are compared."""
    threads: int | None = None
    """CPU threads; None: PyTorch's default."""

    def __post_init__(self) -> None:
        require_positive(runs=self.runs, warmups=self.warmups, threads=self.threads)
        for precision in (self.precision, self.other_precision):
            require_name("precision", precision, PRECISIONS)
        for variant in self.variants:
            require_name("variant", variant, VARIANTS)

    @property
    def other_precision(self) -> str:
        """The peer's."""
        return self.peer_precision or self.precision

    def precision_of(self, name: str) -> str:
        return self.other_precision if name == PEER else self.precision

    @property
    def candidates(self) -> list[str]:
        """In the order in which they run."""
        return [PEER, *self.variants, *([CONTEXT] if self.context else [])]

    def command(self) -> str:
        """The command line that measures this."""
        words = ["basicsr", "bench", "infer", "--network", self.network, "--size", *map(str, self.size)]
        words += ["--no_memory"] if self.memory_size is None else ["--memory_size", *map(str, self.memory_size)]
        words += ["--precision", self.precision]
        words += ["--peer_precision", self.peer_precision] if self.peer_precision else []
        words += ["--variant", *self.variants, *(["--context"] if self.context else []), "--device", self.device]
        words += ["--runs", str(self.runs), "--warmups", str(self.warmups)]
        words += [] if self.threads is None else ["--threads", str(self.threads)]
        return shlex.join(words)


def run(
    settings: InferSettings,
    config: Mapping[str, Any] | None = None,
    progress: Callable[[str], object] = lambda message: None,
) -> dict[str, Any]:
    """Measures the candidates.

    Args:
        settings: what to measure.
        config: arguments of the network; None for those of ``NETWORKS[settings.network]``.
        progress: is told what is being done.

    Returns:
        What the JSON file holds (experiments/benchmarks/README.md): times in seconds, memory in MiB.

    Raises:
        BenchmarkError: spandrel or the device is missing, the size is too small for it, or memory does not suffice.
        WrongResultError: an output is not finite, or differs from the peer's by more than `TOLERANCES` of its range.
    """
    require_peer()
    config = dict(NETWORKS[settings.network] if config is None else config)
    _check_sizes(settings, config)
    device = pick_device(settings.device)
    with settings_of_torch(settings.threads):
        machine = environment(device, "spandrel", "hat-arch")
        progress("the machine's peak")
        peaks = {p: measure_peak(device, p) for p in {settings.other_precision: 0, settings.precision: 0}}
    seconds, differences, memory = _measure(settings, config, device, progress)
    return {
        "suite": "infer",
        "network": settings.network,
        "config": config,
        "size": list(settings.size),
        "precision": settings.precision,
        "peer_precision": settings.other_precision,
        "runs": settings.runs,
        "warmups": settings.warmups,
        "seconds": {name: summary(runs) for name, runs in seconds.items()},
        "time_ratio": {
            name: dict(zip(("median", "min", "max"), plot.spread([a / b for a, b in zip(runs, seconds[PEER])])))
            for name, runs in seconds.items()
            if name != PEER
        },
        "difference": differences,
        "floor": _floors(settings, config, peaks, seconds),
        "memory": memory,
        "peak": {
            p: {"matmul_flops": k.matmul, "convolution_flops": k.convolution, "copy_bytes": k.copy}
            for p, k in peaks.items()
        },
        "environment": machine,
        "command": settings.command(),
    }


def _check_sizes(settings: InferSettings, config: Mapping[str, Any]) -> None:
    """The peer mirrors pixels to fill up windows, which takes more than half a window."""
    window = config["window_size"]
    for option, size in (("size", settings.size), ("memory_size", settings.memory_size)):
        if size is not None and any(-side % window >= side for side in size):
            raise BenchmarkError(
                f"--{option} {show_size(size)}: spandrel's HAT needs at least {window // 2 + 1} pixels a side"
            )


class Candidate:
    """One way to run a network, alone in a process."""

    def __init__(self, name: str, settings: InferSettings, config: Mapping[str, Any], device_type: str) -> None:
        settle(name, settings.threads)
        self.name, self.settings, self.channels = name, settings, config["in_chans"]
        self.device = torch.device(device_type)
        self.forward = prepare(name, build(name, config, self.device), settings.precision_of(name))
        self.image = self._make_image(settings.size)

    def weigh(self, size: tuple[int, int]) -> PeakMemory:
        """Peak memory of one forward at a size, after a small one to warm up.

        A variant that prepares itself for a size (compiles) has done so before.
        """
        image = self._make_image(size)
        self._run(self._make_image(WARMUP_SIZE))
        if self.name not in (PEER, CONTEXT, "plain", "prepared"):
            self._run(image)
        return peak_memory(lambda: self._run(image), self.device)

    def first(self) -> NDArray[np.float32]:
        """The output of the first run, for which a variant may have to compile."""
        return self._run(self.image).float().cpu().numpy()

    def seconds(self) -> float:
        """Of one run."""
        return timed(lambda: self.forward(self.image), self.device)

    def _run(self, image: Tensor) -> Tensor:
        try:
            return self.forward(image)
        except (torch.OutOfMemoryError, TorchDynamoException) as error:
            size = show_size(image.shape[-2:])
            raise BenchmarkError(f"{self.name} at {size}: {str(error).splitlines()[0]}") from error

    def _make_image(self, size: tuple[int, int]) -> Tensor:
        return make_image(size, self.channels, self.device)


def _measure(
    settings: InferSettings, config: Mapping[str, Any], device: torch.device, progress: Callable[[str], object]
) -> tuple[dict[str, list[float]], dict[str, dict[str, float]], dict[str, Any] | None]:
    """Seconds of each run by name, differences from the peer's output by variant, and memory."""
    names = settings.candidates
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(Candidate, name, settings, config, device.type)) for name in names}
        memory = None if settings.memory_size is None else _weigh(workers, settings.memory_size, progress)
        progress(f"timing {', '.join(names)} at {show_size(settings.size)}, {settings.runs} runs of each")
        outputs = {name: torch.from_numpy(worker.call("first")) for name, worker in workers.items()}
        differences = {
            name: compare(outputs[PEER], outputs[name], settings.precision, name) for name in settings.variants
        }
        clocks = {name: partial(worker.call, "seconds") for name, worker in workers.items()}
        seconds = alternate(clocks, settings.runs, settings.warmups - 1)
    return seconds, differences, memory


def _weigh(workers: Mapping[str, Worker], size: tuple[int, int], progress: Callable[[str], object]) -> dict[str, Any]:
    peaks: dict[str, PeakMemory] = {}
    for name, worker in workers.items():
        progress(f"memory of {name} at {show_size(size)}")
        peaks[name] = worker.call("weigh", size)
    return {
        "size": list(size),
        "method": peaks[PEER].method,
        "extra_mib": {name: peak.extra_mib for name, peak in peaks.items()},
        "before_mib": {name: peak.before_mib for name, peak in peaks.items()},
        "ratio": {name: peak.extra_mib / peaks[PEER].extra_mib for name, peak in peaks.items() if name != PEER},
    }


def _floors(
    settings: InferSettings, config: Mapping[str, Any], peaks: Mapping[str, Peak], seconds: Mapping[str, list[float]]
) -> dict[str, dict[str, Any]]:
    """How each stands to the machine."""
    shape = 1, config["in_chans"], *settings.size
    networks = {name: build(name, config, torch.device("cpu")) for name in seconds if name in (PEER, CONTEXT)}
    floors = {}
    for name, runs in seconds.items():
        precision = settings.precision_of(name)
        work = count_work(networks.get(name, networks[PEER]), shape, precision)  # ours does the same work
        floors[name] = against_floor(work, peaks[precision], summary(runs)["median"])
    return floors


def compare(peer: Tensor, ours: Tensor, precision: str, name: str) -> dict[str, float]:
    """Largest absolute difference of two outputs, and the same relative to the range (max - min) of ``peer``.

    Raises:
        WrongResultError: it is more than `TOLERANCES` allow, or an output is not finite.
    """
    if not (peer.isfinite().all() and ours.isfinite().all()):
        raise WrongResultError(f"{name}: an output holds NaN or infinite values; nothing was measured")
    absolute = float((peer.float() - ours.float()).abs().max())
    relative = absolute / float(peer.max() - peer.min())
    tolerance = TOLERANCES[precision]
    if relative > tolerance:
        raise WrongResultError(
            f"{name}: the outputs differ by {relative:.1e} of their range, more than {tolerance:g}; "
            "nothing was measured"
        )
    return {"absolute": absolute, "relative": relative, "tolerance": tolerance}


def default_path(result: Mapping[str, Any]) -> Path:
    """Where a result belongs, from the root of the project."""
    parts = [result["suite"], result["network"], "x".join(map(str, result["size"])), result["precision"]]
    if result["peer_precision"] != result["precision"]:
        parts.append(f"vs_{result['peer_precision']}")
    return FOLDER / f"{'_'.join([*parts, result['environment']['device']])}.json"


def report(result: Mapping[str, Any]) -> str:
    """The result for the terminal."""
    memory, header = result["memory"], ["", "median ms", "min–max ms", "times as fast", "of peak", "× floor"]
    rows = []
    for name, seconds in result["seconds"].items():
        median, low, high = (f"{1000 * seconds[key]:.1f}" for key in ("median", "min", "max"))
        fast = "" if name == PEER else f"{1 / result['time_ratio'][name]['median']:.2f}"
        floor = result["floor"][name]
        row = [name, median, f"{low}–{high}", fast, f"{floor['share_of_peak']:.0%}", f"{floor['times_the_floor']:.1f}"]
        if memory:
            row += [f"{memory['extra_mib'][name]:.1f}", "" if name == PEER else f"{memory['ratio'][name]:.2f}"]
        rows.append(row)
    lines = [
        f"{_title(result)}, {result['runs']} runs each",
        table(header + (["peak extra MiB", "of the peer's"] if memory else []), rows),
        "times as fast: median over pairs of neighbouring runs",
    ]
    for precision, peak in result["peak"].items():
        matmul, conv, copied = (peak[key] / 1e9 for key in ("matmul_flops", "convolution_flops", "copy_bytes"))
        lines.append(f"peak here, {precision}: matmul {matmul:.0f}, 3×3 {conv:.0f} GFLOP/s; copy {copied:.1f} GB/s")
    floor = result["floor"][PEER]
    lines.append(f"work: {floor['flops'] / 1e9:.1f} GFLOP; floor {1000 * _floor(result):.1f} ms")
    if memory:
        lines.append(f"memory at {show_size(memory['size'])}: {memory['method']}")
    for name, difference in result["difference"].items():
        relative, absolute = difference["relative"], difference["absolute"]
        lines.append(f"largest difference, {name}: {relative:.1e} of the output's range ({absolute:.1e})")
    return "\n".join([*lines, describe(result["environment"]), result["command"]])


def _title(result: Mapping[str, Any]) -> str:
    versus = f" against {result['peer_precision']}" if result["peer_precision"] != result["precision"] else ""
    return f"{result['network']}, forward at {show_size(result['size'])}, {result['precision']}{versus}"


def _floor(result: Mapping[str, Any]) -> float:
    """Seconds, of ours."""
    return next(floor["floor_seconds"] for name, floor in result["floor"].items() if name not in (PEER, CONTEXT))


def draw(result: Mapping[str, Any]) -> Figure:
    """Times with their floors, and memory."""
    memory = result["memory"]
    figure, axes = plot.figure(_title(result), 10 if memory else 6, 2.8, 2 if memory else 1)
    milliseconds = {
        name: (1000 * s["median"], 1000 * s["min"], 1000 * s["max"]) for name, s in result["seconds"].items()
    }
    floors = {name: 1000 * floor["floor_seconds"] for name, floor in result["floor"].items()}
    plot.bars(axes[0], milliseconds, "ms, median and range; red: the machine's floor", floors)
    if memory:
        mib = {name: (value, value, value) for name, value in memory["extra_mib"].items()}
        plot.bars(axes[1], mib, f"peak extra MiB at {show_size(memory['size'])}")
    return figure
