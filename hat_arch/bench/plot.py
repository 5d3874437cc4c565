"""What the suites' pictures share. A suite's ``draw`` returns a figure; `save` writes it beside the JSON file."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hat_arch.training.checkpoints import write_bytes

Spread = tuple[float, float, float]
"""Median, minimum, maximum."""
COLOUR, MUTED, BAR = "#2a6f97", "#9aa5b1", "#c1121f"


def figure(title: str, width: float = 7, height: float = 4, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure with its axes side by side."""
    result = Figure((width, height), layout="constrained")
    result.suptitle(title, fontsize=11)
    return result, list(result.subplots(1, columns, squeeze=False)[0])


def spread(values: Sequence[float]) -> Spread:
    return statistics.median(values), min(values), max(values)


def speedups(seconds: Mapping[str, Mapping[str, Any]], peer: str) -> dict[str, Spread]:
    """How many times as fast as the peer, over the runs that stood side by side: name → `Spread`."""
    result = {}
    for name, times in seconds.items():
        if name != peer:
            middle, low, high = spread([own / other for own, other in zip(times["runs"], seconds[peer]["runs"])])
            result[name] = 1 / middle, 1 / high, 1 / low
    return result


def bars(axes: Axes, values: Mapping[str, Spread], label: str, marks: Mapping[str, float | None] | None = None) -> None:
    """Horizontal bars, the first on top, with their minimum and maximum.

    Args:
        axes: to draw in.
        values: by name.
        label: of the axis.
        marks: by name, what a bar should reach; drawn as a line across it.
    """
    names = list(values)
    medians = [values[name][0] for name in names]
    axes.barh(names, medians, 0.6, color=COLOUR)
    right = max(high for _, _, high in values.values())
    for row, name in enumerate(names):
        median, low, high = values[name]
        if low < high:
            axes.errorbar(median, row, xerr=[[median - low], [high - median]], color="black", capsize=3)
        number = f"{median:,.0f}" if median >= 100 else f"{median:.3g}"
        axes.text(high + 0.02 * right, row, number, va="center", fontsize=9)
        mark = (marks or {}).get(name)
        if mark is not None:
            axes.plot([mark, mark], [row - 0.4, row + 0.4], color=BAR, linewidth=2)
    axes.set_xlim(0, 1.2 * max([right, *(mark for mark in (marks or {}).values() if mark is not None)]))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(label)
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)


def save(picture: Figure, path: Path) -> None:
    """Writes a PNG, whole or not at all."""
    buffer = io.BytesIO()
    picture.savefig(buffer, dpi=130, format="png")
    write_bytes(buffer.getbuffer(), path)
