"""Makes the demo data set, from photographs that scikit-image carries."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from .folders import PNG_LEVEL, SubImages, cut, sub_image_name
from .images import DataError, Image, encode
from .lmdb_store import write_store
from .resize import imresize

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

    pairs = {name: pair(photograph(name)) for name in (*TRAIN, *HELD_OUT)}
    train = [sub for name in TRAIN for sub in sub_images(name, *pairs[name])]
    write_store(partial / "train_GT.lmdb", ((name, gt) for name, gt, _ in train))
    write_store(partial / f"train_LRx{SCALE}.lmdb", ((name, lq) for name, _, lq in train))
    for name in HELD_OUT:
        for image, part in zip(pairs[name], ("val_GT", f"val_LRx{SCALE}")):
            (partial / part).mkdir(exist_ok=True)
            (partial / part / f"{name}.png").write_bytes(encode(image, level=PNG_LEVEL))
    partial.replace(folder)
    return {"train": len(train), "val": len(HELD_OUT)}


def photograph(name: str) -> Image:
    """A photograph of scikit-image's wheel: ``(H, W, 3)`` BGR."""
    image = getattr(skimage.data, name)()
    if isinstance(image, tuple):  # a stereo pair
        image = image[0]
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if image.ndim == 2 else cv2.COLOR_RGB2BGR)


def pair(image: Image) -> tuple[Image, Image]:
    """GT, cropped to a multiple of the scale, and LR."""
    gt = cut(image, SCALE)
    return gt, imresize(gt, 1 / SCALE)


def sub_images(name: str, gt: Image, lq: Image) -> Iterator[tuple[str, Image, Image]]:
    """Overlapping squares of a pair, those at the far borders shifted inwards: name, GT, LR.

    Their channels are rotated in turn: half a dozen photographs do not show all the colours that others have.
    """
    size = HOW.size // SCALE
    for n, (top, left) in enumerate(HOW.corners(gt.shape[0], gt.shape[1], name)):
        y, x = top // SCALE, left // SCALE
        yield (
            sub_image_name(name, n + 1),
            np.roll(gt[top : top + HOW.size, left : left + HOW.size], n % 3, -1),
            np.roll(lq[y : y + size, x : x + size], n % 3, -1),
        )
