"""A table as Markdown, CSV, LaTeX, HTML and plain text: the paper's numbers, ours, and the difference."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..utils.text_table import table as aligned
from .evaluation import Results
from .tables import BICUBIC, DIGITS, NAMES, Row, Scores, Table

KINDS = ("paper", "ours", "difference")
LATEX = {
    **{character: rf"\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "×": r"$\times$",
    "†": r"$\dagger$",
    "α": r"$\alpha$",
    "β": r"$\beta$",
    "γ": r"$\gamma$",
    "−": "$-$",
}
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .5rem 0 2rem; }
th, td { padding: .15rem .6rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
thead { border-bottom: 2px solid; }
tr.first td { border-top: 1px solid #8886; }
tr.ours td { font-weight: 600; }
tr.difference td, tr td:nth-child(2) { color: #888; font-weight: 400; }
li, p.source { font-size: 14px; }
"""


@dataclass(frozen=True)
class Line:
    """A line of a table, as text: the paper's numbers of a row, ours, or the difference."""

    label: str
    kind: str
    first: bool
    """Of its row."""
    cells: tuple[tuple[str, ...], ...]
    """For each set, for each metric."""


@dataclass(frozen=True)
class Block:
    """A table at one scale; sets of which there is no number are left out."""

    scale: int
    sets: tuple[str, ...]
    lines: tuple[Line, ...]


def labels(table: Table, results: Results, scale: int) -> list[tuple[str, Row | None]]:
    """The rows of a table at a scale: bicubic, the paper's, and those of one's own."""
    rows = [(BICUBIC, None), *((row.label, row) for row in table.rows)]
    known = {label for label, _ in rows}
    return rows + [(label, None) for of_scale, label in results.cells if of_scale == scale and label not in known]


def blocks(table: Table, results: Results, scales: Sequence[int]) -> list[Block]:
    """The numbers of a table, as text."""
    return [_block(table, results, scale) for scale in scales]


def _block(table: Table, results: Results, scale: int) -> Block:
    rows = []
    for label, row in labels(table, results, scale):
        paper = table.paper(row, scale) if row else {}
        ours = results.cells.get((scale, label), {})
        rows.append((label, bool(row), {"paper": paper, "ours": ours, "difference": difference(ours, paper)}))
    there = {name for *_, sides in rows for scores in sides.values() for name in scores}
    sets = tuple(name for name in table.all_sets if name in there or name in table.sets)
    lines = []
    for label, in_paper, sides in rows:
        kinds = [kind for kind in KINDS if sides[kind]] or (
            ["paper"] if in_paper and scale == max(table.scales) else []
        )
        for kind in kinds:
            cells = tuple(_cell(table, sides[kind].get(name, {}), kind) for name in sets)
            lines.append(Line(label, kind, kind == kinds[0], cells))
    return Block(scale, sets, tuple(lines))


def difference(ours: Scores, paper: Scores) -> Scores:
    """Ours minus the paper's, where both are there."""
    both = {
        name: {metric: value - paper.get(name, {})[metric] for metric, value in scores.items() if metric in paper[name]}
        for name, scores in ours.items()
        if name in paper
    }
    return {name: scores for name, scores in both.items() if scores}


def _cell(table: Table, scores: dict[str, float], kind: str) -> tuple[str, ...]:
    return tuple(_number(scores.get(metric), metric, kind == "difference") for metric in table.metrics)


def _number(value: float | None, metric: str, signed: bool) -> str:
    if value is None:
        return ""
    text = f"{value:{'+' if signed else ''}.{DIGITS[metric]}f}"
    return text.lstrip("+-") if signed and math.isfinite(value) and float(text) == 0 else text


def _heading(table: Table, block: Block) -> str:
    return f"{table.title}, ×{block.scale}"


def _joined(cell: tuple[str, ...]) -> str:
    return " / ".join(number or "–" for number in cell) if any(cell) else ""


def _legend(table: Table) -> str:
    metrics = " / ".join(NAMES[metric] for metric in table.metrics)
    return (
        f"{metrics}. Paper: {table.source}; what could not be verified is left empty. "
        "Difference: ours before rounding minus the paper's."
    )


def text(table: Table, found: Sequence[Block]) -> str:
    """For a terminal."""
    parts = []
    for block in found:
        rows = [[line.label if line.first else "", line.kind, *map(_joined, line.cells)] for line in block.lines]
        parts.append(f"{_heading(table, block)}\n{aligned(['', '', *block.sets], rows)}")
    return "\n\n".join(parts)


def markdown(table: Table, results: Results, found: Sequence[Block]) -> str:
    lines = [f"# {table.title}", "", _legend(table), ""]
    for block in found:
        lines += [
            f"## ×{block.scale}",
            "",
            f"| | | {' | '.join(block.sets)} |",
            f"|---|---|{'---:|' * len(block.sets)}",
        ]
        for line in block.lines:
            label = line.label if line.first else ""
            lines.append(f"| {label} | {line.kind} | {' | '.join(map(_joined, line.cells))} |".replace("  ", " "))
        lines.append("")
    for title, entries in _lists(table, results):
        lines += [f"{title}:", "", *(f"- {entry}" for entry in entries), ""]
    return "\n".join(lines)


def _lists(table: Table, results: Results) -> Iterator[tuple[str, Sequence[str]]]:
    for title, entries in (
        ("Notes", table.notes),
        ("Cannot be used", results.problems),
        ("Missing, for more cells", results.missing),
    ):
        if entries:
            yield title, entries


def csv_cells(table: Table, results: Results, scales: Sequence[int]) -> str:
    """A line for each number, ours with all its digits."""
    rows = []
    for scale in scales:
        for label, row in labels(table, results, scale):
            paper = table.paper(row, scale) if row else {}
            ours = results.cells.get((scale, label), {})
            for name in table.all_sets:
                for metric in table.metrics:
                    a, b = paper.get(name, {}).get(metric), ours.get(name, {}).get(metric)
                    if a is not None or b is not None:
                        delta = None if a is None or b is None else b - a
                        rows.append([table.name, scale, label, name, metric, a, b, delta])
    return _csv(["table", "scale", "row", "set", "metric", *KINDS], rows)


def csv_images(results: Results) -> str:
    """A line for each image."""
    metrics = sorted({metric for image in results.images for metric in image.scores})
    rows = [
        [s.scale, s.row, s.set_name, s.image, *(s.scores.get(metric) for metric in metrics)] for s in results.images
    ]
    return _csv(["scale", "row", "set", "image", *metrics], rows)


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return file.getvalue()


def latex(table: Table, found: Sequence[Block]) -> str:
    """Tabulars for ``\\usepackage{booktabs}``."""
    parts = [f"% {_legend(table)}".translate({ord("×"): "x"}), r"% \usepackage{booktabs}"]
    width = len(table.metrics)
    for block in found:
        columns = "ll" + "c" * (width * len(block.sets))
        head = "".join(rf" & \multicolumn{{{width}}}{{c}}{{{escape(name)}}}" for name in block.sets)
        names = "".join(f" & {NAMES[metric]}" for metric in table.metrics) * len(block.sets)
        parts += ["", rf"% {escape(table.title)}, x{block.scale}", rf"\begin{{tabular}}{{{columns}}}", r"\toprule"]
        parts += [rf"$\times{block.scale}$ & {head} \\", rf" & {names} \\"]
        for line in block.lines:
            if line.first:
                parts.append(r"\midrule" if line is block.lines[0] else r"\addlinespace[2pt]")
            numbers = "".join(f" & {escape(number.replace('-', '−'))}" for cell in line.cells for number in cell)
            parts.append(rf"{escape(line.label) if line.first else ''} & {line.kind}{numbers} \\")
        parts += [r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*parts, ""])


def escape(words: str) -> str:
    """Text for LaTeX."""
    return "".join(LATEX.get(character, character) for character in words)


def html_page(table: Table, results: Results, found: Sequence[Block]) -> str:
    """A page without anything from outside."""
    parts = [
        "<!doctype html>",
        f'<html lang="en"><meta charset="utf-8"><title>{html.escape(table.title)}</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{STYLE}</style>",
        f'<h1>{html.escape(table.title)}</h1><p class="source">{html.escape(_legend(table))}</p>',
    ]
    width = len(table.metrics)
    metrics = "".join(f"<th>{NAMES[metric]}</th>" for metric in table.metrics)
    for block in found:
        sets = "".join(f'<th colspan="{width}" style="text-align: center">{name}</th>' for name in block.sets)
        parts.append(f"<h2>×{block.scale}</h2><div><table><thead>")
        parts.append(f"<tr><th></th><th></th>{sets}</tr><tr><th></th><th></th>{metrics * len(block.sets)}</tr></thead>")
        for line in block.lines:
            numbers = "".join(f"<td>{number}</td>" for cell in line.cells for number in cell)
            kind = f"{line.kind}{' first' if line.first else ''}"
            label = html.escape(line.label) if line.first else ""
            parts.append(f'<tr class="{kind}"><td>{label}</td><td>{line.kind}</td>{numbers}</tr>')
        parts.append("</table></div>")
    for title, entries in _lists(table, results):
        items = "".join(f"<li>{html.escape(entry)}</li>" for entry in entries)
        parts.append(f"<h2>{title}</h2><ul>{items}</ul>")
    return "\n".join([*parts, "</html>", ""])
