"""Writes images in the formats that there are, row by row where the format allows it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image as PillowImage

from ..data.images import DataError, ImageError
from .metadata import Metadata
from .pictures import Pixels
from .png import PngWriter
from .tiff import TiffWriter, TooLargeError, dots_per_inch

SUFFIXES = {
    "png": (".png", ".apng"),
    "jpg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "webp": (".webp",),
    "tif": (".tif", ".tiff"),
    "avif": (".avif",),
    "gif": (".gif",),
    "bmp": (".bmp", ".dib"),
}
"""Formats that can be written, and how their files are named."""
PILLOWS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP", "tif": "TIFF", "avif": "AVIF", "gif": "GIF", "bmp": "BMP"}
DEEP = ("png", "tif")
"""Those with 16 bits a channel."""
OPAQUE = ("jpg", "bmp")
"""Those without alpha."""
IN_FRAMES = {"PNG": "png", "GIF": "gif", "WEBP": "webp", "AVIF": "avif", "TIFF": "tif"}
"""Of Pillow's formats with several images, what they are written as by default."""
QUALITY = {"jpg": 95, "avif": 90}
"""Where none is asked for. WebP is without loss then."""


@dataclass
class Page:
    """One image to be written: a still, a frame, or a page."""

    height: int
    width: int
    channels: int
    """1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha)."""
    bits: int
    """8 or 16 a channel."""
    metadata: Metadata
    count: int = 1
    """Images in the file."""
    plays: int = 0
    milliseconds: float = 0


Pages = Iterator[tuple[Page, Iterator[Pixels]]]
"""Images with their rows, which must be taken before the next image is."""


def format_of(path: Path) -> str | None:
    """The format that a file is named as, or None."""
    return next((name for name, suffixes in SUFFIXES.items() if path.suffix.lower() in suffixes), None)


def check_quality(format: str | None, quality: int | None) -> None:
    """Raises a `DataError` if a format has no such quality."""
    if quality is None:
        return
    if not 1 <= quality <= 100:
        raise DataError(f"--quality {quality}: is to be 1 to 100")
    if format not in ("jpg", "webp", "avif"):
        raise DataError(f"--quality {quality}: is for --format jpg, webp or avif")


def save(file: BinaryIO, name: str, format: str, pages: Pages, quality: int | None = None) -> None:
    """Writes images to an open file.

    Args:
        file: open for writing in binary, at its beginning.
        name: what an error calls it.
        format: one of `SUFFIXES`.
        pages: one or more.
        quality: 1 to 100, of JPEG, WebP and AVIF.

    Raises:
        ImageError: the format cannot hold them.
    """
    if format == "png":
        _save_png(file, pages)
    elif format == "tif":
        _save_tiff(file, name, pages)
    else:
        _save_by_pillow(file, name, format, pages, quality)


def _save_png(file: BinaryIO, pages: Pages) -> None:
    writer: PngWriter | None = None
    for page, rows in pages:
        if writer is None:
            chunks = page.metadata.png_chunks()
            how = page.height, page.width, page.channels, page.bits, chunks, page.count, page.plays
            writer = PngWriter(file, *how)
        writer.begin(page.milliseconds)
        for some in rows:
            writer.write(some)
    assert writer is not None
    writer.close()


def _save_tiff(file: BinaryIO, name: str, pages: Pages) -> None:
    writer = TiffWriter(file)
    try:
        for page, rows in pages:
            metadata = page.metadata
            tags = metadata.tiff_tags() | (dots_per_inch(metadata.dpi) if metadata.dpi else {})
            wide = page.bits == 16 and page.channels == 2  # few programs read grey with alpha in 16 bits
            writer.begin(page.height, page.width, 4 if wide else page.channels, page.bits, tags)
            for some in rows:
                writer.write(some[..., [0, 0, 0, 1]] if wide else some)
            writer.end()
    except TooLargeError as error:
        raise ImageError(f"{name}: {error}; take --format png") from error


def _save_by_pillow(file: BinaryIO, name: str, format: str, pages: Pages, quality: int | None) -> None:
    """By Pillow, which wants whole images."""
    milliseconds: list[float] = []
    headers: list[Page] = []

    def images() -> Iterator[PillowImage.Image]:
        for page, rows in pages:
            headers.append(page)
            milliseconds.append(page.milliseconds)
            yield _pillow_image(np.concatenate(list(rows)), format)

    every = images()
    first = next(every)
    page = headers[0]
    how = _options(page.metadata, format, quality)
    if page.count > 1:
        rest = list(every)  # durations are asked for at once
        how |= {"save_all": True, "append_images": rest, "duration": milliseconds, "loop": page.plays, "disposal": 2}
    try:
        first.save(file, PILLOWS[format], **how)
    except (OSError, ValueError, OverflowError) as error:
        if getattr(error, "errno", None):  # of the disk
            raise
        size = f"{page.height}x{page.width}"
        raise ImageError(f"{name}: {format} cannot hold {size} pixels ({error}); take --format png") from error
    finally:
        with contextlib.suppress(Exception):
            first.close()


def _pillow_image(pixels: Pixels, format: str) -> PillowImage.Image:
    image = PillowImage.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
    if image.mode == "LA" and format != "png":
        return image.convert("RGBA")
    return image


def _options(metadata: Metadata, format: str, quality: int | None) -> dict[str, Any]:
    """Pillow's arguments for writing an image in a format."""
    exif, dpi = metadata.exif_bytes(), metadata.dpi
    kept: dict[str, Any] = {"icc_profile": metadata.icc, "exif": exif, "xmp": metadata.xmp}
    kept = {key: value for key, value in kept.items() if value}
    if format == "webp":
        lossy = {"quality": quality} if quality else {"lossless": True, "exact": True}
        return {**lossy, **kept}
    if format == "jpg":
        quality = quality or QUALITY["jpg"]
        comment = {"comment": metadata.comment} if metadata.comment else {}
        resolution = {"dpi": tuple(map(round, dpi))} if dpi else {}
        return {"quality": quality, "subsampling": 0 if quality >= 90 else 2, **kept, **resolution, **comment}
    if format == "avif":
        return {"quality": quality or QUALITY["avif"], "subsampling": "4:4:4", **kept}
    if format == "bmp":
        return {"dpi": dpi} if dpi else {}
    return {"comment": metadata.remark} if metadata.remark else {}
