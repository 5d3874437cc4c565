"""GT images at several scales at once, for multi-related-task pre-training."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch

from .bicubic_dataset import ImageNetPairedDataset


class MultiScaleImageNetDataset(ImageNetPairedDataset):
    """Each item is one image at all ``scales``, an own random patch for each, made as `ImageNetPairedDataset` makes it.

    Options: those of that class, and ``scales`` (default 2, 3, 4). ``gt_size`` is that of ``scale``; LR patches are of
    one size at all scales. For training alone.

    Items: ``lq`` ``(3 · len(scales), H, W)`` and ``gt`` ``(3, H · W · sum(scale²))``, RGB in 0…1: the images one after
    the other, as `MultiTaskHAT` takes and gives them.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        size = opt["gt_size"] // opt["scale"]
        self.tasks = []
        for scale in opt.get("scales", (2, 3, 4)):
            task = copy.copy(self)  # with the same list of images, of which ImageNet has 1.3 million
            task.opt = {**opt, "scale": scale, "gt_size": size * scale}
            self.tasks.append(task)

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        path = self.paths[index]
        image = self.reader.image(path)
        pairs = [task.make_pair(image, index, rng) for task in self.tasks]
        lq, gt = torch.cat([pair["lq"] for pair in pairs]), torch.cat([pair["gt"].flatten(1) for pair in pairs], -1)
        return {"lq": lq, "gt": gt, "lq_path": path, "gt_path": path}
