"""``basicsr bench --quick``: a short form of the suites, within three minutes on two cores."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from . import data, infer, plot, scaling, tile, train
from .candidates import PEER, require_peer
from .measure import describe, table

Progress = Callable[[str], object]

INFER = tuple(
    infer.InferSettings("HAT", (64, 64), (64, 64), precision, runs=3, warmups=1) for precision in ("fp32", "bf16")
)
TRAIN = train.TrainSettings("HAT-S", patch=32, cases=("fp32", "bf16"), memory=False, runs=2)
DATA = {"runs": 1, "samples": 20, "workers": 2, "loader_seconds": 2.0}
SCALING = scaling.ScalingSettings(
    "HAT-S", groups=1, min_megapixels=1 / 64, max_megapixels=1 / 16, tile=64, overlap=16, precision="bf16"
)
TILE = tile.TileSettings(network="HAT-S", gt_size=256, tiles=(32,), overlaps=(0, 16), precision="bf16")

PLAN: dict[str, Callable[[Progress], dict[str, Any]]] = {
    **{f"infer {s.precision}": lambda progress, s=s: infer.run(s, progress=progress) for s in INFER},  # type: ignore[misc]
    "train": lambda progress: train.run(TRAIN, progress=progress),
    "data": lambda progress: data.run(**DATA),  # type: ignore[arg-type]
    "tile": lambda progress: tile.run(TILE, progress=progress),
    "scaling": lambda progress: scaling.run(SCALING, progress=progress),
}
"""What is run, in this order."""


def run(progress: Progress = lambda message: None) -> dict[str, Any]:
    """Runs `PLAN`.

    Returns:
        What the JSON file holds: the result of each suite as it writes it itself, and the seconds that each took.
    """
    require_peer()
    results, took = {}, {}
    for name, suite in PLAN.items():
        progress(name)
        start = time.perf_counter()
        results[name] = suite(lambda message: progress(f"  {message}"))
        took[name] = time.perf_counter() - start
    return {
        "suite": "quick",
        "results": results,
        "took_seconds": took,
        "environment": results[next(iter(PLAN))]["environment"],
        "command": "basicsr bench --quick",
    }


def default_path(result: Mapping[str, Any]) -> Path:
    return infer.FOLDER / f"quick_{result['environment']['device']}.json"


def report(result: Mapping[str, Any]) -> str:
    """One table of all suites."""
    rows = [row for name, part in result["results"].items() for row in _ROWS[part["suite"]](name, part)]
    took = ", ".join(f"{name} {seconds:.0f}" for name, seconds in result["took_seconds"].items())
    return "\n".join(
        [
            table(["", "time", "against the peer", "memory, of the peer's"], rows),
            "few runs on small inputs: for figures to keep, run a suite by itself",
            f"took {sum(result['took_seconds'].values()):.0f} s ({took})",
            describe(result["environment"]),
            result["command"],
        ]
    )


def _infer_rows(name: str, part: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for variant, ratio in part["time_ratio"].items():
        fast, median = 1 / ratio["median"], part["seconds"][variant]["median"]
        memory = f"{part['memory']['ratio'][variant]:.2f}" if part["memory"] else ""
        rows.append([f"{_of(name, part)}, {variant}", f"{1000 * median:.0f} ms", f"{fast:.2f}× as fast", memory])
    return rows


def _train_rows(name: str, part: Mapping[str, Any]) -> list[list[str]]:
    milliseconds = {case: 1000 * times["median"] for case, times in part["seconds"].items()}
    return [
        [f"{_of(name, part)}, {case}", f"{milliseconds[case]:.0f} ms", f"{1 / ratio:.2f}× as fast", ""]
        for case, ratio in part["time_ratio"].items()
    ]


def _data_rows(name: str, part: Mapping[str, Any]) -> list[list[str]]:
    rates = part["samples_per_second_and_core"]
    return [
        [f"{name}: {stored}", f"{1000 / rates[f'{stored}, ours']:.1f} ms", _faster(rates, stored), ""]
        for stored in ("folder of PNG", "LMDB of PNG", "LMDB of BMP")
    ]


def _faster(rates: Mapping[str, float], stored: str) -> str:
    return f"{rates[f'{stored}, ours'] / rates[f'{stored}, BasicSR']:.2f}× as fast"


def _tile_rows(name: str, part: Mapping[str, Any]) -> list[list[str]]:
    rows = []
    for case in part["cases"]:
        to_whole = "equal" if case["psnr_to_whole"] is None else f"{case['psnr_to_whole']:.1f} dB to whole"
        rows.append([f"{_of(name, part)}, tiles of {case['tile']}, overlap {case['overlap']}", to_whole, "", ""])
    return rows


def _scaling_rows(name: str, part: Mapping[str, Any]) -> list[list[str]]:
    growth = part["memory_growth"]
    memory = "" if growth is None else f"grows {growth:.2f}×"
    return [[_of(name, part), f"slope {part['slope']:.2f}", "", memory]]


def _of(name: str, part: Mapping[str, Any]) -> str:
    return f"{name}, {part['network']}"


_ROWS: dict[str, Callable[[str, Mapping[str, Any]], list[list[str]]]] = {
    "infer": _infer_rows,
    "train": _train_rows,
    "data": _data_rows,
    "tile": _tile_rows,
    "scaling": _scaling_rows,
}


def draw(result: Mapping[str, Any]) -> Figure:
    """How many times as fast, wherever there is a peer."""
    fast: dict[str, plot.Spread] = {}
    for name, part in result["results"].items():
        if part["suite"] in ("infer", "train"):
            speedups = plot.speedups(part["seconds"], PEER).items()
            fast |= {f"{_of(name, part)}, {case}": speedup for case, speedup in speedups}
    figure, axes = plot.figure("basicsr bench --quick", 7, 1.2 + 0.4 * len(fast))
    plot.bars(axes[0], fast, "times as fast as the peer, median and range")
    return figure
