"""The benchmark sets of the papers: everything that names, makes, finds or counts them reads this one list."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BenchmarkSet:
    """A set of test images."""

    name: str
    """As the papers print it."""
    folder: str
    """Its folder below ``datasets/``, as the authors of HAT call it."""
    images: int
    other_folders: tuple[str, ...] = ()
    """Other names, in lower case, that published copies of the folder have."""

    @property
    def folder_names(self) -> set[str]:
        """All names of its folder, in lower case."""
        return {self.name.lower(), self.folder.lower(), *self.other_folders}


BENCHMARK_SETS = (
    BenchmarkSet("Set5", "Set5", 5),
    BenchmarkSet("Set14", "Set14", 14),
    BenchmarkSet("BSD100", "BSDS100", 100, ("b100",)),
    BenchmarkSet("Urban100", "urban100", 100),
    BenchmarkSet("Manga109", "manga109", 109),
)

HR_FOLDERS = ("HR", "GT", "original", "GTmod12")
"""Where published copies of a set keep its images, below its folder."""
