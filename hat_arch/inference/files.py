"""Image files to larger image files: read strictly, in bounded memory, written whole or not at all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..data.build import Outcome
from ..data.images import DataError, ImageError, find_named, peek, read
from ..utils.files import replacing, write_file
from .png import PngWriter
from .upscaler import Progress, UpscaleError, Upscaler

FORMATS = {
    "png": (".png",),
    "jpg": (".jpg", ".jpeg"),
    "webp": (".webp",),
}
ENCODING = {
    "jpg": [cv2.IMWRITE_JPEG_QUALITY, 95],
    "webp": [cv2.IMWRITE_WEBP_QUALITY, 101],  # above 100: without loss
}


def targets(source: Path, out: Path, format: str | None) -> dict[Path, Path]:
    """Which file is to be made of each image.

    Args:
        source: an image, or a folder of images, with or without folders in it.
        out: a file for an image, if its name ends like one; else a folder, in which names stay as they are.
        format: one of `FORMATS`; by default what ``out`` ends in, or PNG.

    Raises:
        DataError: no such source, no image in it, or targets that cannot be.
    """
    by_name = next((name for name, suffixes in FORMATS.items() if out.suffix.lower() in suffixes), None)
    if not source.exists():
        raise DataError(f"{source}: no such file or folder")
    if source.is_file() and by_name and not out.is_dir():
        if format not in (None, by_name):
            raise DataError(f"{out}: is not named as --format {format}")
        made = {source: out}
    else:
        if out.exists() and not out.is_dir():
            raise DataError(f"{out}: is not a folder, and not named as one of the formats {', '.join(FORMATS)}")
        names = {source: source.stem} if source.is_file() else find_named(source)
        made = {file: out / f"{name}.{format or 'png'}" for file, name in names.items()}
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{out}: is inside {source}, and would be read the next time; name another folder")
    if source.resolve() in {target.resolve() for target in made.values()}:
        raise DataError(f"{source}: would be overwritten; give another name")
    return made


def upscale_files(upscaler: Upscaler, made: dict[Path, Path], channels: int, overwrite: bool = False) -> Outcome:
    """Upscales images one after the other, with a progress bar in pixels on standard error.

    An image that cannot be used or upscaled is named there at once, and the others are done.

    Args:
        upscaler: its ``report`` should write with `say`.
        made: as `targets` gives it.
        channels: of the network, 1 or 3.
        overwrite: make again what is there.
    """
    todo = {source: target for source, target in made.items() if overwrite or not target.exists()}
    outcome = Outcome(there_already=len(made) - len(todo))
    pixels = {source: _pixels(source) for source in todo}
    terminal = sys.stderr.isatty()
    bar = tqdm(
        total=sum(pixels.values()),
        desc="upscale",
        unit="px",
        unit_scale=True,
        dynamic_ncols=terminal,
        mininterval=0.2 if terminal else 30,
        disable=not todo,
    )
    before = 0
    with bar:
        for source, target in todo.items():
            try:
                upscale_file(upscaler, source, target, channels, partial(_advance, bar, before, pixels[source]))
                outcome.written += 1
            except (ImageError, UpscaleError) as error:
                line = str(error) if isinstance(error, ImageError) else f"{source}: {error}"
                outcome.bad.append(line)
                say(line)
            _advance(bar, before, pixels[source], 1)
            before += pixels[source]
    return outcome


def say(line: str) -> None:
    """A line on standard error, above the progress bar."""
    tqdm.write(f"basicsr: {line}", file=sys.stderr)


def _pixels(source: Path) -> int:
    """Of an image, by its header; 0 where it has none."""
    try:
        return peek(source).pixels
    except ImageError:
        return 0


def _advance(bar: tqdm, before: int, pixels: int, share: float) -> None:
    bar.update(before + round(share * pixels) - bar.n)


def upscale_file(
    upscaler: Upscaler, source: Path, target: Path, channels: int, progress: Progress = lambda share: None
) -> None:
    """Upscales one image. Memory holds its pixels in 8 bits and, for PNG, no more of the output than a band.

    A grey image stays grey: a network of three channels gets it three times, and their mean is taken.

    Raises:
        ImageError: it cannot be used, or the format cannot hold the output.
        UpscaleError: see `Upscaler`.
        OutOfSpace: the disk is full.
    """
    image = read(source)
    grey = image.ndim == 2
    if channels == 1 and not grey:
        raise ImageError(f"{source}: has colours, and the network is for grey images")
    lq = (
        torch.from_numpy(image)[None, None]
        if grey
        else torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None]
    )
    images = lq.expand(-1, channels, -1, -1)
    height, width = (side * upscaler.scale for side in image.shape[:2])

    def write_png(bands: Iterator[Tensor]) -> None:
        with replacing(target) as file:
            writer = PngWriter(file, height, width, 1 if grey else 3)
            for rows in _bytes(bands, grey):
                writer.write(rows)
            writer.close()

    if target.suffix.lower() == ".png":
        upscaler.in_bands(images, write_png, progress)
    else:
        whole = upscaler.in_bands(images, lambda bands: np.concatenate(list(_bytes(bands, grey))), progress)
        write_file(target, _encode(whole, target))


def _bytes(bands: Iterator[Tensor], grey: bool) -> Iterator[NDArray[np.uint8]]:
    """Bands ``(1, C, n, W)`` in 0..1 as ``(n, W, 1 or 3)``, rounded as BasicSR's `tensor2img` does."""
    for band in bands:
        values = (band.mean(1, keepdim=True) if grey else band)[0].clamp(0, 1)
        del band  # it is the largest thing in memory, and the next is made while the caller has this one
        values = values.mul_(255).round_().byte()
        yield values.permute(1, 2, 0).cpu().numpy()


def _encode(image: NDArray[np.uint8], target: Path) -> bytes:
    name = next(name for name, suffixes in FORMATS.items() if target.suffix.lower() in suffixes)
    try:
        done, data = cv2.imencode(target.suffix.lower(), image[..., ::-1], ENCODING[name])
    except cv2.error:
        done = False
    if not done:
        raise ImageError(f"{target}: {name} cannot hold {image.shape[1]}x{image.shape[0]} pixels; take --format png")
    return data.tobytes()
