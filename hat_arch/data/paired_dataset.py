"""Pairs of GT and LR images, from folders, folders with a meta info file, or LMDB stores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .images import DataError, ImageError, find_named, lq_name
from .lmdb_store import keys
from .patches import Crop, to_tensor
from .reader import Reader, listed
from .sampling import DrawnDataset


class SeededPairedDataset(DrawnDataset):
    """Pairs as BasicSR's PairedImageDataset; random crops depend on seed, epoch and image alone.

    Takes that class's options, and those of `DrawnDataset`. Folders may hold folders. For training, items are patches
    of ``gt_size``; else whole images, the GT cropped to ``scale`` times the LR.

    Raises:
        UserError: the GT and LR do not pair, or the list names what is not there.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.paths = sorted(_pairs(opt), key=lambda path: path["gt_path"])  # not the file system's order
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
    """``gt_path`` and ``lq_path`` of every pair: files, or keys of stores, which are the same for both."""
    gt, lq, template = opt["dataroot_gt"], opt["dataroot_lq"], opt.get("filename_tmpl", "{}")
    names = listed(gt, opt["io_backend"], opt["meta_info_file"]) if opt.get("meta_info_file") is not None else None
    if opt["io_backend"]["type"] == "lmdb":
        there = keys(Path(gt))
        if alone := sorted(set(there) ^ set(keys(Path(lq)))):
            raise DataError(f"{gt} and {lq}: do not pair: {len(alone)} keys are in one alone, such as '{alone[0]}'")
        return [{"gt_path": key, "lq_path": key} for key in (there if names is None else names)]
    if names is not None:
        return [{"gt_path": str(Path(gt, name)), "lq_path": str(_lq_of(name, lq, template))} for name in names]

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


def _lq_of(name: str, folder: str, template: str) -> Path:
    """The LR file of a listed GT, with the same suffix. Raises a `DataError` if it is not there."""
    path = Path(folder, lq_name(Path(name).with_suffix("").as_posix(), template) + Path(name).suffix)
    if not path.is_file():
        raise DataError(f"{folder}: has no '{path.relative_to(folder)}', the LR of the listed '{name}'")
    return path
