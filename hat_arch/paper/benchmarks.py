"""The test images of a table: where they lie, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..data.benchmark_sets import BENCHMARK_SETS, HR_FOLDERS
from ..data.images import DataError, ImageError, decode, find, read_bytes
from ..data.resize import imresize
from ..utils.files import digest

Image = NDArray[np.uint8]

SETS = {one.name: one for one in BENCHMARK_SETS}


class MissingError(DataError):
    """A set is not there; the message names what was looked for."""


@dataclass(frozen=True)
class Sample:
    """Files of one test image."""

    name: str
    gt: Path
    lr: Path | None
    """None: the LR is made from the ground truth."""


@dataclass(frozen=True)
class Pair:
    """One test image as BasicSR reads it, ``(H, W, 3)`` BGR both: grey is three equal channels."""

    gt: Image
    """Cropped to a multiple of the scale."""
    lr: Image
    digest: str
    """Checksum of both."""


def samples(root: Path, name: str, scale: int, lr_folder: str = "LRbicx{scale}", make_lr: bool = True) -> list[Sample]:
    """The images of a set at a scale, sorted by name.

    Ground truth is looked for in ``GTmod{scale}``, then in `HR_FOLDERS`, then in the set's folder itself.

    Args:
        root: folder of the sets, such as ``datasets``.
        name: of the set, as the tables print it.
        scale: GT side / LR side.
        lr_folder: folder of the LR images in the set's.
        make_lr: whether the LR is made from the ground truth where that folder is not there.

    Raises:
        MissingError: no such set.
        DataError: it has another number of images than it should, an image in one folder alone, or two of one name.
    """
    folder = _folder(root, name)
    choices = [f"GTmod{scale}", *HR_FOLDERS]
    gt_folder = next((folder / choice for choice in choices if (folder / choice).is_dir()), folder)
    files = _by_name(gt_folder, recursive=gt_folder is not folder)
    wanted = SETS[name].images if name in SETS else None
    if not files:
        raise MissingError(f"{folder / choices[0]}: no images")
    if wanted not in (None, len(files)):
        raise DataError(f"{gt_folder}: has {len(files)} images; {name} has {wanted}")
    lr = folder / lr_folder.format(scale=scale)
    if not lr.is_dir():
        if not make_lr:
            raise MissingError(f"{lr}: no such folder")
        return [Sample(stem, gt, None) for stem, gt in files.items()]
    lrs = _by_name(lr)
    if alone := sorted(files.keys() ^ lrs.keys()):
        where, other = (gt_folder, lr) if alone[0] in files else (lr, gt_folder)
        raise DataError(f"{where / alone[0]}: has no partner in {other}; both folders need the same names")
    return [Sample(stem, gt, lrs[stem]) for stem, gt in files.items()]


def _folder(root: Path, name: str) -> Path:
    standard = SETS[name].folder if name in SETS else name
    names = SETS[name].folder_names if name in SETS else {name.lower()}
    there = sorted(root.iterdir()) if root.is_dir() else []
    for folder in there:
        if folder.is_dir() and folder.name.lower() in names:
            return folder
    raise MissingError(f"{root / standard}: no such folder")


def _by_name(folder: Path, recursive: bool = True) -> dict[str, Path]:
    """Images by name without suffix."""
    try:
        found = find(folder)
    except ImageError:
        raise
    except DataError as error:
        raise MissingError(str(error)) from error
    files: dict[str, Path] = {}
    for path in found:
        if not recursive and path.parent != folder:
            continue
        if path.stem in files:
            raise DataError(f"{path}: {files[path.stem]} has the same name; keep one")
        files[path.stem] = path
    return files


def load(sample: Sample, scale: int) -> Pair:
    """Reads an image and its LR, or makes the LR as MATLAB does from a uint8 image.

    Raises:
        ImageError: damaged, not 8 bits a channel, smaller than the scale, or the LR has another size.
    """
    data = read_bytes(sample.gt)
    whole = _colour(decode(data, sample.gt))
    height, width = (side // scale for side in whole.shape[:2])
    if min(height, width) < 1:
        raise ImageError(f"{sample.gt}: {whole.shape[0]}x{whole.shape[1]} pixels are too few for x{scale}")
    gt = np.ascontiguousarray(whole[: height * scale, : width * scale])
    if sample.lr is None:
        return Pair(gt, imresize(gt, size=(height, width), convention="uint8"), digest(data + b"made"))
    lr_data = read_bytes(sample.lr)
    lr = _colour(decode(lr_data, sample.lr))
    if lr.shape[:2] != (height, width):
        raise ImageError(
            f"{sample.lr}: is {lr.shape[0]}x{lr.shape[1]}, and {sample.gt} needs {height}x{width} at x{scale}; make it "
            f"again with: basicsr data downsample {sample.gt.parent} {sample.lr.parent} --scale {scale} --overwrite"
        )
    return Pair(gt, lr, digest(data + lr_data))


def _colour(image: Image) -> Image:
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image  # type: ignore[return-value]
