"""How time and memory grow with the image when it is upscaled in tiles."""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import common
import numpy as np
import torch
from common import DTYPES, Result, progress, show_size
from matplotlib.figure import Figure

from hat_arch.archs.presets import PRESETS
from hat_arch.inference.upscaler import Upscaler
from hat_arch.utils.errors import UserError
from hat_arch.utils.peak_memory import peak_memory
from hat_arch.utils.text_tables import aligned

MEGAPIXEL = 2**20
LARGEST = {"cpu": 0.25, "cuda": 4.0}  # megapixels, by default


def sizes(smallest: float, largest: float) -> list[tuple[int, int]]:
    """Heights and widths whose pixels double from size to size, squares and 1:2 in turn.

    Args:
        smallest: pixels of the first, in units of 2²⁰.
        largest: pixels of the last, at the most.

    Raises:
        UserError: there are not two sizes.
    """
    side, found = math.isqrt(int(smallest * MEGAPIXEL)), []
    for doubling in itertools.count():
        height = side << doubling // 2
        width = height << doubling % 2
        if not 0 < height * width <= largest * MEGAPIXEL:
            break
        found.append((height, width))
    if len(found) < 2:
        raise UserError(f"--max_megapixels {largest:g}: must be at least {2 * smallest:g}, twice --min_megapixels")
    return found


class Candidate:
    """Our HAT and an image of one size."""

    def __init__(self, size: tuple[int, int], network: dict[str, Any], args: argparse.Namespace, device: str) -> None:
        common.settle(args.threads, ours=True)
        self.device = torch.device(device)
        self.upscaler = Upscaler(
            common.build(network).to(self.device),
            network["upscale"],
            multiple=network["window_size"],
            tile=args.tile,
            overlap=args.overlap,
            batch=args.batch,
            precision=args.precision,
        )
        self.image = common.random_image(size, self.device)
        self.upscaler(self.image[..., : args.tile, : args.tile])  # warms up

    def once(self) -> tuple[float, float, str]:
        """Upscales the image: seconds, peak extra memory in MiB, and how that was measured."""
        start = time.perf_counter()
        peak = peak_memory(lambda: self.upscaler(self.image), self.device)
        return time.perf_counter() - start, peak.extra_mib, peak.method


def measure(args: argparse.Namespace, device: torch.device) -> Iterator[tuple[str, Result]]:
    network = common.network_options(args.network, args.groups)
    if not 0 <= args.overlap < args.tile:
        raise UserError(f"--overlap {args.overlap}: must be 0 to {args.tile - 1}, less than --tile")
    points = []
    for size in sizes(args.min_megapixels, args.max_megapixels or LARGEST[device.type]):
        progress(f"{args.network} on {show_size(size)}")
        with common.Worker(Candidate, size, network, args, device.type) as worker:
            seconds, extra_mib, method = worker.call("once")
        output_mib = 4 * 3 * math.prod(size) * network["upscale"] ** 2 / 2**20
        times = common.summary([seconds])
        points.append({"size": list(size), "seconds": times, "extra_mib": extra_mib, "output_mib": output_mib})
    yield (
        f"scaling_{args.network}_{args.precision}_{device.type}",
        {
            "suite": "scaling",
            "config": network,
            "points": points,
            "slope": fit(points)[0],
            "memory_method": method,
        },
    )


def fit(points: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Slope and offset of the straight line through log(seconds) over log(pixels); a slope of 1 is linear time."""
    pixels = [math.prod(point["size"]) for point in points]
    slope, offset = np.polyfit(np.log(pixels), np.log([point["seconds"]["median"] for point in points]), 1)
    return float(slope), float(offset)


def report(result: Result) -> str:
    rows = []
    for point in result["points"]:
        pixels, seconds, extra = math.prod(point["size"]), point["seconds"]["median"], point["extra_mib"]
        row = [show_size(point["size"]), f"{pixels / MEGAPIXEL:.3g}", f"{seconds:.2f}", f"{1e6 * seconds / pixels:.2f}"]
        rows.append([*row, f"{extra:.0f}", f"{extra - point['output_mib']:.0f}"])
    header = ["input", "Mpixel (2²⁰)", "seconds", "µs/pixel", "peak extra MiB", "beyond the output"]
    return f"{title(result)}\n{aligned(header, rows)}\nslope of log(time) over log(pixels): {result['slope']:.3f}"


def title(result: Result) -> str:
    groups, of = len(result["config"]["depths"]), len(PRESETS[result["network"]]["depths"])
    tiles = f"tiles of {result['tile']}, overlap {result['overlap']}"
    return f"{result['network']} ({groups} of {of} groups) ×4, {result['precision']}, {tiles}"


def draw(result: Result) -> Figure:
    """Time over pixels, log-log, with its fit, and memory over pixels."""
    points = result["points"]
    megapixels = [math.prod(point["size"]) / MEGAPIXEL for point in points]
    seconds = [point["seconds"]["median"] for point in points]
    slope, offset = fit(points)
    line = [math.exp(offset) * (m * MEGAPIXEL) ** slope for m in megapixels]
    figure = Figure((10, 3.6), layout="constrained")
    figure.suptitle(title(result), fontsize=11)
    time_axes, memory_axes = figure.subplots(1, 2)
    time_axes.loglog(megapixels, seconds, "o", color=common.COLOUR, label="measured")
    time_axes.loglog(megapixels, line, color=common.MUTED, label=f"slope {slope:.3f}")
    time_axes.set_yticks(seconds, [f"{second:.3g}" for second in seconds])
    time_axes.set_ylabel("seconds")
    extra = [point["extra_mib"] for point in points]
    beyond = [point["extra_mib"] - point["output_mib"] for point in points]
    memory_axes.semilogx(megapixels, extra, "o-", color=common.MUTED, label="with the output")
    memory_axes.semilogx(megapixels, beyond, "o-", color=common.COLOUR, label="beyond the output")
    memory_axes.set_ylabel("peak extra MiB")
    memory_axes.set_ylim(bottom=0)
    for axes in (time_axes, memory_axes):
        axes.set_xticks(megapixels, [f"{m:.3g}" for m in megapixels])
        axes.minorticks_off()
        axes.set_xlabel("input, Mpixel (2²⁰)")
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def parser() -> argparse.ArgumentParser:
    made = common.options(__doc__)
    common.add_network(made)
    add = made.add_argument
    add("--min_megapixels", type=float, default=1 / 16, metavar="M", help="smallest input, 0.0625 (of 2²⁰) by default")
    add("--max_megapixels", type=float, metavar="M", help="largest input; by default 0.25 on a CPU, 4 on CUDA")
    add("--tile", type=common.positive, default=128, metavar="PX", help="side of tiles in the input; 128 by default")
    add("--overlap", type=int, default=32, metavar="PX", help="32 by default")
    add("--batch", type=common.positive, default=1, metavar="N", help="tiles at a time; 1 by default")
    add("--precision", choices=list(DTYPES), default="fp32", help="fp32 by default")
    return made


if __name__ == "__main__":
    common.run(parser().parse_args(), measure, report, draw)
