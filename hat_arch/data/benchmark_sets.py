"""The benchmark sets of the papers: everything that names, makes, finds or counts them reads this one list."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class BenchmarkSet:
    """A set of test images."""

    name: str
    """As the papers print it."""
    folder: str
    """Its folder below ``datasets/``, as the authors of HAT call it."""
    images: int
    longer_than: int = 0
    """Pixels that the longer side of every image exceeds, and that of an LR image of scale 2, in some images, does
    not."""
    other_folders: tuple[str, ...] = ()
    """Other names, in lower case, that published copies of the folder have."""

    @property
    def folder_names(self) -> set[str]:
        """All names of its folder, in lower case."""
        return {self.name.lower(), self.folder.lower(), *self.other_folders}

    def is_folder(self, name: str) -> bool:
        """Whether a folder's name is this set's, also with an ending, as ``Set5_HR``."""
        return re.sub(r"[_-](hr|gt)$", "", name.lower()) in self.folder_names

    def complaint(self, count: int, sizes: Iterable[tuple[int, int]] = ()) -> str:
        """Why images cannot be this set: ``has 4 images; Set5 has 5``. Empty if they can.

        Args:
            count: of the images.
            sizes: their heights and widths, if they are to be ground truth.
        """
        if count != self.images:
            return f"has {count} images; {self.name} has {self.images}"
        for height, width in sizes:
            if max(height, width) <= self.longer_than:
                what = f"holds an image of {height}x{width}; those of {self.name} are longer than {self.longer_than}"
                return f"{what} (is this LR?)"
        return ""


BENCHMARK_SETS = (
    BenchmarkSet("Set5", "Set5", 5, 200),
    BenchmarkSet("Set14", "Set14", 14, 200),
    BenchmarkSet("BSD100", "BSDS100", 100, 400, ("b100",)),
    BenchmarkSet("Urban100", "urban100", 100, 700),
    BenchmarkSet("Manga109", "manga109", 109, 800),
)

HR_FOLDERS = ("HR", "GT", "original", "GTmod12")
"""Where published copies of a set keep its images, below its folder."""
