"""Pairs of GT and LR images, from folders, folders with a meta info file, or LMDB stores."""

from __future__ import annotations

from typing import Any

import numpy as np
from basicsr.data.paired_image_dataset import PairedImageDataset

from .images import DataError
from .sampling import Crop, DrawnDataset, ItemError, Reader, to_tensor


class SeededPairedDataset(DrawnDataset):
    """Pairs as BasicSR's PairedImageDataset; random crops depend on seed, epoch and index alone.

    Takes that class's options, and ``seed`` and ``skip_broken`` of `DrawnDataset`. For training, items are patches of
    ``gt_size``; else whole images, the GT cropped to ``scale`` times the LR.

    Raises:
        DataError: the GT and LR do not pair.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        try:
            paths = PairedImageDataset({**opt, "io_backend": dict(opt["io_backend"])}).paths
        except (AssertionError, ValueError) as error:
            roots = f"{opt['dataroot_gt']} and {opt['dataroot_lq']}"
            raise DataError(f"{roots}: do not pair: {' '.join(str(error).split())}") from error
        self.paths = sorted(paths, key=lambda path: path["gt_path"])  # not the file system's order
        if not self.paths:
            raise DataError(f"{opt['dataroot_gt']}: holds no image")
        self.reader = Reader({"gt": opt["dataroot_gt"], "lq": opt["dataroot_lq"]}, opt["io_backend"])

    def __len__(self) -> int:
        return len(self.paths)

    def name_of(self, index: int) -> str:
        return self.reader.name("gt", self.paths[index]["gt_path"])

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        opt, scale, paths = self.opt, self.opt["scale"], self.paths[index]
        gt = self.reader.image("gt", paths["gt_path"])
        lq = self.reader.image("lq", paths["lq_path"])
        height, width = lq.shape[:2]
        if self.is_train:
            if gt.shape[:2] != (height * scale, width * scale):
                sizes = f"{gt.shape[0]}x{gt.shape[1]}, its LR {height}x{width}"
                raise ItemError(f"{self.name_of(index)}: is {sizes}: not {scale} times smaller")
            size = opt["gt_size"] // scale
            if min(height, width) < size:
                raise ItemError(f"{self.name_of(index)}: is smaller than gt_size {opt['gt_size']}")
            crop = Crop(rng, (height, width), size, opt)
            gt, lq = crop.turned(crop.of(gt, scale)), crop.turned(crop.of(lq, 1))
        else:
            gt = gt[: height * scale, : width * scale]
        return {"lq": to_tensor(lq, opt), "gt": to_tensor(gt, opt), **paths}
