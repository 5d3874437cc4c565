"""A picture that shows an image and the larger one made of it side by side, with a detail enlarged."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from ..utils.files import write_file
from .pictures import Frame, open_picture
from .sources import Job

SIDE = 720  # pixels of each view at most
DETAIL = 120  # pixels of a side of the detail, of the larger image
GAP, RED = 8, (230, 30, 30)


def compare(job: Job) -> Path:
    """Writes ``NAME_compare.png`` beside an output: bicubic to the left, the output to the right, a detail below.

    Where the size is kept, the image itself is to the left. The detail is where the two differ most.
    """
    before, after = _rgb(job.source), _rgb(job.target)
    titles = ("before", "after") if before.size == after.size else ("bicubic", "upscaled")
    bicubic = before.resize(after.size, PillowImage.Resampling.BICUBIC)
    box = _busiest(bicubic, after)
    views = []
    for image in (bicubic, after):
        view = image.copy()
        view.thumbnail((SIDE, SIDE))
        share = view.width / image.width
        ImageDraw.Draw(view).rectangle(tuple(share * place for place in box), outline=RED, width=2)
        side = view.width, max(1, round(view.width * (box[3] - box[1]) / (box[2] - box[0])))
        detail = image.crop(box).resize(side, PillowImage.Resampling.NEAREST)
        views.append((view, detail))
    view, detail = views[0]
    sheet = PillowImage.new("RGB", (2 * view.width + GAP, view.height + GAP + detail.height + 16), "white")
    for i, (view, detail) in enumerate(views):
        left = i * (view.width + GAP)
        sheet.paste(view, (left, 16))
        sheet.paste(detail, (left, 16 + view.height + GAP))
        ImageDraw.Draw(sheet).text((left + 4, 2), titles[i], fill="black")
    target = job.target.with_name(f"{job.target.stem}_compare.png")
    data = io.BytesIO()
    sheet.save(data, "PNG")
    write_file(target, data.getvalue())
    return target


def _rgb(path: Path) -> PillowImage.Image:
    """The first frame of an image in 8 bits, on white."""
    frame: Frame = next(open_picture(path, str(path)).frames)
    deep = frame.pixels.dtype == np.uint16
    pixels = PillowImage.fromarray((frame.pixels >> 8).astype(np.uint8) if deep else frame.pixels).convert("RGB")
    if frame.alpha is None:
        return pixels
    alpha = PillowImage.fromarray((frame.alpha >> 8).astype(np.uint8) if deep else frame.alpha)
    return PillowImage.composite(pixels, PillowImage.new("RGB", pixels.size, "white"), alpha)


def _busiest(one: PillowImage.Image, other: PillowImage.Image) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the square in which two images differ most."""
    side = min(DETAIL, *one.size)
    cells = max(1, one.width // side), max(1, one.height // side)
    difference = np.abs(np.asarray(one.convert("L"), np.float32) - np.asarray(other.convert("L"), np.float32))
    means = [
        (difference[y * side : (y + 1) * side, x * side : (x + 1) * side].mean(), x * side, y * side)
        for y in range(cells[1])
        for x in range(cells[0])
    ]
    _, left, top = max(means)
    return left, top, left + side, top + side
