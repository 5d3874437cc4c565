"""The steps of a degradation side by side, each with what was done."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ..utils.files import write_file
from .recipe import Step

COLUMNS = 4
PANEL, CAPTION = 2.6, 0.55  # inches
SHOWN = 96  # LR pixels of a side, at the most: more could not be told apart


def draw_contact_sheet(steps: Sequence[Step], title: str, file: Path) -> None:
    """Writes a PNG file with the middle of each step's image, all enlarged to one size, pixels as squares.

    Args:
        steps: what a recipe yields; the last one's image has LR size.
        title: above all.
        file: what to write.
    """
    share = min(1.0, SHOWN / max(steps[-1].image.shape[1:]))
    columns = min(COLUMNS, len(steps))
    rows = math.ceil(len(steps) / columns)
    figure = Figure(figsize=(columns * PANEL, rows * (PANEL + CAPTION) + 0.3), layout="constrained")
    figure.suptitle(title.encode(errors="replace").decode().replace("$", r"\$"), fontsize=11)
    for number, (label, image) in enumerate(steps, 1):
        ax = figure.add_subplot(rows, columns, number)
        height, width = image.shape[1:]
        rows_shown, columns_shown = (max(1, round(side * share)) for side in (height, width))
        top, left = (height - rows_shown) // 2, (width - columns_shown) // 2
        part = image[:, top : top + rows_shown, left : left + columns_shown].clamp(0, 1).cpu()
        ax.imshow(part.expand(3, -1, -1).permute(1, 2, 0).numpy(), interpolation="nearest", aspect="equal")
        ax.set_xticks([])
        ax.set_yticks([])
        caption = textwrap.fill(f"{number}. {label}", 36)
        ax.set_title(f"{caption}\n{height}x{width}", fontsize=8, loc="left")
    data = io.BytesIO()
    figure.savefig(data, dpi=150, format="png")
    write_file(file, data.getbuffer())
