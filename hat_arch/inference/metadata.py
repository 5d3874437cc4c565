"""What an image file says beside its pixels, and how that is said again of the larger image."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

from PIL import ExifTags, ImageOps
from PIL import Image as PillowImage

SOFTWARE, ORIENTATION, WIDTH, HEIGHT = 0x0131, 0x0112, 0xA002, 0xA003  # EXIF tags; the last two of the size
OF_THE_FILE = {
    *range(254, 270),  # size, bits, compression, …
    *(273, 274, 277, 278, 279, 280, 281, 282, 283, 284, 292, 293, 296, 297, 301, 317, 318, 319, 320, 321, 322, 323),
    *(324, 325, 330, 332, 334, 336, 337, 338, 339, 340, 341, 342, 347, 512, 513, 514, 529, 530, 531, 532, 700),
    *(34377, 34675, 37724),
}
"""TIFF's tags that tell how pixels are stored, and no more about the image."""
NESTED = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
INCH = 0.0254  # metres


@dataclass
class Metadata:
    """Of an upright image."""

    icc: bytes | None = None
    """Colour profile."""
    exif: PillowImage.Exif = field(default_factory=PillowImage.Exif)
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    text: dict[str, str] = field(default_factory=dict)
    """Of PNG."""
    comment: bytes | None = None
    """Of JPEG and GIF."""
    gamma: float | None = None
    """Of PNG, if it says so."""
    damaged: bool = False
    """Whether its EXIF could not be read."""

    @property
    def remark(self) -> bytes:
        """A comment, for formats that hold no more than that."""
        return self.comment or str(self.exif.get(SOFTWARE, "")).encode()

    def exif_bytes(self) -> bytes:
        """EXIF as JPEG, PNG, WebP and AVIF hold it; empty if there is none."""
        return self.exif.tobytes() if len(self.exif) or self.exif._ifds else b""

    def png_chunks(self) -> Iterator[tuple[bytes, bytes]]:
        """Kind and data of PNG's chunks, in an order that may stand before the pixels."""
        if self.icc:
            yield b"iCCP", b"ICC profile\0\0" + zlib.compress(self.icc)
        elif self.gamma:
            yield b"gAMA", struct.pack(">I", round(100_000 * self.gamma))
        if self.dpi:
            yield b"pHYs", struct.pack(">IIB", *(round(dots / INCH) for dots in self.dpi), 1)
        if exif := self.exif_bytes():
            yield b"eXIf", exif.removeprefix(b"Exif\0\0")
        if self.xmp:
            yield b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + self.xmp
        for key, value in self.text.items():
            yield b"iTXt", key.encode("latin-1", "replace") + b"\0\0\0\0\0" + value.encode()

    def tiff_tags(self) -> dict[int, Any]:
        """TIFF's tags."""
        tags: dict[int, Any] = {tag: value for tag, value in self.exif.items() if tag not in NESTED}
        tags |= {int(ifd): dict(self.exif.get_ifd(ifd)) for ifd in NESTED if self.exif.get_ifd(ifd)}
        tags |= {34675: self.icc} if self.icc else {}
        return tags | ({700: self.xmp} if self.xmp else {})


def metadata_of(image: PillowImage.Image) -> Metadata:
    """All that is known of an opened image, as of the same image upright."""
    info = image.info
    found = Metadata(icc=info.get("icc_profile") or None, gamma=info.get("gamma"), comment=info.get("comment"))
    with contextlib.suppress(TypeError, ValueError, IndexError):
        dots = info.get("dpi") or (info["jfif_density"] if info.get("jfif_unit") == 1 else None)
        found.dpi = (float(dots[0]), float(dots[1])) if dots and min(dots[:2]) > 1 else None
    try:
        found.exif = _descriptive(image.getexif())
        found.exif.tobytes()
    except Exception:  # what cameras write need not be right
        found.exif, found.damaged = PillowImage.Exif(), True
    xmp = info.get("xmp") or (getattr(image, "tag_v2", {}).get(700) if image.format == "TIFF" else None)
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    found.xmp = _upright(bytes(xmp)) if xmp else None
    hidden = {"XML:com.adobe.xmp", "Raw profile type exif", "Raw profile type xmp", "exif"}
    text = getattr(image, "text", {}) if image.format == "PNG" else {}
    found.text = {str(key): str(value) for key, value in text.items() if key not in hidden}
    return found


def _upright(xmp: bytes) -> bytes:
    """XMP without its word of how the image must be turned."""
    flat = PillowImage.new("L", (1, 1))
    flat.getexif()[ORIENTATION] = 3
    flat.info["xmp"] = xmp
    cleaned = ImageOps.exif_transpose(flat).info["xmp"]
    return cleaned if isinstance(cleaned, bytes) else bytes(cleaned)


def _descriptive(exif: PillowImage.Exif) -> PillowImage.Exif:
    """What EXIF tells of the image, without how a file stores it, how it must be turned, and its thumbnail."""
    kept = PillowImage.Exif()
    for tag, value in exif.items():
        if tag not in OF_THE_FILE and tag not in NESTED:
            kept[tag] = value
    for ifd in NESTED:
        if inner := exif.get_ifd(ifd):
            kept.get_ifd(ifd).update(inner)
    return kept


def origin(model: str, scale: float, denoise: float | None = None) -> str:
    """What made an image, as its metadata says it: program, version, model, scale, strength of cleaning."""
    strength = "" if denoise is None else f", denoise {denoise:g}"
    return f"hat_arch {version('hat-arch')} ({model}, x{scale:g}{strength})"


def of_larger(metadata: Metadata, height: int, width: int, origin: str | None) -> Metadata:
    """The metadata of the image made from one.

    Args:
        metadata: of the original.
        height, width: of the new image, in pixels.
        origin: what made it; None leaves out all but the colour profile, the gamma and the resolution.
    """
    if origin is None:
        return Metadata(icc=metadata.icc, gamma=metadata.gamma, dpi=metadata.dpi)
    exif = PillowImage.Exif()
    exif.update(dict(metadata.exif))
    for ifd in NESTED:
        if inner := metadata.exif.get_ifd(ifd):
            exif.get_ifd(ifd).update(inner)
            if WIDTH in inner:
                exif.get_ifd(ifd).update({WIDTH: width, HEIGHT: height})
    before = str(exif.get(SOFTWARE, "")).strip("\0 ")
    exif[SOFTWARE] = before if origin in before else "; ".join(filter(None, (before, origin)))
    text = {**metadata.text, "Software": str(exif[SOFTWARE])}
    return replace(metadata, exif=exif, text=text)
