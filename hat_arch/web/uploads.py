"""What an uploaded file is, by its content: a picture of a kind and size that are allowed, or refused."""

from __future__ import annotations

import contextlib
import re
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image as PillowImage

from ..inference.pictures import IN_FRAMES, NOT_READ, add_heif, upright_size
from .limits import Limits, Refused

BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"mif1"), "HEIF")
"""Pillow's format by the kind of an ISO file, in its bytes 8 to 12."""
STARTS = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"BM", "BMP"),
)
SUFFIXES = {"PNG": ".png", "JPEG": ".jpg", "GIF": ".gif", "TIFF": ".tif", "BMP": ".bmp"}
SUFFIXES |= {"WEBP": ".webp", "AVIF": ".avif", "HEIF": ".heic"}
CODE = re.compile(rb"<(?:script|\?php\s|html[\s>]|!doctype\s|svg[\s>])", re.IGNORECASE)
"""Begins what a browser or a server could run."""
DRAWING = re.compile(rb"\s*(?:<\?xml|<!--|<!doctype\s+svg|<svg)", re.IGNORECASE)
LONGEST_CODE = 16  # bytes that an expression of `CODE` may take
PART = 2**20  # bytes that are searched at a time, between which other threads may run
PDF_WITHIN = 1024  # bytes from its beginning in which a reader looks for a PDF


@dataclass(frozen=True)
class Upload:
    """An uploaded picture, as its header says."""

    suffix: str
    height: int
    width: int
    frames: int
    pixels: int
    """Of all frames or pages."""


def check(file: Path, name: str, limits: Limits) -> Upload:
    """Looks at an uploaded file without decoding its pixels.

    Args:
        file: the upload.
        name: the visitor's for it.
        limits: how large it may be.

    Raises:
        Refused: it is no picture, of a kind that is not read, has too many pixels, or is also something else.
    """
    if Path(name).suffix.lower() in NOT_READ:  # raw files of cameras are TIFF, of the preview
        suffix = Path(name).suffix.lower()
        raise Refused(415, "svg") if suffix == ".svg" else Refused(415, "kind", kind=suffix)
    with file.open("rb") as stream:
        start = stream.read(PDF_WITHIN)
    if not start:
        raise Refused(415, "empty")
    kind = kind_of(start[:16])
    if kind is None:
        raise Refused(415, "svg" if DRAWING.match(start) else "not_a_picture")
    if b"%PDF-" in start or _is_archive(file) or _holds_code(file):
        raise Refused(415, "polyglot")
    try:
        return _look(file, kind, limits)
    except Refused:
        raise
    except PillowImage.DecompressionBombError:
        raise Refused(413, "too_many_pixels", limit=limits.pixels) from None
    except Exception as error:  # Pillow raises many kinds
        raise Refused(415, "damaged") from error


def kind_of(start: bytes) -> str | None:
    """Pillow's name of the format that a file's first 16 bytes begin."""
    if start.startswith(b"RIFF") and start[8:12] == b"WEBP":
        return "WEBP"
    if start[4:8] == b"ftyp":
        return BRANDS.get(start[8:12])
    return next((kind for begin, kind in STARTS if start.startswith(begin)), None)


def _is_archive(file: Path) -> bool:
    """Whether the file can be opened as a ZIP, such as a Java program behind a picture."""
    with file.open("rb") as stream:
        return zipfile.is_zipfile(stream)


def _holds_code(file: Path) -> bool:
    """Whether there is, anywhere in the file, what a browser or a server could run."""
    before = b""
    with file.open("rb") as stream:
        while part := stream.read(PART):
            if CODE.search(before + part):
                return True
            before = part[-LONGEST_CODE:]
    return False


def _look(file: Path, kind: str, limits: Limits) -> Upload:
    """Reads the header of each frame, up to the first that is too much.

    Raises:
        Refused: the frames, or their pixels, are too many.
    """
    if not add_heif() and kind == "HEIF":
        raise Refused(415, "kind", kind="HEIC")
    with contextlib.ExitStack() as using:
        using.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")  # of odd metadata and large images
        image = using.enter_context(PillowImage.open(file, formats=(kind,)))
        height, width = upright_size(image)
        frames, pixels = 1, height * width
        check_pixels(pixels, limits)
        if kind in ("GIF", "TIFF"):  # nothing but going through them tells how many there are; pages differ in size
            with contextlib.suppress(EOFError):
                while frames <= limits.frames:
                    image.seek(frames)
                    frames += 1
                    pixels += image.width * image.height
                    check_pixels(pixels, limits)
        elif kind in IN_FRAMES:
            frames = getattr(image, "n_frames", 1)
            pixels *= frames
        if frames > limits.frames:
            raise Refused(413, "frames", limit=limits.frames)
        check_pixels(pixels, limits)
    return Upload(SUFFIXES[kind], height, width, frames, pixels)


def check_pixels(pixels: int, limits: Limits, code: str = "pixels") -> None:
    """Raises `Refused` if these are too many."""
    if pixels > limits.pixels:
        raise Refused(413, code, pixels=pixels, limit=limits.pixels)
