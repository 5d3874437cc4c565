"""GT images alone; their LR is made while training, by MATLAB's bicubic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..degradations.resize import Region, imresize
from .images import Image, ImageError, find, mod_crop
from .lmdb_store import keys
from .patches import Crop, to_tensor
from .reader import Reader, listed
from .sampling import DrawnDataset


class BicubicLRDataset(DrawnDataset):
    """GT images of any folder or store; the LR is made on the fly, as ``basicsr data downsample`` would.

    Only the patch's part of the LR is computed. Options: ``dataroot_gt`` (a folder, searched with the folders in it, or
    an LMDB store), ``io_backend``, ``meta_info_file`` (a list: no other images are taken), ``gt_size``, ``use_hflip``,
    ``use_rot``, ``color``, ``mean``, ``std``, and those of `DrawnDataset`.

    Raises:
        UserError: there is no image, or the list names what is not there.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        root = opt["dataroot_gt"]
        self.reader = Reader(root, opt["io_backend"])
        is_store = opt["io_backend"]["type"] == "lmdb"
        if opt.get("meta_info_file") is not None:
            names = listed(root, opt["io_backend"], opt["meta_info_file"])
            self.paths = names if is_store else [str(Path(root, name)) for name in names]
        elif is_store:
            self.paths = keys(Path(root))
        else:
            self.paths = [str(path) for path in find(Path(root))]

    def __len__(self) -> int:
        return len(self.paths)

    def name_of(self, index: int) -> str:
        return self.reader.name(self.paths[index])

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return self.make_pair(self.reader.image(self.paths[index]), index, rng)

    def make_pair(self, image: Image, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """The item that ``image``, number ``index``, gives: a random patch for training, else all of it."""
        opt, scale, path = self.opt, self.opt["scale"], self.paths[index]
        gt = self.make_gt(image, index)
        height, width = gt.shape[0] // scale, gt.shape[1] // scale
        if self.is_train:
            crop = Crop(rng, (height, width), opt["gt_size"] // scale, opt)
            lq = crop.augment(self.make_lq(gt, Region(crop.top, crop.left, crop.size, crop.size)))
            gt = crop.augment(crop.cut(gt, scale))
        else:
            lq = self.make_lq(gt, Region(0, 0, height, width))
        return {"lq": to_tensor(lq, opt), "gt": to_tensor(gt, opt), "lq_path": path, "gt_path": path}

    def make_gt(self, image: Image, index: int) -> NDArray:
        """The image that patches are cut from: its sides are multiples of the scale."""
        gt = mod_crop(image, self.opt["scale"], self.name_of(index))
        if self.is_train and min(gt.shape[:2]) < self.opt["gt_size"]:
            raise ImageError(f"{self.name_of(index)}: is smaller than gt_size {self.opt['gt_size']}")
        return gt

    def make_lq(self, gt: NDArray, region: Region) -> NDArray:
        """A part of the LR."""
        return imresize(gt, 1 / self.opt["scale"], convention="uint8", region=region)


class ImageNetPairedDataset(BicubicLRDataset):
    """ImageNet for pre-training, as HAT's official recipe: small images are enlarged, and the LR is not rounded.

    An image with a side below ``gt_size`` is enlarged, that side to ``gt_size``, bilinearly; LR values may lie slightly
    outside 0…1.
    """

    def make_gt(self, image: Image, index: int) -> NDArray:
        gt: NDArray = mod_crop(image, self.opt["scale"], self.name_of(index)).astype(np.float32) / 255
        if self.is_train and min(gt.shape[:2]) < (least := self.opt["gt_size"]):
            gt = cv2.resize(gt, (max(gt.shape[1], least), max(gt.shape[0], least)))
        return gt

    def make_lq(self, gt: NDArray, region: Region) -> NDArray:
        return imresize(gt, 1 / self.opt["scale"], region=region)
