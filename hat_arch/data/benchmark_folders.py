"""Finds the ground truth in published copies of a benchmark, whichever way they lay it out.

Known are images in the set's folder itself, or in ``HR``, ``GT``, ``original`` (whole images); in ``GTmod12``,
``HR/x4``, ``x4/HR``, ``x4HR``, ``image_SRF_4`` (images cropped to a multiple of that number); with names as they are,
or as ``img_001_SRF_4_HR``, ``baby_HR_x4``, beside LR images and other methods' results. Other folders, such as
``LRbicx4``, are not looked at.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from .benchmark_sets import BENCHMARK_SETS, HR_FOLDERS, BenchmarkSet
from .images import DataError, ImageError, find, peek
from .recipes import FOLDER_RECIPE

GT_FOLDER = re.compile(r"(?:hr|gt|original|images?)?[_-]?(?:(?:x|mod|srf)[_-]?(\d+))?[_-]?(?:hr|gt)?", re.I)
GT_FILE = re.compile(r"(.+?)(?:_(?:srf_|x)(\d+))?_(?:hr|gt)(?:_?x(\d+))?", re.I)


@dataclass(frozen=True)
class GroundTruth:
    """Images of a folder that may be a set's ground truth."""

    folder: Path
    multiple: int
    """What both sides were cropped to a multiple of; 1: whole images."""
    images: dict[Path, str]
    """File → name of the image, without marks such as ``_HR``."""


def set_folder(source: Path, benchmark: BenchmarkSet) -> Path | None:
    """Folder of a set: ``source`` itself, or below it, or below a folder such as ``HR`` there.

    Raises:
        DataError: there is no folder ``source``.
    """
    if not source.is_dir():
        raise DataError(f"{source}: no such folder")
    below = sorted(path for path in source.iterdir() if path.is_dir())
    gt_folders = [path for path in below if GT_FOLDER.fullmatch(path.name)]
    deeper = [path for folder in gt_folders for path in sorted(folder.iterdir()) if path.is_dir()]
    return next((path for path in (source, *below, *deeper) if benchmark.is_folder(path.name)), None)


def ground_truth(folder: Path, benchmark: BenchmarkSet, scale: int) -> GroundTruth:
    """The ground truth of a set, whole or cropped to what a scale can be made of.

    Args:
        folder: of the set.
        benchmark: how many images it has, and how large.
        scale: for which it is wanted.

    Raises:
        DataError: there is none; the message says what was expected.
    """
    found = _all(folder)
    complaints = {gt.folder: benchmark.complaint(len(gt.images), _sizes(gt)) for gt in found}
    good = [gt for gt in found if not complaints[gt.folder]]
    # best first: whole, cropped for this scale, for a part of it, for a multiple of it, which loses some pixels
    for fits in (lambda m: m == 1, lambda m: m == scale, lambda m: scale % m == 0, lambda m: m % scale == 0):
        if best := next((gt for gt in good if fits(gt.multiple)), None):
            return best
    if good:
        multiples = ", ".join(sorted({str(gt.multiple) for gt in good}))
        whole = f"for scale {scale} put the whole images into {folder / HR_FOLDERS[0]}"
        raise DataError(f"{folder}: holds images cropped to multiples of {multiples}; {whole}")
    if found:
        raise DataError("; ".join(f"{where}: {complaint}" for where, complaint in complaints.items()))
    where = f"in it or in {', '.join(HR_FOLDERS)}, HR/x{scale} or image_SRF_{scale}"
    raise DataError(f"{folder}: holds no ground truth; expected are the {benchmark.images} images {where}")


def _all(folder: Path) -> list[GroundTruth]:
    """All that may be ground truth below a set's folder, without what `hat_arch.data.prepare` has made."""
    by_folder: dict[Path, list[Path]] = {}
    for file in find(folder):
        by_folder.setdefault(file.parent, []).append(file)
    found: dict[tuple[Path, int], dict[Path, str]] = {}
    for parent, files in by_folder.items():
        multiple = _multiple(parent.relative_to(folder))
        if multiple is None or (parent / FOLDER_RECIPE).is_file():
            continue
        marked = {file: match for file in files if (match := GT_FILE.fullmatch(file.stem))}
        for file in marked or files:
            name, *numbers = marked[file].groups() if marked else (file.stem,)
            own = next((int(number) for number in numbers if number), multiple)
            found.setdefault((parent, own), {})[file] = name
    return [GroundTruth(parent, multiple, images) for (parent, multiple), images in found.items()]


def _multiple(below: Path) -> int | None:
    """What images in a folder were cropped to a multiple of, by its path below the set's folder; None: it has no GT."""
    multiple = 1
    for part in below.parts:
        match = GT_FOLDER.fullmatch(part)
        if match is None and not any(benchmark.is_folder(part) for benchmark in BENCHMARK_SETS):
            return None
        multiple = int(match[1]) if match and match[1] else multiple
    return multiple


def _sizes(gt: GroundTruth) -> list[tuple[int, int]]:
    """Height and width of every image; one that cannot be read is named when it is used."""
    sizes = []
    for file in gt.images:
        try:
            header = peek(file)
        except ImageError:
            continue
        sizes.append((header.height, header.width))
    return sizes
