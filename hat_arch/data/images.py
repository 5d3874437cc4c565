"""Reads images strictly: what BasicSR would misread, or change without a word, is an error that names the file."""

from __future__ import annotations

import io
import os
import warnings
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageFile, UnidentifiedImageError

from ..utils.errors import UserError
from .heif import add_heif, is_heif

Image = NDArray[np.uint8]

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}
UNREAD = {".gif", ".heic", ".heif", ".hif", ".avif", ".jp2", ".jxl", ".exr", ".psd", ".dng", ".cr2", ".nef", ".arw"}
"""Suffixes of images of other kinds: they are found too, so that each is named as one that cannot be used."""
FORMATS = {"PNG", "JPEG", "MPO", "WEBP", "BMP", "TIFF", "PPM"}  # Pillow's names
HEIF = "HEIF"
NO_HEIF = "HEIC is read after pip install 'hat-arch[heic]'; or convert it to JPEG"
PNG = b"\x89PNG\r\n\x1a\n"
BITS_PER_SAMPLE = 258  # TIFF tag
ORIENTATION = 0x0112  # EXIF tag
TURNED = (5, 6, 7, 8)  # values of the tag that exchange height and width
GREY = ("1", "L", "LA")  # Pillow's modes
PNG_LEVEL = 3  # zlib's, of PNG files in folders, as BasicSR's scripts


class DataError(UserError):
    """Something about data that the user can mend; the message says where and how."""


class ImageError(DataError):
    """One image cannot be used; the message names it."""


@dataclass(frozen=True)
class Header:
    """Size of an image as BasicSR will read it, in pixels, and how it is encoded."""

    height: int
    width: int
    channels: int
    """1 or 3: an opaque alpha channel is not counted."""
    suffix: str
    """``.png``, ``.jpg``, …, by content."""

    @property
    def pixels(self) -> int:
        return self.height * self.width


class EncodedImage(NamedTuple):
    """An image as it is stored."""

    name: str
    """Path below its folder or store, without suffix."""
    data: bytes
    header: Header


def find(folder: Path) -> list[Path]:
    """All images below a folder, sorted by their path; links are followed, hidden files and folders are left out.

    Raises:
        DataError: there is no such folder, or no image in it; a folder cannot be read; a link leads to a folder that it
            lies in, or a link without suffix, perhaps of a folder, to what is not there.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder" if not folder.exists() else f"{folder}: is not a folder")
    found = []
    for root, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for link in filter(Path.is_symlink, (Path(root, f) for f in folders)):
            within = [above for above in link.parents if above.is_relative_to(folder)]
            if any(above.resolve().is_relative_to(link.resolve()) for above in within):
                raise DataError(f"{link}: is a link to a folder that it lies in; remove the link")
        for path in (Path(root, f) for f in files if not f.startswith(".")):
            if path.suffix.lower() in SUFFIXES | UNREAD:
                found.append(path)
            elif not path.suffix and path.is_symlink() and not path.exists():
                raise DataError(f"{path}: is a link to {path.readlink()}, which is not there; mend or remove it")
    if not found:
        raise DataError(f"{folder}: holds no image ({', '.join(sorted(SUFFIXES))})")
    return sorted(found)


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: {error.strerror}")


def find_named(folder: Path, strip: str = "", bad: list[str] | None = None) -> dict[Path, str]:
    """`find`, with the name of every image: its path below the folder, without suffix.

    Args:
        folder: where to look.
        strip: what to drop from the end of each name, such as ``x4``.
        bad: receives a line for each name that several images have, such as ``a.png`` and ``a.jpg``; all of these are
            left out. Without it they are an error.

    Raises:
        DataError: as `find`, or several images have the same name.
    """
    images: dict[str, list[Path]] = {}
    for file in find(folder):
        name = file.relative_to(folder).with_suffix("").as_posix().removesuffix(strip)
        images.setdefault(name, []).append(file)
    same = [of_name for of_name in images.values() if len(of_name) > 1]
    lines = [f"{', '.join(map(str, of_name))}: have the same name; keep or rename all but one" for of_name in same]
    if lines and bad is None:
        raise DataError(lines[0] + (f" ({len(lines) - 1} more names are shared)" if lines[1:] else ""))
    if bad is not None:
        bad += lines
    return {of_name[0]: name for name, of_name in images.items() if len(of_name) == 1}


def is_utf8(name: str) -> bool:
    """Whether a file's name is text; the bytes of one that is not stand in it as surrogates."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def lq_name(gt_name: str, template: str) -> str:
    """Name of the LR image of a GT image, by BasicSR's ``filename_tmpl``, such as ``{}x4``."""
    folder, slash, name = gt_name.rpartition("/")
    return folder + slash + template.format(name)


def read_bytes(path: Path) -> bytes:
    """Content of a file.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error


def verify(data: bytes, name: object) -> Header:
    """Decodes an image to see that all of it is there, and that BasicSR would read it as it is.

    Args:
        data: the encoded image.
        name: what an error calls it.

    Raises:
        ImageError: it is empty, no image, truncated, has more than 8 bits a channel, is CMYK, or transparent.
    """
    if not data:
        raise ImageError(f"{name}: is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata and large images
            if data.startswith(PNG):
                check_png(data)
            with PillowImage.open(io.BytesIO(data)) as image:
                header = _header(image, name)
                _refuse_mode(image, data, name)
                if header.suffix == ".jpg" and header.channels == 3:
                    # draft mode reads every byte, and skips most of the arithmetic
                    image.draft("YCbCr", (max(1, image.width // 8), max(1, image.height // 8)))
                image.load()
                if image.has_transparency_data and image.convert("RGBA").getextrema()[3][0] < 255:
                    raise ImageError(f"{name}: is transparent; flatten it first")
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        suffix = Path(str(name)).suffix.lower()
        other = f"{suffix} is not read; convert it to PNG first" if suffix in UNREAD else "is not an image"
        raise ImageError(f"{name}: {other}") from error
    except Exception as error:  # Pillow's decoders raise whatever damaged bytes lead to
        raise ImageError(f"{name}: is damaged ({error})") from error
    return header


def _refuse_mode(image: PillowImage.Image, data: bytes, name: object) -> None:
    """Raises an `ImageError` for pixels that BasicSR would convert without a word."""
    deep_png = image.format == "PNG" and data[24] == 16  # Pillow calls 16-bit colour RGB, as if it had 8
    deep_tiff = max(getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (8,))) > 8
    deep_ppm = (image.format, image.mode) == ("PPM", "RGB") and getattr(image, "tile", [])[0][3] != "RGB"  # a maximum
    if deep_png or deep_tiff or deep_ppm or image.mode.startswith(("I", "F")):
        raise ImageError(f"{name}: has more than 8 bits a channel, and BasicSR reads 8; convert it first")
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise ImageError(f"{name}: is {image.mode}; convert it to RGB first")
    if getattr(image, "n_frames", 1) > 1:
        raise ImageError(f"{name}: holds several images; save one")


def check_png(data: bytes) -> None:
    """Raises an `OSError` for a PNG that OpenCV would not read to its end: Pillow does not check pixels' checksums."""
    place, kind = len(PNG), b""
    while kind != b"IEND":
        length, kind = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        end = place + 8 + length
        if len(data) < end + 4:
            raise OSError("it is cut off")
        critical = kind[:1].isupper()
        if critical and zlib.crc32(memoryview(data)[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise OSError("a checksum does not fit")
        place = end + 4


def _header(image: PillowImage.Image, name: object, formats: Collection[str] = FORMATS) -> Header:
    """Size, channels and encoding of an opened image, as BasicSR will read it: upright.

    Raises:
        ImageError: it is of a format that is not read.
    """
    if image.format not in formats:
        raise ImageError(f"{name}: {image.format} is not read; convert it to PNG first")
    turned = image.format != "TIFF" and orientation(image) in TURNED  # Pillow turns TIFF itself
    height, width = image.size if turned else image.size[::-1]
    suffix = {"JPEG": ".jpg", "TIFF": ".tif"}.get(str(image.format), f".{str(image.format).lower()}")
    return Header(height, width, 1 if image.mode in GREY else 3, suffix)


def orientation(image: PillowImage.Image) -> int:
    """EXIF's orientation of an opened image, 1 to 8, without decoding a pixel.

    Pillow decodes a PNG to see whether EXIF stands behind its pixels; here its chunks are walked through instead.
    """
    fp = image.fp if isinstance(image, ImageFile.ImageFile) else None
    if image.format != "PNG" or fp is None or image.info.keys() & {"exif", "Raw profile type exif"}:
        return int(image.getexif().get(ORIENTATION, 1))
    place = fp.tell()
    fp.seek(len(PNG))
    while len(head := fp.read(8)) == 8 and head[4:] not in (b"eXIf", b"IEND"):
        fp.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    exif = PillowImage.Exif()
    if head[4:] == b"eXIf":
        exif.load(fp.read(int.from_bytes(head[:4], "big")))
    else:
        exif = PillowImage.Image.getexif(image)  # what XMP says, if it says it
    fp.seek(place)
    return int(exif.get(ORIENTATION, 1))


def peek(path: Path, heif: bool = False) -> Header:
    """What the first bytes of a file say of its image; the rest of it is not read.

    Args:
        path: the file.
        heif: HEIC will do, as for `read`.

    Raises:
        ImageError: it cannot be read, is empty, or no image.
    """
    allowed = FORMATS | {HEIF} if heif else FORMATS
    if heif and is_heif(path) and not add_heif():
        raise ImageError(f"{path}: {NO_HEIF}")
    try:
        with PillowImage.open(path) as image:
            return _header(image, path, allowed)
    except ImageError:
        raise
    except (FileNotFoundError, PermissionError) as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    except Exception as error:  # as in `verify`
        empty = not path.stat().st_size
        raise ImageError(f"{path}: is empty (0 bytes)" if empty else f"{path}: is not an image, or damaged") from error


def decode(data: bytes, name: object) -> Image:
    """Verifies and decodes an image, upright: ``(H, W, 3)`` BGR, or ``(H, W)`` if it is grey.

    Raises:
        ImageError: as `verify`, or a format that OpenCV does not read.
    """
    header = verify(data, name)
    flags = cv2.IMREAD_GRAYSCALE if header.channels == 1 else cv2.IMREAD_COLOR
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise ImageError(f"{name}: OpenCV cannot read this {header.suffix[1:]}")
    return image  # type: ignore[return-value]


def read(path: Path) -> Image:
    """`decode` for a file; also for HEIC, in 8 bits, where pillow-heif is installed."""
    data = read_bytes(path)
    return decode(_png_of_heif(data, path) if is_heif(path) else data, path)


def _png_of_heif(data: bytes, path: Path) -> bytes:
    """The image of a HEIC file, as a PNG file. Data of another format, named as HEIC, are returned as they are."""
    if not add_heif():
        raise ImageError(f"{path}: {NO_HEIF}")
    try:
        with PillowImage.open(io.BytesIO(data)) as image:
            if image.format != HEIF:
                return data
            png = io.BytesIO()
            image.save(png, "PNG", compress_level=0, exif=b"")  # the plugin has turned the pixels upright
            return png.getvalue()
    except Exception as error:  # as in `verify`
        raise ImageError(f"{path}: is damaged, or not an image ({error})") from error


def encode(image: Image, suffix: str = ".png", level: int | None = None) -> bytes:
    """Encodes without loss: ``.png``, with a level of zlib, or ``.bmp``, uncompressed.

    PNG without a level is Huffman-coded alone: for photographs smaller than level 1, and faster both ways.
    """
    options: list[int] = []
    if suffix == ".png":
        fast = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
        options = [cv2.IMWRITE_PNG_COMPRESSION, level or 1, *(fast if level is None else [])]
    return cv2.imencode(suffix, image, options)[1].tobytes()


def encoded(name: str, image: Image, suffix: str = ".png", level: int | None = None) -> EncodedImage:
    """`encode`, with name and header."""
    height, width, channels = (*image.shape, 1)[:3]
    return EncodedImage(name, encode(image, suffix, level), Header(height, width, channels, suffix))


def mod_crop(image: Image, scale: int, name: object = "the image") -> Image:
    """The image without its last rows and columns, so that both sides are multiples of ``scale``: a view.

    Raises:
        ImageError: nothing would be left.
    """
    height, width = (side - side % scale for side in image.shape[:2])
    if not height or not width:
        raise ImageError(f"{name}: is {image.shape[0]}x{image.shape[1]}, smaller than {scale}x{scale}")
    return image[:height, :width]
