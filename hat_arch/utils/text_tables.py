"""Tables as text: for a terminal, Markdown and LaTeX by the package tabulate, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from typing import Literal

from tabulate import tabulate

Style = Literal["simple", "pipe", "latex_booktabs"]
"""``simple`` is for a terminal, ``pipe`` is Markdown."""


def aligned(
    header: Sequence[str], lines: Sequence[Sequence[str]], style: Style = "simple", left: Collection[int] = (0,)
) -> str:
    """A table whose columns ``left``, from 0, stand to the left, the others to the right. Text is escaped as needed."""
    align = ["left" if column in left else "right" for column in range(len(header))]
    return tabulate(lines, header, style, disable_numparse=True, colalign=align if lines else None)


def as_csv(header: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """Comma-separated values; None is an empty cell."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *lines])
    return file.getvalue()
