"""GT images alone; their LR is made while training, by MATLAB's bicubic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from basicsr.data.data_util import paths_from_lmdb
from numpy.typing import NDArray

from .folders import cut
from .images import DataError, Image, ImageError, find
from .resize import Region, imresize
from .sampling import Crop, DrawnDataset, ItemError, Reader, to_tensor


class BicubicLRDataset(DrawnDataset):
    """GT images of any folder or store; the LR is made on the fly, as ``basicsr data downsample`` would.

    Only the patch's part of the LR is computed. Options: ``dataroot_gt`` (a folder, searched with the folders in it, or
    an LMDB store), ``io_backend``, ``meta_info_file``, ``gt_size``, ``use_hflip``, ``use_rot``, ``color``, ``mean``,
    ``std``, and those of `DrawnDataset`.

    Raises:
        DataError: there is no image.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        root = opt["dataroot_gt"]
        self.reader = Reader({"gt": root}, opt["io_backend"])
        if self.reader.is_lmdb:
            self.paths = paths_from_lmdb(root)
        elif opt.get("meta_info_file") is not None:
            lines = Path(opt["meta_info_file"]).read_text(encoding="utf-8").splitlines()
            self.paths = [str(Path(root, line.split(" ")[0])) for line in lines if line.strip()]
        else:
            self.paths = [str(path) for path in find(Path(root))]
        if not self.paths:
            raise DataError(f"{root}: holds no image")

    def __len__(self) -> int:
        return len(self.paths)

    def name_of(self, index: int) -> str:
        return self.reader.name("gt", self.paths[index])

    def fit(self, gt: Image, index: int) -> NDArray:
        """The image that patches are cut from: its sides are multiples of the scale."""
        try:
            gt = cut(gt, self.opt["scale"], self.name_of(index))
        except ImageError as error:
            raise ItemError(str(error)) from error
        if self.is_train and min(gt.shape[:2]) < self.opt["gt_size"]:
            raise ItemError(f"{self.name_of(index)}: is smaller than gt_size {self.opt['gt_size']}")
        return gt

    def reduce(self, gt: NDArray, region: Region) -> NDArray:
        """A part of the LR."""
        return imresize(gt, 1 / self.opt["scale"], convention="uint8", region=region)

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        return self.pair(self.reader.image("gt", self.paths[index]), index, rng)

    def pair(self, image: Image, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """The item that image ``index`` makes."""
        opt, scale, path = self.opt, self.opt["scale"], self.paths[index]
        gt = self.fit(image, index)
        height, width = gt.shape[0] // scale, gt.shape[1] // scale
        if self.is_train:
            crop = Crop(rng, (height, width), opt["gt_size"] // scale, opt)
            lq = crop.turned(self.reduce(gt, Region(crop.top, crop.left, crop.size, crop.size)))
            gt = crop.turned(crop.of(gt, scale))
        else:
            lq = self.reduce(gt, Region(0, 0, height, width))
        return {"lq": to_tensor(lq, opt), "gt": to_tensor(gt, opt), "lq_path": path, "gt_path": path}


class ImageNetPairedDataset(BicubicLRDataset):
    """ImageNet for pre-training, as HAT's official recipe: small images are enlarged, and the LR is not rounded.

    An image with a side below ``gt_size`` is enlarged, that side to ``gt_size``, bilinearly; LR values may lie slightly
    outside 0…1.
    """

    def fit(self, gt: Image, index: int) -> NDArray:
        scale, least = self.opt["scale"], self.opt["gt_size"] if self.is_train else self.opt["scale"]
        height, width = (side - side % scale for side in gt.shape[:2])
        image: NDArray = gt[:height, :width].astype(np.float32) / 255
        if not image.size:
            raise ItemError(f"{self.name_of(index)}: is {gt.shape[0]}x{gt.shape[1]}, smaller than {scale}x{scale}")
        if min(height, width) < least:
            image = cv2.resize(image, (max(width, least), max(height, least)))
        return image

    def reduce(self, gt: NDArray, region: Region) -> NDArray:
        return imresize(gt, 1 / self.opt["scale"], region=region)
