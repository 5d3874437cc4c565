"""``basicsr bench table``: the settings that HAT's speed is judged by, one after the other, and their table."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from . import infer, plot
from .candidates import CONTEXT, PEER
from .measure import BenchmarkError, describe, environment, markdown, pick_device, show_size

OTHERS = 0.8  # of HAT's bars, for HAT-S and HAT-L
HEADER = ("row", "input", "ours", "times as fast", "bar", "memory", "bar", "ms", "floor, ms", "of peak", "× floor")


@dataclass(frozen=True)
class Row:
    """Settings, and what they are to reach."""

    settings: infer.InferSettings
    speed: float
    """Least number of times as fast as the peer."""
    memory: float
    """Most peak extra memory, in the peer's."""


def _rows() -> Iterator[tuple[str, Row]]:
    small, large, screen = (64, 64), (256, 256), (480, 640)
    for network, share in (("HAT", 1.0), ("HAT-S", OTHERS), ("HAT-L", OTHERS)):
        for precision, speed in (("fp32", 3.0), ("bf16", 5.0)):
            settings = infer.InferSettings(network, small, small, precision, device="cpu", runs=7)
            yield f"cpu_{network}_64_{precision}", Row(settings, speed * share, 0.5 / share)
    for precision, speed in (("fp32", 3.0), ("bf16", 6.0)):
        settings = infer.InferSettings("HAT", large, large, precision, device="cpu", runs=3, warmups=1)
        yield f"cpu_HAT_256_{precision}", Row(settings, speed, 0.4)
    for network, share in (("HAT", 1.0), ("HAT-S", OTHERS), ("HAT-L", OTHERS)):
        for precision in ("bf16", "fp16"):
            for other, speed, memory in (("fp32", 10.0, 0.2), (precision, 4.0, 0.25)):
                settings = infer.InferSettings(
                    network,
                    screen,
                    screen,
                    precision,
                    other,
                    variants=("prepared", "compile"),
                    device="cuda",
                    runs=15,
                    warmups=3,
                )
                yield f"cuda_{network}_480_{precision}_vs_{other}", Row(settings, speed * share, memory / share)


ROWS: dict[str, Row] = dict(_rows())
"""By name. Speed and memory are against spandrel's HAT of the same size with the same weights."""


def choose(patterns: Sequence[str]) -> list[str]:
    """Names of the rows that fit one of the patterns (``cpu_*``); all without any.

    Raises:
        BenchmarkError: a pattern that fits none.
    """
    for pattern in patterns:
        if not fnmatch.filter(ROWS, pattern):
            raise BenchmarkError(f"--rows {pattern!r}: there are {', '.join(ROWS)}")
    return [name for name in ROWS if not patterns or any(fnmatch.fnmatch(name, p) for p in patterns)]


def run(
    names: Sequence[str],
    folder: Path,
    keep: bool = False,
    change: Mapping[str, Any] | None = None,
    progress: Callable[[str], object] = lambda message: None,
    done: Callable[[dict[str, Any], Path], object] = lambda result, path: None,
) -> tuple[dict[str, dict[str, Any] | None], dict[str, BenchmarkError]]:
    """Measures rows, each with `infer.run`.

    Args:
        names: keys of `ROWS`.
        folder: where the JSON file of each row lies, ``<name>.json``.
        keep: leaves out what a file there holds already, of the same settings and versions on the same device.
        change: fields of `InferSettings` to set in every row.
        progress: is told what is being done.
        done: is given each new result and where it belongs.

    Returns:
        Name → result, None for what was not measured: CUDA where there is none (unless its file is there), and rows
        that failed; and name → error of those. The others are measured nevertheless.
    """
    results: dict[str, dict[str, Any] | None] = {}
    failed: dict[str, BenchmarkError] = {}
    for name in names:
        settings = replace(ROWS[name].settings, **(change or {}))
        path = folder / f"{name}.json"
        if settings.device == "cuda" and not torch.cuda.is_available():
            results[name] = read(path)
            progress(f"{name}: not measured, there is no CUDA device here")
            continue
        results[name] = kept = read(path) if keep else None
        if kept is not None and _same(kept, settings):
            continue
        progress(name)
        try:
            result = infer.run(settings, progress=lambda message: progress(f"  {message}"))
        except BenchmarkError as error:
            progress(f"{name}: {error}")
            results[name], failed[name] = None, error
        else:
            results[name] = result
            done(result, path)
    return results, failed


def read(path: Path) -> dict[str, Any] | None:
    """The result in a row's file; None if there is none.

    Raises:
        BenchmarkError: the file cannot be read as one.
    """
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        result["floor"], result["time_ratio"], result["environment"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BenchmarkError(f"{path}: is no result of a row; delete it") from error
    return result


def _same(result: Mapping[str, Any], settings: infer.InferSettings) -> bool:
    """Whether a result is what measuring would repeat."""
    now, then = environment(pick_device(settings.device), "spandrel", "hat-arch"), result["environment"]
    alike = all(now[key] == then[key] for key in ("device_name", "versions", "source", "cores"))
    alike = alike and then["threads"] == (settings.threads or now["threads"])
    return alike and result["command"] == settings.command()


def report(results: Mapping[str, dict[str, Any] | None]) -> str:
    """A Markdown table with a line for each row and variant, and the machines it was measured on."""
    lines: list[list[str]] = []
    for name, result in results.items():
        lines += _lines(name, result)
    machines = [f"- {name}: `{r['command']}`; {describe(r['environment'])}" for name, r in results.items() if r]
    return "\n".join([markdown(HEADER, lines), "", *machines]).rstrip()


def _lines(name: str, result: dict[str, Any] | None) -> list[list[str]]:
    row = ROWS[name]
    speed_bar, memory_bar = f"≥ {row.speed:.1f}", f"≤ {row.memory:.3g}"
    size = show_size(row.settings.size)
    if result is None:
        return [[name, size, "", "unmeasured", speed_bar, "unmeasured", memory_bar, "", "", "", ""]]
    lines = []
    for variant in (v for v in result["seconds"] if v not in (PEER, CONTEXT)):
        speed, floor = 1 / result["time_ratio"][variant]["median"], result["floor"][variant]
        memory = result["memory"] and result["memory"]["ratio"][variant]
        lines.append(
            [
                name,
                size,
                variant,
                _against(speed, speed >= row.speed),
                speed_bar,
                _against(memory, memory <= row.memory) if memory else "unmeasured",
                memory_bar,
                f"{1000 * result['seconds'][variant]['median']:.1f}",
                f"{1000 * floor['floor_seconds']:.1f}",
                f"{floor['share_of_peak']:.0%}",
                f"{floor['times_the_floor']:.1f}",
            ]
        )
    return lines


def _against(value: float, reached: bool) -> str:
    return f"**{value:.2f}**" if reached else f"{value:.2f}"


def draw(results: Mapping[str, dict[str, Any] | None]) -> Figure | None:
    """Speed and memory of every measured row with its bars; None if nothing is measured."""
    fast: dict[str, plot.Spread] = {}
    weight: dict[str, plot.Spread] = {}
    speed_bars: dict[str, float | None] = {}
    memory_bars: dict[str, float | None] = {}
    for name, result in results.items():
        for variant, speedup in plot.speedups(result["seconds"], PEER).items() if result else ():
            if variant == CONTEXT or result is None:
                continue
            label = name if variant == "prepared" else f"{name}, {variant}"
            fast[label], speed_bars[label] = speedup, ROWS[name].speed
            if result["memory"]:
                ratio = result["memory"]["ratio"][variant]
                weight[label], memory_bars[label] = (ratio, ratio, ratio), ROWS[name].memory
    if not fast:
        return None
    figure, axes = plot.figure("HAT, ours against spandrel's", 13, 1.5 + 0.4 * len(fast), 2)
    plot.bars(axes[0], fast, "times as fast; red: the bar, at least", speed_bars)
    if weight:
        plot.bars(axes[1], weight, "peak extra memory, ours/peer; red: the bar, at most", memory_bars)
    return figure
