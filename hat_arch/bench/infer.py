"""Suite ``infer``: time and memory of one forward pass, ours beside spandrel's HAT with the same weights."""

from __future__ import annotations

import importlib.util
import shlex
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hat_arch.archs.hat_arch import HAT

from . import NETWORKS
from .measure import (
    BenchmarkError,
    PeakMemory,
    WrongResultError,
    alternate,
    describe,
    environment,
    in_fresh_process,
    median_ratio,
    peak_memory,
    pick_device,
    settings_of_torch,
    summary,
    table,
)

PEER, OURS = "peer", "ours"
WARMUPS = 2  # the outputs of the first are compared
WARMUP_SIZE = (64, 64)  # pixels, before memory is measured
TOLERANCE = 1e-5  # of the output's range, in fp32
SEED = 0


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
    """``fp32``, or ``bf16`` for autocast."""
    device: str = "auto"
    """``cpu``, ``cuda`` or ``auto``."""
    runs: int = 7
    """Timed forwards of each network."""
    threads: int | None = None
    """CPU threads; None: PyTorch's default."""

    def __post_init__(self) -> None:
        for option, value in (("runs", self.runs), ("threads", self.threads)):
            if value is not None and value < 1:
                raise BenchmarkError(f"--{option} {value}: must be at least 1")

    def command(self) -> str:
        """The command line that measures this."""
        words = ["basicsr", "bench", "infer", "--network", self.network, "--size", *map(str, self.size)]
        words += ["--no_memory"] if self.memory_size is None else ["--memory_size", *map(str, self.memory_size)]
        words += ["--precision", self.precision, "--device", self.device, "--runs", str(self.runs)]
        words += [] if self.threads is None else ["--threads", str(self.threads)]
        return shlex.join(words)


def run(
    settings: InferSettings,
    config: Mapping[str, Any] | None = None,
    progress: Callable[[str], object] = lambda message: None,
) -> dict[str, Any]:
    """Measures both networks.

    Args:
        settings: what to measure.
        config: arguments of the network; None for those of ``NETWORKS[settings.network]``.
        progress: is told what is being done.

    Returns:
        What the JSON file holds (experiments/benchmarks/README.md): times in seconds, memory in MiB.

    Raises:
        BenchmarkError: spandrel or the device is missing, or the size is too small for it.
        WrongResultError: in fp32 the outputs differ by more than `TOLERANCE` of their range, or are not finite.
    """
    require_peer()
    config = dict(NETWORKS[settings.network] if config is None else config)
    _check_sizes(settings, config)
    device = pick_device(settings.device)
    with settings_of_torch(settings.threads):
        machine = environment(device, "spandrel", "hat-arch")
        progress(f"timing at {_times(settings.size)}, {settings.runs} runs of each")
        networks = build_networks(config, device)
        image = make_image(settings.size, config, device)
        calls = {name: _forward(network, image, settings.precision) for name, network in networks.items()}
        difference = compare(calls[PEER](), calls[OURS](), settings.precision)
        seconds = alternate(calls, settings.runs, WARMUPS - 1, device)
    return {
        "suite": "infer",
        "network": settings.network,
        "config": config,
        "size": list(settings.size),
        "precision": settings.precision,
        "runs": settings.runs,
        "warmups": WARMUPS,
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "time_ratio": median_ratio(seconds[OURS], seconds[PEER]),
        "difference": difference,
        "memory": _weigh_both(settings, config, device, progress),
        "environment": machine,
        "command": settings.command(),
    }


def require_peer() -> None:
    """Raises `BenchmarkError` if spandrel is not installed."""
    if importlib.util.find_spec("spandrel") is None:
        raise BenchmarkError("basicsr bench needs spandrel: pip install spandrel")


def _check_sizes(settings: InferSettings, config: Mapping[str, Any]) -> None:
    """The peer mirrors pixels to fill up windows, which takes more than half a window."""
    window = config["window_size"]
    for option, size in (("size", settings.size), ("memory_size", settings.memory_size)):
        if size is not None and any(-side % window >= side for side in size):
            raise BenchmarkError(
                f"--{option} {_times(size)}: spandrel's HAT needs at least {window // 2 + 1} pixels a side"
            )


def build_networks(config: Mapping[str, Any], device: torch.device) -> dict[str, nn.Module]:
    """Peer and ours with the same random weights, the same in every process; ready for inference.

    To the usual initial values a little noise is added, so that no bias is 0 and no part can be wrong unnoticed.
    """
    from spandrel.architectures.HAT import HAT as PeerHAT

    with torch.random.fork_rng([]):
        torch.manual_seed(SEED)
        ours = HAT(**config)
        with torch.no_grad():
            for parameter in ours.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.02)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.meshgrid")
            peer = PeerHAT(**config)
    peer.load_state_dict(ours.state_dict(), strict=True)
    return {PEER: peer.to(device).eval(), OURS: ours.to(device).eval()}


def make_image(size: tuple[int, int], config: Mapping[str, Any], device: torch.device) -> Tensor:
    """Random image ``(1, in_chans, H, W)``, values 0 to 1, the same for the same size."""
    generator = torch.Generator().manual_seed(SEED)
    return torch.rand(1, config["in_chans"], *size, generator=generator).to(device)


def _forward(network: nn.Module, image: Tensor, precision: str) -> Callable[[], Tensor]:
    def call() -> Tensor:
        with torch.inference_mode(), torch.autocast(image.device.type, torch.bfloat16, precision == "bf16"):
            return network(image)

    return call


def compare(peer: Tensor, ours: Tensor, precision: str) -> dict[str, float | None]:
    """Largest absolute difference of two outputs, and the same relative to the range (max - min) of ``peer``.

    Raises:
        WrongResultError: it is too large (fp32 only), or an output is not finite.
    """
    if not (peer.isfinite().all() and ours.isfinite().all()):
        raise WrongResultError("an output holds NaN or infinite values; nothing was measured")
    absolute = float((peer.float() - ours.float()).abs().max())
    relative = absolute / float(peer.max() - peer.min())
    tolerance = TOLERANCE if precision == "fp32" else None
    if tolerance is not None and relative > tolerance:
        raise WrongResultError(
            f"the outputs differ by {relative:.1e} of their range, more than {tolerance:g}; nothing was measured"
        )
    return {"absolute": absolute, "relative": relative, "tolerance": tolerance}


def _weigh_both(
    settings: InferSettings, config: dict[str, Any], device: torch.device, progress: Callable[[str], object]
) -> dict[str, Any] | None:
    if settings.memory_size is None:
        return None
    peaks: dict[str, PeakMemory] = {}
    for name in (PEER, OURS):
        progress(f"memory of {name} at {_times(settings.memory_size)}")
        arguments = config, name, settings.memory_size, settings.precision, device.type, settings.threads
        peaks[name] = in_fresh_process(weigh, *arguments)
    return {
        "size": list(settings.memory_size),
        "method": peaks[OURS].method,
        "extra_mib": {name: peak.extra_mib for name, peak in peaks.items()},
        "before_mib": {name: peak.before_mib for name, peak in peaks.items()},
        "ratio": peaks[OURS].extra_mib / peaks[PEER].extra_mib,
    }


def weigh(
    config: Mapping[str, Any], name: str, size: tuple[int, int], precision: str, device_type: str, threads: int | None
) -> PeakMemory:
    """Peak memory of one forward of ``name`` (`PEER` or `OURS`), after a small one to warm up."""
    device = torch.device(device_type)
    with settings_of_torch(threads):
        network = build_networks(config, device)[name]
        _forward(network, make_image(WARMUP_SIZE, config, device), precision)()
        return peak_memory(_forward(network, make_image(size, config, device), precision), device)


def default_path(result: Mapping[str, Any]) -> Path:
    """Where a result belongs, from the root of the project."""
    size = "x".join(map(str, result["size"]))
    parts = result["suite"], result["network"], size, result["precision"], result["environment"]["device"]
    return Path("experiments/benchmarks") / f"{'_'.join(parts)}.json"


def report(result: Mapping[str, Any]) -> str:
    """The result for the terminal."""
    memory, difference = result["memory"], result["difference"]
    rows = []
    for name, times in result["seconds"].items():
        median, low, high = (f"{1000 * times[key]:.1f}" for key in ("median", "min", "max"))
        rows.append([name, median, f"{low}–{high}", f"{memory['extra_mib'][name]:.1f}" if memory else "-"])
    lines = [
        f"{result['network']}, forward at {_times(result['size'])}, {result['precision']}, {result['runs']} runs each",
        table(["", "median ms", "min–max ms", "peak extra MiB"], rows),
        f"time ours/peer: {result['time_ratio']:.3f} (median of the pairs; {1 / result['time_ratio']:.2f}× as fast)",
    ]
    if memory:
        where = f"at {_times(memory['size'])}; {memory['method']}"
        lines.append(f"memory ours/peer: {memory['ratio']:.3f} ({where})")
    lines += [
        f"largest difference: {difference['relative']:.1e} of the output's range ({difference['absolute']:.1e})",
        describe(result["environment"]),
        result["command"],
    ]
    return "\n".join(lines)


def _times(size: tuple[int, ...]) -> str:
    return "×".join(map(str, size))
