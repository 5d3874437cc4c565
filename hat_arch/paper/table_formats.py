"""A paper's table in all its formats: the paper's numbers, ours, and the difference, one below the other."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markdown import markdown as to_html

from ..utils.text_tables import Style, aligned, as_csv
from .evaluation import Results
from .tables import DIGITS, TITLES, Scores, Table

LATEX = {
    "×": r"$\times$",
    "σ": r"$\sigma$",
    "†": r"$\dagger$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "–": "--",
}
PAGE = """\
<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 sans-serif; max-width: 70rem; margin: 2rem auto; }}
th, td {{ padding: .1rem .6rem; white-space: nowrap; }}
</style>
{body}
</html>
"""


@dataclass(frozen=True)
class Comparison:
    """The numbers of a row at a scale: the paper's and ours."""

    label: str
    paper: Scores
    ours: Scores
    in_paper: bool
    """Whether the paper has this row, with or without verified numbers."""

    @property
    def difference(self) -> Scores:
        """Ours minus the paper's, where both are there."""
        found: Scores = {}
        for name, scores in self.ours.items():
            paper = self.paper.get(name, {})
            if both := {metric: value - paper[metric] for metric, value in scores.items() if metric in paper}:
                found[name] = both
        return found


def compared(table: Table, results: Results, scale: int) -> list[Comparison]:
    """The rows of a table at a level: bicubic or the input, the paper's, and those of one's own."""
    papers: dict[str, Scores] = {table.baseline: {}} | {row.label: table.paper(row, scale) for row in table.rows}
    others = {table.baseline, *(row.label for row in table.rows if not row.in_paper)}
    own = [label for at, label in results.cells if at == scale and label not in papers]
    return [
        Comparison(label, papers.get(label, {}), results.cells.get((scale, label), {}), label not in {*others, *own})
        for label in (*papers, *own)
    ]


def grid(table: Table, results: Results, scale: int, style: Style) -> str:
    """A table at one of its levels; sets of which there is no number are left out."""
    rows = compared(table, results, scale)
    there = {name for row in rows for name in (*row.paper, *row.ours)} | set(table.sets)
    sets = [name for name in table.all_sets if name in there]
    lines = []
    for row in rows:
        sides = {"paper": row.paper, "ours": row.ours, "difference": row.difference}
        everywhere = table.recipe or scale == max(table.scales)
        absent = ["paper"] if row.in_paper and everywhere else []  # a line that is there, and empty
        for n, kind in enumerate([kind for kind in sides if sides[kind]] or absent):
            cells = [_cell(table, sides[kind].get(name, {}), kind == "difference") for name in sets]
            lines.append(["" if n else row.label, kind, *cells])
    return aligned(["", "", *sets], lines, style, left=(0, 1))


def _cell(table: Table, scores: Mapping[str, float], signed: bool) -> str:
    """``33.04 / 0.9056``, or nothing."""
    return " / ".join(number(scores.get(m), m, signed) or "–" for m in table.metrics) if scores else ""


def number(value: float | None, metric: str, signed: bool = False) -> str:
    """A value with as many digits as the papers print of its metric; nothing for None."""
    if value is None:
        return ""
    text = f"{value:{'+' if signed else ''}.{DIGITS[metric]}f}"
    return text.lstrip("+-") if signed and math.isfinite(value) and float(text) == 0 else text


def _legend(table: Table) -> str:
    metrics = " / ".join(TITLES.get(metric, metric.upper()) for metric in table.metrics)
    return (
        f"{metrics}. Paper: {table.source}; what could not be verified is left empty. "
        "Difference: ours before rounding minus the paper's."
    )


def text(table: Table, results: Results, scales: Sequence[int]) -> str:
    """For a terminal."""
    return "\n\n".join(
        f"{table.title}, {table.level}{scale}\n{grid(table, results, scale, 'simple')}" for scale in scales
    )


def markdown(table: Table, results: Results, scales: Sequence[int]) -> str:
    """With legend, notes and what is missing."""
    parts = [f"# {table.title}", _legend(table)]
    for scale in scales:
        parts += [f"## {table.level}{scale}", grid(table, results, scale, "pipe")]
    lists = {"Notes": table.notes, "Cannot be used": results.problems, "Missing, for more cells": results.missing}
    for title, entries in lists.items():
        if entries:
            parts += [f"{title}:", "\n".join(f"- {entry}" for entry in entries)]
    return "\n\n".join(parts) + "\n"


def latex(table: Table, results: Results, scales: Sequence[int]) -> str:
    r"""Tabulars for ``\usepackage{booktabs}``, in ASCII."""
    parts = [f"% {_legend(table)}", r"% \usepackage{booktabs}"]
    for scale in scales:
        parts += ["", f"% {table.title}, {table.level}{scale}", grid(table, results, scale, "latex_booktabs")]
    content = "\n".join([*parts, ""])
    for character, command in LATEX.items():
        content = content.replace(character, command)
    return re.sub(r"(?<=[ /])-(?=\d)", "$-$", content)


def html_page(table: Table, results: Results, scales: Sequence[int]) -> str:
    """The same as a page, which needs nothing from outside."""
    content = html.escape(markdown(table, results, scales), quote=False)
    return PAGE.format(title=html.escape(table.title), body=to_html(content, extensions=["tables"]))


def csv_cells(table: Table, results: Results, scales: Sequence[int]) -> str:
    """A line for each number, ours with all its digits."""
    lines = []
    for scale in scales:
        for row in compared(table, results, scale):
            for name in table.all_sets:
                for metric in table.metrics:
                    values = [side.get(name, {}).get(metric) for side in (row.paper, row.ours, row.difference)]
                    if any(value is not None for value in values):
                        lines.append([table.name, scale, row.label, name, metric, *values])
    return as_csv(["table", "scale", "row", "set", "metric", "paper", "ours", "difference"], lines)


def csv_images(results: Results) -> str:
    """A line for each image."""
    scores = [one.scores or {} for one in results.images]
    metrics = sorted({metric for each in scores for metric in each})
    lines = [
        [one.protocol.level, one.method.label, one.set_name, one.files.name, *map(each.get, metrics)]
        for one, each in zip(results.images, scores)
    ]
    return as_csv(["scale", "row", "set", "image", *metrics], lines)


def files(table: Table, results: Results, scales: Sequence[int]) -> dict[str, str]:
    """Name → content of every file of a table."""
    return {
        f"{table.name}.md": markdown(table, results, scales),
        f"{table.name}.csv": csv_cells(table, results, scales),
        f"{table.name}.tex": latex(table, results, scales),
        f"{table.name}.html": html_page(table, results, scales),
        f"{table.name}_images.csv": csv_images(results),
    }
