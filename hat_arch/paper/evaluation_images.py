"""The images that networks are measured on: which files a benchmark set has, and how HR and LR are read or made.

Images are uint8 ``(H, W, 3)`` BGR, also of grey files (three equal channels), as BasicSR reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor

from ..data import images
from ..data.benchmark_sets import ALL_SETS, HR_FOLDERS, BenchmarkSet
from ..data.images import DataError, ImageError, mod_crop
from ..degradations.resize import imresize

Image = NDArray[np.uint8]
Downsample = Literal["pil", "matlab"]
"""``matlab``: the papers' LR images. ``pil``: Pillow's bicubic, of which the authors of HAT made attribution maps."""


class MissingError(DataError):
    """A set is not there; the message names what was looked for."""


@dataclass(frozen=True)
class ImageFiles:
    """Files of one test image."""

    name: str
    gt: Path
    lr: Path | None
    """None: the LR is made from the ground truth."""


def find_images(
    root: Path, set_name: str, scale: int, lr_folder: str = "LRbicx{scale}", make_lr: bool = True
) -> list[ImageFiles]:
    """The images of a set at a scale, sorted by name.

    Ground truth is looked for in ``GTmod{scale}`` (unless the scale is 1), then in `HR_FOLDERS`, then in the set's
    folder itself.

    Args:
        root: folder of the sets, such as ``datasets``.
        set_name: as the tables print it.
        scale: GT side / LR side.
        lr_folder: folder of the LR images in the set's.
        make_lr: whether the LR is made from the ground truth where that folder is not there.

    Raises:
        MissingError: no such set.
        DataError: it has another number of images than it should, an image in one folder alone, or two of one name.
    """
    known = next((one for one in ALL_SETS if one.name == set_name), BenchmarkSet(set_name, set_name, 0))
    folders = sorted(root.iterdir()) if root.is_dir() else []
    folder = next((one for one in folders if one.is_dir() and one.name.lower() in known.folder_names), None)
    if folder is None:
        raise MissingError(f"{root / known.folder}: no such folder")
    choices = [*([f"GTmod{scale}"] if scale > 1 else []), *HR_FOLDERS]
    gt_folder = next((folder / choice for choice in choices if (folder / choice).is_dir()), folder)
    gts = _by_name(gt_folder, recursive=gt_folder is not folder)
    if not gts:
        raise MissingError(f"{folder / choices[0]}: no images")
    if known.images not in (0, len(gts)):  # 0: any number
        raise DataError(f"{gt_folder}: has {len(gts)} images; {set_name} has {known.images}")
    lr = folder / lr_folder.format(scale=scale)
    if not lr.is_dir():
        if make_lr:
            return [ImageFiles(name, gt, None) for name, gt in gts.items()]
        raise MissingError(f"{lr}: no such folder")
    lrs = _by_name(lr)
    if alone := sorted(gts.keys() ^ lrs.keys()):
        where, other = (gt_folder, lr) if alone[0] in gts else (lr, gt_folder)
        raise DataError(f"{where / alone[0]}: has no partner in {other}; both folders need the same names")
    return [ImageFiles(name, gt, lrs[name]) for name, gt in gts.items()]


def _by_name(folder: Path, recursive: bool = True) -> dict[str, Path]:
    """Images by their name without suffix."""
    try:
        found = images.find(folder)
    except DataError as error:
        raise MissingError(str(error)) from error
    files: dict[str, Path] = {}
    for path in found:
        if recursive or path.parent == folder:
            if path.stem in files:
                raise DataError(f"{path}: {files[path.stem]} has the same name; keep one")
            files[path.stem] = path
    return files


def read_images(files: ImageFiles, scale: int) -> tuple[Image, Image]:
    """GT, cropped to a multiple of the scale, and LR, read or made as MATLAB does from a uint8 image.

    Raises:
        ImageError: one is damaged, has not 8 bits a channel, is smaller than the scale, or the LR has another size.
    """
    if files.lr is None:
        return read_hr(files.gt, scale)
    gt, lr = _cropped(_read(files.gt), scale, files.gt), _read(files.lr)
    height, width = (side // scale for side in gt.shape[:2])
    if lr.shape[:2] != (height, width):
        raise ImageError(
            f"{files.lr}: is {lr.shape[0]}x{lr.shape[1]}, and {files.gt} needs {height}x{width} at x{scale}; make it "
            f"again with: basicsr data downsample {files.gt.parent} {files.lr.parent} --scale {scale} --overwrite"
        )
    return gt, lr


def read_hr(
    file: Path, scale: int, downsample: Downsample = "matlab", crop: tuple[int, ...] | None = None
) -> tuple[Image, Image]:
    """GT, cropped to a multiple of the scale, and the LR image that is made from it.

    ``crop`` is the left, top, width and height of a part to cut out first. Raises `DataError` if it is not inside.
    """
    gt = _read(file)
    if crop is not None:
        require_inside("--crop", crop, gt, file)
        x, y, width, height = crop
        gt = gt[y : y + height, x : x + width]
    gt = _cropped(gt, scale, file)
    if downsample == "matlab":
        return gt, imresize(gt, 1 / scale, convention="uint8")
    size = gt.shape[1] // scale, gt.shape[0] // scale
    return gt, np.asarray(PillowImage.fromarray(gt).resize(size, PillowImage.Resampling.BICUBIC))


def read_pair(file: Path, lr_file: Path, scale: int) -> tuple[Image, Image]:
    """GT, cropped to a multiple of the scale, and the LR image of a file.

    Raises:
        DataError: the LR image has another size than the GT at that scale.
    """
    gt, lr = _cropped(_read(file), scale, file), _read(lr_file)
    rows, columns = (side // scale for side in gt.shape[:2])
    if lr.shape[:2] != (rows, columns):
        size = f"{lr.shape[1]}x{lr.shape[0]} pixels; at scale {scale}, {file} has LR of {columns}x{rows}"
        raise DataError(f"{lr_file}: {size}")
    return gt, lr


def _read(file: Path) -> Image:
    image = images.read(file)
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image  # type: ignore[return-value]


def _cropped(image: Image, scale: int, file: Path) -> Image:
    return np.ascontiguousarray(mod_crop(image, scale, file))


def require_inside(
    option: str, part: tuple[int, ...], image: Image, file: Path, corner: tuple[int, ...] = (0, 0)
) -> None:
    """Raises `DataError`, which names an option, unless left, top, width and height describe a part of an image.

    The image was cut out of ``file`` at ``corner``, left and top; ``part`` is counted from there.
    """
    x, y, width, height = part
    rows, columns = image.shape[:2]
    if min(x, y) < 0 or min(width, height) < 1 or x + width > columns or y + height > rows:
        what = f"{width}x{height} pixels at {x + corner[0]},{y + corner[1]}"
        where = f" from {corner[0]},{corner[1]}" if any(corner) else ""
        raise DataError(f"{option}: {what} do not lie inside {file} ({columns}x{rows}{where} after cropping)")


def to_tensor(image: Image) -> Tensor:
    """``(H, W, 3)`` BGR to ``(1, 3, H, W)`` RGB in 0..1, float32."""
    return torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))[None].float() / 255
