"""What a browser shows of a picture and of what was made of it: whatever they are, in 8 bits and in bounded size."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from ..inference.pictures import Pixels, open_picture

PIXELS = 16_000_000  # that are shown at most; telephones show no more
LOSSLESS = 2_000_000  # pixels up to which a view is exact
THUMB = 320  # pixels of a side
SHOWN = (".png", ".jpg", ".webp", ".gif", ".avif")
"""Files that browsers show."""


def make_views(source: Path, result: Path, size: tuple[int, int], folder: Path) -> dict[str, Path]:
    """Writes ``before``, ``after`` and ``thumb``.

    Args:
        source: the original.
        result: what was made of it; it is its own view if a browser can show it.
        size: its height and width.
        folder: where to.
    """
    before, profile = _image(source)
    views = {"before": _save(_reduced(before, PIXELS), profile, folder / "before", before.width * before.height)}
    after, profile = _image(result)
    if result.suffix in SHOWN and math.prod(size) <= PIXELS:
        views["after"] = result
    else:
        views["after"] = _save(_reduced(after, PIXELS), profile, folder / "after", after.width * after.height)
    after.thumbnail((THUMB, THUMB))
    views["thumb"] = _save(after, profile, folder / "thumb", 0)
    return views


def _image(file: Path) -> tuple[PillowImage.Image, bytes | None]:
    """The first frame in 8 bits, and its colour profile."""
    picture = open_picture(file, file.name)
    frame = next(picture.frames)
    image = PillowImage.fromarray(_in_8_bits(frame.pixels))
    if frame.alpha is not None:
        image.putalpha(PillowImage.fromarray(_in_8_bits(frame.alpha)))
    return image, picture.metadata.icc


def _in_8_bits(pixels: Pixels) -> NDArray[np.uint8]:
    return (pixels >> 8 if pixels.dtype == np.uint16 else pixels).astype(np.uint8)


def _reduced(image: PillowImage.Image, pixels: int) -> PillowImage.Image:
    share = math.sqrt(pixels / (image.width * image.height))
    if share >= 1:
        return image
    size = max(1, int(image.width * share)), max(1, int(image.height * share))
    return image.resize(size, PillowImage.Resampling.BOX)


def _save(image: PillowImage.Image, profile: bytes | None, file: Path, pixels: int) -> Path:
    if image.mode in ("LA", "RGBA") or 0 < pixels <= LOSSLESS:
        file = file.with_suffix(".png")
        image.save(file, icc_profile=profile, compress_level=1)
    else:
        file = file.with_suffix(".jpg")
        image.save(file, icc_profile=profile, quality=95, subsampling=0)
    return file
