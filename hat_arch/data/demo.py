"""Makes the demo data set, from photographs that scikit-image carries."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from ..degradations.resize import imresize
from .images import PNG_LEVEL, DataError, Image, encode, mod_crop
from .lmdb_store import write_store
from .sub_images import SubImages, sub_image_name

TRAIN = ("astronaut", "chelsea", "stereo_motorcycle", "camera", "brick", "immunohistochemistry")
HELD_OUT = ("coffee", "rocket")
SCALE = 4
HOW = SubImages(192, 96)


def make_demo(folder: Path) -> dict[str, int]:
    """Makes the demo data set in ``folder``, all at once or not at all.

    ``train_GT.lmdb`` and ``train_LRx4.lmdb`` hold overlapping sub-images; ``val_GT/`` and ``val_LRx4/`` the held-out
    photographs. The LR images are the GT images, cropped to a multiple of 4, reduced by MATLAB's antialiased bicubic.

    Returns:
        Number of sub-images (``train``) and of held-out images (``val``).

    Raises:
        DataError: the folder exists.
    """
    if folder.exists():
        raise DataError(f"{folder}: exists")
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    train: dict[str, dict[str, Image]] = {"GT": {}, "LRx4": {}}
    for name in TRAIN:
        for part, image in gt_and_lr(photograph(name)).items():
            train[part].update(sub_images(name, image, HOW if part == "GT" else HOW.divided(SCALE)))
    for part, images in train.items():
        write_store(partial / f"train_{part}.lmdb", images.items())
    for name in HELD_OUT:
        for part, image in gt_and_lr(photograph(name)).items():
            (partial / f"val_{part}").mkdir(exist_ok=True)
            (partial / f"val_{part}/{name}.png").write_bytes(encode(image, level=PNG_LEVEL))
    partial.replace(folder)
    return {"train": len(train["GT"]), "val": len(HELD_OUT)}


def photograph(name: str) -> Image:
    """A photograph of scikit-image's wheel: ``(H, W, 3)`` BGR."""
    image = getattr(skimage.data, name)()
    if isinstance(image, tuple):  # a stereo pair
        image = image[0]
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)


def gt_and_lr(image: Image) -> dict[str, Image]:
    """GT, cropped to a multiple of the scale, and LR."""
    gt = mod_crop(image, SCALE)
    return {"GT": gt, f"LRx{SCALE}": imresize(gt, 1 / SCALE)}


def sub_images(name: str, image: Image, how: SubImages) -> dict[str, Image]:
    """Overlapping squares of an image, by name.

    Their channels are rotated in turn: half a dozen photographs do not show all the colours that others have.
    """
    return {sub_image_name(name, n + 1): np.roll(square, n % 3, -1) for n, square in enumerate(how.cut(image))}
