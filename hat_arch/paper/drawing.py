"""What the papers' figures have in common: an image with a caption, and a marked part of it."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from .evaluation_images import Image

MARK = "#e8112d"
FONT = 10


def show(ax: Axes, image: Image, caption: str) -> None:
    """An RGB image, ``(H, W, 3)`` of 0..255 or 0..1, with a caption below it."""
    ax.imshow(image, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel(caption, fontsize=FONT, labelpad=3)
    for spine in ax.spines.values():
        spine.set(linewidth=0.5, color="gray")


def mark(ax: Axes, box: tuple[float, float, float, float], color: str = MARK, linewidth: float = 1.2) -> None:
    """A frame around a part of an image that is shown: left, top, width and height in its pixels."""
    x, y, width, height = box
    ax.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, edgecolor=color, linewidth=linewidth))
