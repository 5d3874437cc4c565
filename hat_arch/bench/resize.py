"""Suite ``resize``: MATLAB's bicubic, ours beside BasicSR's, on an image of 2K."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.utils.matlab_functions import imresize as basicsr_imresize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from hat_arch.data.resize import imresize

from . import plot
from .candidates import PEER
from .measure import (
    alternate,
    describe,
    environment,
    median_ratio,
    require_positive,
    settings_of_torch,
    summary,
    table,
    timed,
)

SIZE = (1356, 2040)  # of a typical image of DIV2K
SCALES = (2, 3, 4)
OURS = "ours"


def run(runs: int = 7, threads: int | None = None) -> dict[str, Any]:
    """Times both on a uint8 image, from and to uint8, and on its float32 version.

    Returns:
        What the JSON file holds: seconds, and ``ratio``, ours / peer, of each case.
    """
    require_positive(runs=runs, threads=threads)
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    values = image.astype(np.float32) / 255
    cases: dict[str, dict[str, Callable[[], object]]] = {}
    for scale in SCALES:
        cases[f"uint8, 1/{scale}"] = {
            PEER: lambda s=1 / scale: _basicsr_on_uint8(image, s),  # type: ignore[misc]
            OURS: lambda s=1 / scale: imresize(image, s, convention="uint8"),  # type: ignore[misc]
        }
        cases[f"float32, 1/{scale}"] = {
            PEER: lambda s=1 / scale: basicsr_imresize(values, s),  # type: ignore[misc]
            OURS: lambda s=1 / scale: imresize(values, s),  # type: ignore[misc]
        }
    with settings_of_torch(threads):
        machine = environment(torch.device("cpu"), "basicsr", "hat-arch")
        results = {}
        for name, calls in cases.items():
            clocks = {who: partial(timed, call, torch.device("cpu")) for who, call in calls.items()}
            seconds = alternate(clocks, runs, 2)
            results[name] = {
                "seconds": {who: summary(values) for who, values in seconds.items()},
                "ratio": median_ratio(seconds[OURS], seconds[PEER]),
            }
    return {
        "suite": "resize",
        "size": list(SIZE),
        "cases": results,
        "runs": runs,
        "environment": machine,
        "command": f"basicsr bench resize --runs {runs}" + (f" --threads {threads}" if threads else ""),
    }


def _basicsr_on_uint8(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """As BasicSR's users do."""
    resized = basicsr_imresize(image.astype(np.float32) / 255, scale)
    return (resized * 255).round().clip(0, 255).astype(np.uint8)


def default_path(result: dict[str, Any]) -> Path:
    return Path("experiments/benchmarks/resize_2K_cpu.json")


def report(result: dict[str, Any]) -> str:
    """The result for the terminal."""
    rows = []
    for name, case in result["cases"].items():
        peer, ours = (f"{1000 * case['seconds'][who]['median']:.1f}" for who in (PEER, OURS))
        rows.append([name, peer, ours, f"{1 / case['ratio']:.1f}"])
    height, width = result["size"]
    return "\n".join(
        [
            f"bicubic, antialiased, {width}×{height}, {result['runs']} runs each",
            table(["", "basicsr ms", "ours ms", "times as fast"], rows),
            describe(result["environment"]),
            result["command"],
        ]
    )


def draw(result: dict[str, Any]) -> Figure:
    """Speed of every case against BasicSR's."""
    height, width = result["size"]
    figure, axes = plot.figure(f"bicubic, antialiased, {width}×{height}", 6, 3)
    fast = {name: plot.speedups(case["seconds"], PEER)[OURS] for name, case in result["cases"].items()}
    plot.bars(axes[0], fast, "times as fast as BasicSR's, median and range")
    return figure
