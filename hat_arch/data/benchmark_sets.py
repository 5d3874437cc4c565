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


URBAN100 = BenchmarkSet("Urban100", "urban100", 100, 700)
BENCHMARK_SETS = (
    BenchmarkSet("Set5", "Set5", 5, 200),
    BenchmarkSet("Set14", "Set14", 14, 200),
    BenchmarkSet("BSD100", "BSDS100", 100, 400, ("b100",)),
    URBAN100,
    BenchmarkSet("Manga109", "manga109", 109, 800),
)
"""Of super-resolution."""
RESTORATION_SETS = (
    BenchmarkSet("Set12", "Set12", 12),
    BenchmarkSet("BSD68", "BSD68", 68),
    BenchmarkSet("CBSD68", "CBSD68", 68),
    BenchmarkSet("Kodak24", "Kodak24", 24, 0, ("kodak",)),
    BenchmarkSet("McMaster", "McMaster", 18, 0, ("mcm",)),
    BenchmarkSet("Classic5", "Classic5", 5),
    BenchmarkSet("LIVE1", "LIVE1", 29),
    URBAN100,
)
"""Of denoising and the removal of JPEG's artefacts: whole images, from which the degraded ones are made."""
ALL_SETS = tuple(dict.fromkeys((*BENCHMARK_SETS, *RESTORATION_SETS)))

HR_FOLDERS = ("HR", "GT", "original", "GTmod12")
"""Where published copies of a set keep its images, below its folder."""
