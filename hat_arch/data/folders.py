"""Folders of images made from folders of images: modcrop, downsample, sub-images, and lists of them.

Every file is written under another name and renamed; what is there already is passed over. So each of these can be
stopped at any point and repeated.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

from PIL import Image as PillowImage

from ..utils.files import write_file
from . import parallel
from .images import GREY, DataError, Image, ImageError, encode, find, read, shown_size
from .lmdb_store import RECIPE, differences, read_recipe
from .resize import Convention, imresize

PNG_LEVEL = 3  # of folders, as BasicSR's scripts

Write = Callable[[Path, Callable[[], Image]], None]


@dataclass
class Outcome:
    """What a verb did."""

    written: int = 0
    there_already: int = 0
    bad: list[str] = field(default_factory=list)
    """A line for each image that could not be used."""
    unexpected: list[str] = field(default_factory=list)
    """Images in the target that this does not make."""


@dataclass(frozen=True)
class SubImages:
    """How an image is cut: squares of ``size``, ``step`` apart, and one at the far border if more than ``threshold``
    pixels are left there. In pixels; the defaults are those of DF2K."""

    size: int = 480
    step: int = 240
    threshold: int = 0

    def starts(self, side: int) -> list[int]:
        """First pixels of the squares along a side that is not shorter than ``size``."""
        starts = list(range(0, side - self.size + 1, self.step))
        return [*starts, side - self.size] if side - (starts[-1] + self.size) > self.threshold else starts

    def corners(self, height: int, width: int, name: object) -> list[tuple[int, int]]:
        """Top and left of every square, row by row.

        Raises:
            ImageError: the image, ``name``, is smaller than a square.
        """
        if min(height, width) < self.size:
            raise ImageError(f"{name}: is {height}x{width}, smaller than a sub-image of {self.size}")
        return [(top, left) for top in self.starts(height) for left in self.starts(width)]

    def divided(self, scale: int) -> SubImages:
        """The same squares in an image reduced by ``scale``."""
        return SubImages(self.size // scale, self.step // scale, self.threshold // scale)


def sub_image_name(stem: str, number: int) -> str:
    """BasicSR's name of a sub-image, counted from 1: a scale at the end of the stem, as in ``0001x4``, is dropped."""
    for scale in ("x2", "x3", "x4", "x8"):
        stem = stem.removesuffix(scale)
    return f"{stem}_s{number:03d}"


def cut(image: Image, scale: int, name: object = "the image") -> Image:
    """Modcrop: the image without the last rows and columns that are no multiple of ``scale``.

    Raises:
        ImageError: nothing would be left.
    """
    height, width = (side - side % scale for side in image.shape[:2])
    if not height or not width:
        raise ImageError(f"{name}: is {image.shape[0]}x{image.shape[1]}, smaller than {scale}x{scale}")
    return image[:height, :width]


def peek(path: Path) -> tuple[int, int]:
    """Height and width of an image as it is shown, from its first bytes."""
    height, width, _ = _peek(path)
    return height, width


def _peek(path: Path) -> tuple[int, int, int]:
    """Height, width and channels."""
    try:
        with PillowImage.open(path) as image:
            return (*shown_size(image), 1 if image.mode in GREY else 3)
    except (FileNotFoundError, PermissionError) as error:
        raise ImageError(f"{path}: {error.strerror}") from error
    except (OSError, SyntaxError, ValueError, PillowImage.DecompressionBombError) as error:
        empty = not path.stat().st_size
        raise ImageError(f"{path}: is empty (0 bytes)" if empty else f"{path}: is not an image, or damaged") from error


def stems(sources: Sequence[Path], folder: Path, strip: str = "") -> dict[Path, str]:
    """Paths of the sources below their folder, without suffix.

    Args:
        strip: dropped from the end of each, such as ``x4``.

    Raises:
        DataError: two sources have the same.
    """
    seen: dict[str, Path] = {}
    for source in sources:
        stem = source.relative_to(folder).with_suffix("").as_posix().removesuffix(strip)
        if stem in seen:
            raise DataError(f"{seen[stem]} and {source.name}: have the same name; rename one of them")
        seen[stem] = source
    return {source: stem for stem, source in seen.items()}


def partner(stem: str, template: str) -> str:
    """Stem of the LR of a GT, by BasicSR's ``filename_tmpl``, such as ``{}x4``."""
    folder, slash, name = stem.rpartition("/")
    return folder + slash + template.format(name)


def modcrop(source: Path, target: Path, scale: int, overwrite: bool = False) -> Outcome:
    """Crops every image to a multiple of ``scale``, from its top left, into PNG files of the same names."""
    names = stems(find(source), source)
    recipe = {"made_by": "modcrop", "source": str(source.resolve()), "scale": scale}

    def make(file: Path, write: Write) -> list[Path]:
        path = target / f"{names[file]}.png"
        write(path, lambda: cut(read(file), scale, file))
        return [path]

    return _make(list(names), [target], [recipe], make, overwrite, "modcrop")


def downsample(
    source: Path, targets: dict[int, Path], convention: Convention = "uint8", overwrite: bool = False
) -> Outcome:
    """Reduces every image, cropped to a multiple of the scale, by MATLAB's bicubic.

    Args:
        source: folder of images.
        targets: scale → folder.
        convention: how `hat_arch.data.resize.imresize` rounds.
        overwrite: make again what is there.
    """
    names = stems(find(source), source)
    recipes = [
        {"made_by": "downsample", "source": str(source.resolve()), "scale": scale, "convention": convention}
        for scale in targets
    ]

    def make(file: Path, write: Write) -> list[Path]:
        image = cache(lambda: read(file))
        paths = []
        for scale, target in targets.items():
            paths.append(target / f"{names[file]}.png")
            write(paths[-1], partial(_reduced, image, scale, convention, file))
        return paths

    return _make(list(names), list(targets.values()), recipes, make, overwrite, "downsample")


def _reduced(image: Callable[[], Image], scale: int, convention: Convention, name: Path) -> Image:
    return imresize(cut(image(), scale, name), 1 / scale, convention=convention)


def sub_images(source: Path, target: Path, how: SubImages, overwrite: bool = False) -> Outcome:
    """Cuts every image into overlapping squares, named as BasicSR's ``extract_subimages.py`` names them."""
    names = stems(find(source), source)
    taken: dict[str, Path] = {}
    for file, name in names.items():
        if (other := taken.setdefault(sub_image_name(name, 1), file)) is not file:
            raise DataError(f"{other} and {file.name}: their sub-images would have the same name; rename one of them")
    recipe = {"made_by": "sub-images", "source": str(source.resolve()), **vars(how)}

    def make(file: Path, write: Write) -> list[Path]:
        image = cache(lambda: read(file))
        paths = []
        for n, (top, left) in enumerate(how.corners(*peek(file), file)):
            paths.append(target / f"{sub_image_name(names[file], n + 1)}.png")
            write(paths[-1], partial(_square, image, top, left, how.size))
        return paths

    return _make(list(names), [target], [recipe], make, overwrite, "sub-images")


def _square(image: Callable[[], Image], top: int, left: int, size: int) -> Image:
    return image()[top : top + size, left : left + size]


def meta_info(folder: Path, file: Path, overwrite: bool = False, skip_bad: bool = False) -> Outcome:
    """Lists the images of a folder as BasicSR's ``meta_info_file`` does: ``name.png (height,width,channels)``."""
    outcome = Outcome()

    def line(path: Path) -> str:
        name = path.relative_to(folder).as_posix()
        if " " in name:
            raise ImageError(f"{path}: BasicSR cuts names in a meta info file at the first space; rename it")
        return "{} ({},{},{})\n".format(name, *_peek(path))

    lines = [text for _, text in parallel.run(line, find(folder), outcome.bad, label="meta-info")]
    data = "".join(lines).encode()
    if outcome.bad and not skip_bad:
        return outcome
    if file.exists() and file.read_bytes() == data:
        outcome.there_already = len(lines)
        return outcome
    if file.exists() and not overwrite:
        raise DataError(f"{file}: exists and says otherwise; delete it, give another name, or say --overwrite")
    write_file(file, data)
    outcome.written = len(lines)
    return outcome


def _make(
    sources: list[Path],
    targets: list[Path],
    recipes: list[dict[str, Any]],
    make: Callable[[Path, Write], list[Path]],
    overwrite: bool,
    label: str,
) -> Outcome:
    """Runs ``make(source, write)`` for all sources; ``write(path, image)`` calls ``image`` only for files not there."""
    for target, recipe in zip(targets, recipes):
        _claim(target, recipe, overwrite)
    outcome = Outcome()

    def job(source: Path) -> tuple[list[Path], int]:
        written = 0
        try:
            age = source.stat().st_mtime_ns
        except OSError as error:  # such as a link to nothing
            raise ImageError(f"{source}: {error.strerror}") from error

        def write(path: Path, image: Callable[[], Image]) -> None:
            nonlocal written
            if not overwrite and path.exists() and path.stat().st_mtime_ns >= age:
                return
            write_file(path, encode(image(), level=PNG_LEVEL))
            written += 1

        return make(source, write), written

    expected: set[Path] = set()
    for _, (paths, written) in parallel.run(job, sources, outcome.bad, label=label):
        expected.update(paths)
        outcome.written += written
        outcome.there_already += len(paths) - written
    there = {path for target in targets for path in target.rglob("*.png") if not path.name.startswith(".")}
    if not outcome.bad:
        outcome.unexpected = sorted(map(str, there - expected))
    return outcome


def _claim(target: Path, recipe: dict[str, Any], overwrite: bool) -> None:
    """Notes in the target how it is made, and refuses one that was made otherwise."""
    if target.exists() and not target.is_dir():
        raise DataError(f"{target}: is not a folder")
    if target.resolve().is_relative_to(recipe["source"]):
        raise DataError(f"{target}: is inside {recipe['source']}, and would be read the next time; name another folder")
    unfinished = f"..{RECIPE}.partial"  # of a run that was killed at once
    if target.is_dir() and any(p.name != unfinished for p in target.iterdir()) and not overwrite:
        made = read_recipe(target)
        if not made:
            raise DataError(f"{target}: holds other files; empty it, name another folder, or say --overwrite")
        if other := differences(made, recipe):
            raise DataError(f"{target}: was made with {other}; empty it, name another folder, or say --overwrite")
    target.mkdir(parents=True, exist_ok=True)
    write_file(target / f".{RECIPE}", (json.dumps(recipe, indent=1, ensure_ascii=False) + "\n").encode())
