"""Suite ``scaling``: how time and memory grow with the image when it is upscaled in tiles."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from hat_arch.archs.hat_arch import HAT
from hat_arch.inference.upscaler import Upscaler
from hat_arch.utils import allocator

from ..utils.peak_memory import PeakMemory, peak_memory
from . import NETWORKS, plot
from .candidates import make_image
from .measure import (
    MIB,
    BenchmarkError,
    describe,
    environment,
    pick_device,
    require_positive,
    settings_of_torch,
    show_size,
    summary,
    table,
    timed,
)
from .processes import in_fresh_process

BAR = 1.05  # slope
MEGAPIXEL = 2**20
LARGEST = {"cpu": 0.25, "cuda": 4.0}  # megapixels, by default


@dataclass(frozen=True)
class ScalingSettings:
    """What is measured.

    Raises:
        BenchmarkError: a value that cannot be measured; the message names the option.
    """

    network: str = "HAT"
    """A key of `hat_arch.bench.NETWORKS`."""
    groups: int | None = None
    """Residual groups of it that are kept; None: all."""
    min_megapixels: float = 0.0625
    """Pixels of the smallest input, in units of 2²⁰."""
    max_megapixels: float | None = None
    """Pixels of the largest; None: `LARGEST`."""
    tile: int = 128
    overlap: int = 32
    batch: int = 1
    precision: str = "fp32"
    device: str = "auto"
    runs: int = 1
    """Timed runs at each size."""
    memory: bool = True
    threads: int | None = None

    def __post_init__(self) -> None:
        positive = {name: getattr(self, name) for name in ("groups", "min_megapixels", "max_megapixels", "tile")}
        require_positive(**positive, batch=self.batch, runs=self.runs, threads=self.threads)
        if not 0 <= self.overlap < self.tile:
            raise BenchmarkError(f"--overlap {self.overlap}: must be 0 to {self.tile - 1}, less than --tile")

    def command(self) -> str:
        """The command line that measures this."""
        words = ["basicsr", "bench", "scaling", "--network", self.network, "--precision", self.precision]
        for name in ("groups", "min_megapixels", "max_megapixels", "tile", "overlap", "batch", "runs", "threads"):
            value = getattr(self, name)
            words += [] if value is None else [f"--{name}", f"{value:g}"]
        return shlex.join([*words, "--device", self.device, *([] if self.memory else ["--no_memory"])])


def sizes(smallest: float, largest: float) -> list[tuple[int, int]]:
    """Heights and widths whose pixels double from size to size, squares and 1:2 in turn.

    Args:
        smallest, largest: in megapixels of 2²⁰.

    Raises:
        BenchmarkError: there are not two sizes.
    """
    side, found = round(math.sqrt(smallest * MEGAPIXEL)), []
    for doubling in count():
        height = side << doubling // 2
        width = height << doubling % 2
        if height * width > largest * MEGAPIXEL:
            break
        found.append((height, width))
    if len(found) < 2:
        raise BenchmarkError(f"--max_megapixels {largest:g}: must be at least {2 * smallest:g}, twice --min_megapixels")
    return found


def run(
    settings: ScalingSettings,
    config: Mapping[str, Any] | None = None,
    progress: Callable[[str], object] = lambda message: None,
) -> dict[str, Any]:
    """Measures every size in a process of its own.

    Args:
        settings: what to measure.
        config: arguments of the network; None for those of ``NETWORKS[settings.network]``.
        progress: is told what is being done.

    Returns:
        What the JSON file holds: seconds and MiB at each size, and ``slope`` and ``memory_growth``.
    """
    device = pick_device(settings.device)
    shapes = sizes(settings.min_megapixels, settings.max_megapixels or LARGEST[device.type])
    config = dict(NETWORKS[settings.network] if config is None else config)
    if settings.groups is not None:
        config |= {key: config[key][: settings.groups] for key in ("depths", "num_heads")}
    with settings_of_torch(settings.threads):
        machine = environment(device, "hat-arch")
    points = []
    for size in shapes:
        progress(f"{settings.network} on {show_size(size)}, tiles of {settings.tile}")
        seconds, peak = in_fresh_process(measure_size, config, settings, size, device.type)
        output = 4 * config["in_chans"] * size[0] * size[1] * config["upscale"] ** 2 / MIB
        points.append(
            {
                "size": list(size),
                "seconds": summary(seconds),
                "extra_mib": peak and peak.extra_mib,
                "output_mib": output,
            }
        )
    return {
        "suite": "scaling",
        "network": settings.network,
        "config": config,
        "tile": settings.tile,
        "overlap": settings.overlap,
        "batch": settings.batch,
        "precision": settings.precision,
        "runs": settings.runs,
        "points": points,
        "slope": slope(points),
        "memory_growth": memory_growth(points),
        "memory_method": peak and peak.method,
        "environment": machine,
        "command": settings.command(),
    }


def measure_size(
    config: Mapping[str, Any], settings: ScalingSettings, size: tuple[int, int], device_type: str
) -> tuple[list[float], PeakMemory | None]:
    """Seconds of each run on an image of this size, and the memory of the first, after one tile to warm up."""
    allocator.keep()  # as ``basicsr`` does
    device = torch.device(device_type)
    with settings_of_torch(settings.threads), torch.random.fork_rng([]):
        torch.manual_seed(0)
        network = HAT(**config).to(device).eval()
        precision: Any = settings.precision
        upscaler = Upscaler(
            network,
            config["upscale"],
            multiple=config["window_size"],
            tile=settings.tile,
            overlap=settings.overlap,
            batch=settings.batch,
            precision=precision,
        )
        image = make_image(size, config["in_chans"], device)
        side = min(settings.tile, *size)
        upscaler(image[..., :side, :side])
        seconds: list[float] = []

        def run() -> None:
            seconds.append(timed(lambda: upscaler(image), device))

        peak = peak_memory(run, device) if settings.memory else None
        while len(seconds) < settings.runs:
            run()
        return seconds, peak


def slope(points: Sequence[Mapping[str, Any]]) -> float:
    """Of the straight line through log(seconds) over log(pixels): 1 is linear time."""
    return float(_fit(points)[0])


def _fit(points: Sequence[Mapping[str, Any]]) -> Any:
    pixels = [math.prod(point["size"]) for point in points]
    return np.polyfit(np.log(pixels), np.log([point["seconds"]["median"] for point in points]), 1)


def memory_growth(points: Sequence[Mapping[str, Any]]) -> float | None:
    """Memory beyond the output image, at the largest size over the smallest; None if not measured or negligible."""
    if points[0]["extra_mib"] is None:
        return None
    first, last = (point["extra_mib"] - point["output_mib"] for point in (points[0], points[-1]))
    return last / first if first > 0 else None


def default_path(result: Mapping[str, Any]) -> Path:
    parts = result["suite"], result["network"], result["precision"], result["environment"]["device"]
    return Path("experiments/benchmarks") / f"{'_'.join(parts)}.json"


def report(result: Mapping[str, Any]) -> str:
    """The result for the terminal."""
    rows = []
    for point in result["points"]:
        pixels, median, extra = math.prod(point["size"]), point["seconds"]["median"], point["extra_mib"]
        memory = ["-", "-"] if extra is None else [f"{extra:.0f}", f"{extra - point['output_mib']:.0f}"]
        row = [show_size(point["size"]), f"{pixels / MEGAPIXEL:.3g}", f"{median:.2f}", f"{1e6 * median / pixels:.2f}"]
        rows.append(row + memory)
    growth = result["memory_growth"]
    return "\n".join(
        [
            _title(result),
            table(["input", "Mpixel", "seconds", "µs/pixel", "peak extra MiB", "beyond the output"], rows),
            f"slope of log(time) over log(pixels): {result['slope']:.3f} (at most {BAR} is wanted); 1 Mpixel is 2²⁰",
            "memory beyond the output, largest over smallest: " + ("-" if growth is None else f"{growth:.2f}"),
            describe(result["environment"]),
            result["command"],
        ]
    )


def _title(result: Mapping[str, Any]) -> str:
    groups, all_groups = len(result["config"]["depths"]), len(NETWORKS[result["network"]]["depths"])
    part = "" if groups == all_groups else f" ({groups} of {all_groups} groups)"
    tiles = f"tiles of {result['tile']}, overlap {result['overlap']}"
    return f"{result['network']}{part} ×{result['config']['upscale']}, {result['precision']}, {tiles}"


def draw(result: Mapping[str, Any]) -> Figure:
    """Time over pixels, log-log, with its fit, and memory over pixels."""
    points = result["points"]
    megapixels = [math.prod(point["size"]) / MEGAPIXEL for point in points]
    has_memory = points[0]["extra_mib"] is not None
    figure, axes = plot.figure(_title(result), 10 if has_memory else 5, 3.6, 2 if has_memory else 1)
    gradient, offset = _fit(points)
    fit = [math.exp(offset) * (m * MEGAPIXEL) ** gradient for m in megapixels]
    seconds = [point["seconds"]["median"] for point in points]
    axes[0].loglog(megapixels, seconds, "o", color=plot.COLOUR, label="measured")
    axes[0].loglog(megapixels, fit, color=plot.MUTED, label=f"slope {gradient:.3f}")
    axes[0].set_yticks(seconds, [f"{second:.3g}" for second in seconds])
    axes[0].set_ylabel("seconds")
    if has_memory:
        axes[1].semilogx(megapixels, [p["extra_mib"] for p in points], "o-", color=plot.MUTED, label="with the output")
        beyond = [p["extra_mib"] - p["output_mib"] for p in points]
        axes[1].semilogx(megapixels, beyond, "o-", color=plot.COLOUR, label="beyond the output")
        axes[1].set_ylabel("peak extra MiB")
        axes[1].set_ylim(bottom=0)
    for ax in axes:
        ax.set_xticks(megapixels, [f"{m:.3g}" for m in megapixels])
        ax.minorticks_off()
        ax.set_xlabel("input, Mpixel (2²⁰)")
        ax.grid(alpha=0.3)
        ax.legend()
    return figure
