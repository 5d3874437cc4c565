"""Ground truth for real-world training, which the model degrades."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.data.realesrgan_dataset import RealESRGANDataset as BasicSRDataset
from numpy.typing import NDArray
from torch import Tensor

from ..degradations import option_keys, recipe_named
from .images import find
from .lmdb_store import keys
from .patches import Crop, to_tensor
from .reader import Reader, listed
from .sampling import DrawnDataset

NAME = "realesrgan"
CROP_PAD_SIZE = 400  # pixels, as in BasicSR


class RealESRGANDataset(DrawnDataset, BasicSRDataset):
    """BasicSR's data set of this name, and a subclass of it, whose items depend on seed, epoch and image alone.

    Images of a folder (searched with the folders in it) or an LMDB store, or those alone that ``meta_info`` lists;
    small ones are mirrored at the bottom and right. Each item has a random square of ``crop_pad_size`` pixels (400 by
    default), larger than the patch to train on, which is cut out when it is degraded. Other options: ``dataroot_gt``,
    ``io_backend``, ``use_hflip``, ``use_rot``, those of `DrawnDataset`, and of the degradation, for BasicSR's models.

    Items: ``gt`` ``(3, S, S)`` RGB in 0…1; ``gt_path``; ``draw``: seed, draw and index, of which the models of this
    project make the random generator that degrades the image; ``kernel1``, ``kernel2``, ``sinc_kernel``, with which
    BasicSR's own models do it.

    Raises:
        UserError: there is no image, or the list names what is not there.
    """

    option_keys = option_keys(NAME)
    """Options that it reads beside those that its source names."""

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        root, backend = opt["dataroot_gt"], opt["io_backend"]
        self.reader = Reader(root, backend)
        is_store = backend["type"] == "lmdb"
        if opt.get("meta_info") is not None:
            names = listed(root, backend, opt["meta_info"])
            self.paths = names if is_store else [str(Path(root, name)) for name in names]
        else:
            self.paths = keys(Path(root)) if is_store else [str(path) for path in find(Path(root))]
        side = opt.get("crop_pad_size", CROP_PAD_SIZE)
        self.side = side - side % opt.get("scale", 1)
        self.recipe: Any = recipe_named({"type": NAME, **{k: opt[k] for k in self.option_keys if k in opt}}, 1)

    def __len__(self) -> int:
        return len(self.paths)

    def name_of(self, index: int) -> str:
        return self.reader.name(self.paths[index])

    def __getitem__(self, position: int) -> dict[str, Any]:
        item = super().__getitem__(position)
        return {**item, "draw": torch.tensor([self.seed, *divmod(position, len(self))])}

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        path = self.paths[index]
        image: NDArray = self.reader.image(path)
        below, right = (max(0, self.side - side) for side in image.shape[:2])
        if below or right:
            image = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REFLECT_101)
        crop = Crop(rng, image.shape[:2], self.side, self.opt)
        gt = to_tensor(crop.augment(crop.cut(image, 1)), self.opt)
        names = ("kernel1", "kernel2", "sinc_kernel")
        kernels: dict[str, Tensor] = dict(zip(names, map(torch.from_numpy, self.recipe.kernels(rng))))
        return {"gt": gt, "gt_path": path, **kernels}
