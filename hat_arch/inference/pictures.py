"""Reads image files with all that they hold: 8 or 16 bits, alpha, frames or pages, colour profile and metadata."""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageCms, ImageOps, UnidentifiedImageError

from ..data.heif import add_heif, is_heif
from ..data.images import BITS_PER_SAMPLE, ORIENTATION, PNG, TURNED, ImageError, check_png, orientation, read_bytes
from ..utils.errors import in_one_line
from .metadata import Metadata, metadata_of
from .tiff import TiffWriter

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".tif", ".tiff", ".bmp", ".dib", ".gif"),
    *(".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pnm", ".pbm", ".tga", ".ico"),
)
NOT_READ = (".jxl", ".psd", ".svg", ".exr", ".hdr", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf")
"""Images that nothing here reads; a folder's are named, not passed over in silence."""
IN_FRAMES = ("GIF", "PNG", "WEBP", "AVIF", "TIFF")
"""Pillow's names of formats whose frames or pages are all upscaled; of others the first image counts."""
TIFF = (b"II*\0", b"MM\0*")
SAMPLE_FORMAT, PHOTOMETRIC, SAMPLES, EXTRA_SAMPLES = 339, 262, 277, 338  # TIFF tags
FLOAT, CMYK, PREMULTIPLIED = 3, 5, 1  # their values
LIMIT = 2 * (PillowImage.MAX_IMAGE_PIXELS or 0)


@dataclass
class Frame:
    """One image: a still, a frame of an animation, or a page."""

    pixels: Pixels
    """``(H, W)`` if it is grey, else RGB ``(H, W, 3)``, upright."""
    alpha: Pixels | None = None
    """``(H, W)``, of the same type; None if it is opaque."""
    milliseconds: float = 0
    """For how long an animation shows it."""


@dataclass
class Picture:
    """An image file that has been opened; its frames are decoded one by one, as `frames` is iterated."""

    name: str
    format: str
    """Pillow's name: PNG, JPEG, …"""
    size: tuple[int, int]
    """Height and width of the first frame, upright."""
    count: int
    """Frames or pages."""
    frames: Iterator[Frame]
    metadata: Metadata = field(default_factory=Metadata)
    plays: int = 0
    """How often an animation is shown; 0: for ever."""
    notes: list[str] = field(default_factory=list)
    """What the user should know of it."""


def limit_pixels(limit: int | None) -> None:
    """Sets how many pixels an image may have; None: any number. A small file can hold an image of terabytes.

    It is a setting of Pillow's for the whole process, so a program sets it, never a library.
    """
    PillowImage.MAX_IMAGE_PIXELS = limit and max(1, limit // 2)  # Pillow warns of that, and refuses twice as many


def peek_picture(path: Path) -> tuple[int, int, int, str]:
    """Height, width, frames and Pillow's format of an image, by what its header says.

    Raises:
        ImageError: it is no image that can be read.
    """
    with _naming(path), _opened(path) as image:
        height, width = upright_size(image)
        return height, width, _count(image), str(image.format)


def open_picture(source: Path | bytes, name: str) -> Picture:
    """Opens an image file, or the content of one.

    Raises:
        ImageError: it is no image, or damaged; so does each of its frames when it is decoded.
    """
    data = source if isinstance(source, bytes) else read_bytes(source)
    with _naming(name):
        if not data:
            raise ImageError(f"{name}: is empty (0 bytes)")
        try:
            image = _opened(io.BytesIO(data))
        except UnidentifiedImageError:
            if data.startswith(TIFF):
                kind = "floating-point values, or channels of another number or size"
                raise ImageError(f"{name}: is a TIFF of {kind}; convert it to RGB of 16 bits first") from None
            raise
        if data.startswith(PNG):
            check_png(data)
        picture = Picture(name, str(image.format), upright_size(image), _count(image), iter(()))
        picture.plays = int(image.info.get("loop", 1 if picture.format == "GIF" else 0))
        picture.metadata = metadata_of(image)
        if picture.metadata.damaged:
            picture.notes.append("its EXIF is damaged, and left out")
        picture.frames = _frames(image, data, picture)
    return picture


@contextlib.contextmanager
def _naming(name: object) -> Iterator[None]:
    """Whatever a library says of a damaged image becomes an `ImageError` that names it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata and large images
            yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: is not an image{_missing_plugin(name)}") from error
    except PillowImage.DecompressionBombError as error:
        raise ImageError(f"{name}: has more pixels than are allowed; --max-pixels allows more") from error
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        raise ImageError(f"{name}: {error.strerror}") from error
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises many kinds
        raise ImageError(f"{name}: is damaged ({in_one_line(error)})") from error


def _missing_plugin(name: object) -> str:
    if is_heif(Path(str(name))) and not add_heif():
        return " that can be read without a plugin: pip install pillow-heif"
    return ""


def _opened(file: Path | io.BytesIO) -> PillowImage.Image:
    add_heif()
    if isinstance(file, Path) and not file.stat().st_size:
        raise ImageError(f"{file}: is empty (0 bytes)")
    return PillowImage.open(file)


def _count(image: PillowImage.Image) -> int:
    return getattr(image, "n_frames", 1) if image.format in IN_FRAMES else 1


def upright_size(image: PillowImage.Image) -> tuple[int, int]:
    """Height and width of an opened image, as it will be once it is turned upright."""
    width, height = image.size
    turned = orientation(image) in TURNED and image.format != "TIFF"  # Pillow turns TIFF when it decodes, and says so
    return (width, height) if turned else (height, width)


def _frames(image: PillowImage.Image, data: bytes, picture: Picture) -> Iterator[Frame]:
    """Decodes frame after frame."""
    deep = _is_deep(image, data, picture.name)
    turn = orientation(image)
    pages = _deep_pages(data, picture.name) if deep else []
    for i in range(picture.count):
        with _naming(picture.name):
            if i:
                image.seek(i)
            frame = _of_deep(pages[i], turn, image, data) if deep else _of_pillow(image, picture)
            frame.milliseconds = float(image.info.get("duration", 0) or 0)
        yield frame


def _is_deep(image: PillowImage.Image, data: bytes, name: str) -> bool:
    """Whether an image has 16 bits a channel, which Pillow would reduce to 8 without a word.

    Raises:
        ImageError: it has floating-point values, or numbers of other sizes.
    """
    tags = getattr(image, "tag_v2", {})
    bits = max(tags.get(BITS_PER_SAMPLE, (8,)))
    if FLOAT in tags.get(SAMPLE_FORMAT, ()) or image.mode == "F":
        raise ImageError(f"{name}: has floating-point values; convert it to 16 bits first")
    if bits > 16 or (image.mode == "I" and image.format != "PPM"):
        raise ImageError(f"{name}: has {bits} bits a channel; convert it to 16 first")
    maximum = (getattr(image, "tile", ()) or [(None,) * 4])[0][3]  # of PPM, unless it is 255 or 65535
    if image.format == "PPM" and (image.mode == "I" or isinstance(maximum, tuple)):
        if not isinstance(maximum, str) and maximum[-1] != 65535:
            raise ImageError(f"{name}: has a maximum of {maximum[-1]}; convert it to 255 or 65535 first")
        return True
    if bits > 8 and (tags.get(PHOTOMETRIC) == CMYK or tags.get(SAMPLES, 1) == 2):
        raise ImageError(f"{name}: is CMYK, or grey with alpha, of 16 bits; convert it to RGB or to 8 bits first")
    return image.mode.startswith("I;16") or bits > 8 or (image.format == "PNG" and data[24] == 16)


def _deep_pages(data: bytes, name: str) -> list[NDArray[Any]]:
    done, pages = cv2.imdecodemulti(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if not done or any(page.dtype != np.uint16 for page in pages):
        raise ImageError(f"{name}: is damaged, or of a kind with 16 bits that OpenCV does not read")
    return list(pages)


@functools.cache
def _opencv_turns_tiff() -> bool:
    """Whether OpenCV turns TIFF upright although it was asked to leave it unchanged, which depends on its version."""
    file = io.BytesIO()
    writer = TiffWriter(file)
    writer.begin(1, 2, 1, 16, {ORIENTATION: 2})  # mirrored
    writer.write(np.array([[[1], [2]]], np.uint16))
    writer.end()
    [page] = cv2.imdecodemulti(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)[1]
    return int(page[0, 0]) == 2


def _of_deep(page: NDArray[Any], turn: int, image: PillowImage.Image, data: bytes) -> Frame:
    """A frame of what OpenCV has decoded: BGR, BGRA or grey."""
    page = page if image.format == "TIFF" and _opencv_turns_tiff() else _turned(page, turn)
    grey = page.ndim == 2 or (image.format == "PNG" and data[25] in (0, 4))
    pixels = page if page.ndim == 2 else page[..., 0] if grey else page[..., 2::-1]
    alpha = page[..., 3] if page.ndim == 3 and page.shape[2] == 4 else None
    clear = image.info.get("transparency")
    if alpha is None and image.format == "PNG" and clear is not None:  # one colour is transparent
        same = np.atleast_3d(pixels) == np.array(clear, np.uint16)
        alpha = np.where(same.all(-1), 0, 65535).astype(np.uint16)
    if alpha is not None and PREMULTIPLIED in np.atleast_1d(getattr(image, "tag_v2", {}).get(EXTRA_SAMPLES, ())):
        share = np.maximum(alpha, 1)[..., None] / 65535
        pixels = np.minimum(np.atleast_3d(pixels) / share, 65535).round().astype(np.uint16).reshape(pixels.shape)
    return Frame(np.ascontiguousarray(pixels), None if alpha is None else np.ascontiguousarray(alpha))


def _turned(page: NDArray[Any], turn: int) -> NDArray[Any]:
    """An image upright, by EXIF's orientation (1 to 8)."""
    if turn in TURNED:
        page = page.swapaxes(0, 1)
    if turn in (2, 3, 6, 7):
        page = page[:, ::-1]
    if turn in (3, 4, 7, 8):
        page = page[::-1]
    return page


def _of_pillow(image: PillowImage.Image, picture: Picture) -> Frame:
    """The current frame of an image of 8 bits."""
    image.load()
    upright = image
    if picture.count > 1:
        upright = ImageOps.exif_transpose(image)
    else:
        ImageOps.exif_transpose(image, in_place=True)
    if picture.count > 1 and picture.format != "TIFF":
        upright = upright.convert("RGBA")  # frames of an animation are of one kind
    elif upright.mode in ("CMYK", "LAB"):
        upright = _to_rgb(upright, picture)
    elif upright.mode == "1":
        upright = upright.convert("L")
    elif upright.mode == "L" and not upright.has_transparency_data:
        pass
    elif upright.mode in ("L", "LA", "La"):
        upright = upright.convert("LA")
    elif upright.mode != "RGB" or upright.has_transparency_data:
        upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    pixels = np.array(upright)
    if upright.mode in ("L", "RGB"):
        return Frame(pixels)
    alpha = pixels[..., -1]
    colours = pixels[..., 0] if upright.mode == "LA" else pixels[..., :3]
    return Frame(colours, None if alpha.min() == 255 else alpha)


def _to_rgb(image: PillowImage.Image, picture: Picture) -> PillowImage.Image:
    """CMYK or Lab as sRGB, through the image's own colour profile if it has one that fits."""
    profile = picture.metadata.icc
    picture.metadata.icc = None  # it is of other colours than RGB
    target: Any = ImageCms.createProfile("sRGB")
    if image.mode == "LAB":
        own: Any = ImageCms.createProfile("LAB")
    elif profile:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    else:
        picture.notes.append("is CMYK without a colour profile; its colours become approximate")
        return image.convert("RGB")
    try:
        converted = ImageCms.profileToProfile(image, own, target, outputMode="RGB")
    except ImageCms.PyCMSError as error:
        raise ImageError(f"{picture.name}: its colour profile does not fit {image.mode} ({error})") from error
    assert converted is not None
    return converted
