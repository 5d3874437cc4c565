"""Pairs of GT and LR images, from folders, folders with a meta info file, or LMDB stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from basicsr.data.data_util import paired_paths_from_lmdb, paired_paths_from_meta_info_file

from .images import DataError, ImageError, find_named, lq_name
from .patches import Crop, to_tensor
from .reader import Reader
from .sampling import DrawnDataset


class SeededPairedDataset(DrawnDataset):
    """Pairs as BasicSR's PairedImageDataset; random crops depend on seed, epoch and image alone.

    Takes that class's options, and those of `DrawnDataset`. Folders may hold folders. For training, items are patches
    of ``gt_size``; else whole images, the GT cropped to ``scale`` times the LR.

    Raises:
        DataError: the GT and LR do not pair.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.paths = sorted(_pairs(opt), key=lambda path: path["gt_path"])  # not the file system's order
        if not self.paths:
            raise DataError(f"{opt['dataroot_gt']}: holds no image")
        self.gt, self.lq = (Reader(opt[root], opt["io_backend"]) for root in ("dataroot_gt", "dataroot_lq"))

    def __len__(self) -> int:
        return len(self.paths)

    def name_of(self, index: int) -> str:
        return self.gt.name(self.paths[index]["gt_path"])

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        opt, scale, paths = self.opt, self.opt["scale"], self.paths[index]
        gt, lq = self.gt.image(paths["gt_path"]), self.lq.image(paths["lq_path"])
        height, width = lq.shape[:2]
        if self.is_train:
            if gt.shape[:2] != (height * scale, width * scale):
                sizes = f"{gt.shape[0]}x{gt.shape[1]}, its LR {height}x{width}"
                raise ImageError(f"{self.name_of(index)}: is {sizes}: not {scale} times smaller")
            size = opt["gt_size"] // scale
            if min(height, width) < size:
                raise ImageError(f"{self.name_of(index)}: is smaller than gt_size {opt['gt_size']}")
            crop = Crop(rng, (height, width), size, opt)
            gt, lq = crop.augment(crop.cut(gt, scale)), crop.augment(crop.cut(lq, 1))
        else:
            gt = gt[: height * scale, : width * scale]
        return {"lq": to_tensor(lq, opt), "gt": to_tensor(gt, opt), **paths}


def _pairs(opt: dict[str, Any]) -> list[dict[str, str]]:
    """``gt_path`` and ``lq_path`` of every pair: files, or keys of stores."""
    gt, lq, template = opt["dataroot_gt"], opt["dataroot_lq"], opt.get("filename_tmpl", "{}")
    try:
        if opt["io_backend"]["type"] == "lmdb":
            return paired_paths_from_lmdb([lq, gt], ["lq", "gt"])
        if opt.get("meta_info_file") is not None:
            return paired_paths_from_meta_info_file([lq, gt], ["lq", "gt"], opt["meta_info_file"], template)
    except (AssertionError, ValueError) as error:
        raise DataError(f"{gt} and {lq}: do not pair: {' '.join(str(error).split())}") from error

    unpaired = {name: file for file, name in find_named(Path(lq)).items()}
    pairs = []
    for file, name in find_named(Path(gt)).items():
        partner = unpaired.pop(lq_name(name, template), None)
        if partner is None:
            raise DataError(f"{lq}: has no '{lq_name(name, template)}', the LR of {file}")
        pairs.append({"gt_path": str(file), "lq_path": str(partner)})
    if unpaired:
        raise DataError(f"{gt}: has no GT for {min(unpaired.values())}")
    return pairs
