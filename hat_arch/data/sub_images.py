"""Sub-images: the overlapping squares that large photographs are cut into for training, as BasicSR cuts them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .images import DataError, Image, ImageError, peek
from .parallel import map_images


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
            ImageError: the image, called ``name``, is smaller than a square.
        """
        self.check(height, width, name)
        return [(top, left) for top in self.starts(height) for left in self.starts(width)]

    def check(self, height: int, width: int, name: object) -> None:
        """Raises an `ImageError` for an image that is smaller than a square."""
        if min(height, width) < self.size:
            raise ImageError(f"{name}: is {height}x{width}, smaller than a sub-image of {self.size}")

    def cut(self, image: Image) -> list[Image]:
        """The squares of an image, row by row: views. Raises `ImageError` as `corners`."""
        height, width = image.shape[:2]
        corners = self.corners(height, width, "the image")
        return [image[top : top + self.size, left : left + self.size] for top, left in corners]

    def divided(self, scale: int) -> SubImages:
        """The same squares in an image reduced by ``scale``."""
        return SubImages(self.size // scale, self.step // scale, self.threshold // scale)


def sub_image_name(name: str, number: int) -> str:
    """BasicSR's name of a sub-image, counted from 1: a scale at the end of the name, as in ``0001x4``, is dropped."""
    for scale in ("x2", "x3", "x4", "x8"):
        name = name.removesuffix(scale)
    return f"{name}_s{number:03d}"


def sub_image_names(sources: dict[Path, str], how: SubImages, multiple: int, bad: list[str]) -> dict[Path, list[str]]:
    """Names of the sub-images of every image, cropped to a ``multiple``, from the sizes in the files' first bytes.

    Args:
        sources: image → name.
        how: size and places of the sub-images.
        multiple: of pixels, that the images will be cropped to.
        bad: receives a line for each image that cannot be used; it is left out of the result.

    Raises:
        DataError: two images would give the same names.
    """
    names: dict[Path, list[str]] = {}
    taken: dict[str, Path] = {}

    def count(file: Path) -> int:
        header = peek(file, heif=True)
        how.check(header.height, header.width, file)
        height, width = (side - side % multiple for side in (header.height, header.width))
        return len(how.corners(height, width, file))

    for file, number in map_images(count, sources, bad, "sizes"):
        names[file] = [sub_image_name(sources[file], n) for n in range(1, number + 1)]
        other = taken.setdefault(names[file][0], file)
        if other is not file:
            raise DataError(f"{other} and {file}: their sub-images would have the same names; rename one of them")
    return names
