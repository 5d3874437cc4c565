"""Ground truth alone, and a degradation that makes its low-quality partner on the fly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from basicsr.utils import bgr2ycbcr

from ..degradations import RecipeError, recipe_named, rng_of_image
from .bicubic_dataset import BicubicLRDataset
from .images import Image
from .patches import Crop, from_pixels, normalized
from .reader import Reader


class DegradedImageDataset(BicubicLRDataset):
    """GT images of any folder or store; their partner is made by ``recipe``, on the CPU.

    Options: those of `BicubicLRDataset`; ``recipe``, a name such as ``noise:25``, or a section of ``type`` and the
    recipe's options (see `hat_arch.degradations.recipe_named`); and ``color``: ``y`` makes grey images, by MATLAB's
    ``rgb2ycbcr`` on 8 bits where the file is coloured, and takes those of grey files as they are.

    For training, a patch is degraded together with some pixels around it, after it was flipped and turned, with the
    item's random generator. Otherwise the whole image is degraded, with one that depends on ``seed`` (0 by default) and
    its name alone: the same in every validation, and what ``basicsr data degrade`` writes, but for its 8 bits.

    Raises:
        UserError: there is no image, the list names what is not there, or there is no such recipe.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.recipe = recipe_named(opt["recipe"], opt["scale"])
        self.is_grey = opt.get("color") == "y"
        self.reader = Reader(opt["dataroot_gt"], opt["io_backend"], keep_grey=self.is_grey)

    @staticmethod
    def check_options(opt: dict[str, Any]) -> tuple[str, str] | None:
        """An option that cannot work, and why; None if there is none."""
        if opt.get("recipe") is None:
            return "recipe", "is missing; such as noise:25, jpeg:10-40, photo"
        try:
            recipe = recipe_named(opt["recipe"], opt["scale"])
        except RecipeError as error:
            return "recipe", str(error)
        size, least = opt.get("gt_size"), recipe.least_side
        if opt["phase"] == "train" and size and size < least:
            return "gt_size", f"{size} is smaller than the recipe's largest kernel, {least} pixels"
        return None

    def make_pair(self, image: Image, index: int, rng: np.random.Generator) -> dict[str, Any]:
        opt, scale, path = self.opt, self.opt["scale"], self.paths[index]
        gt = np.atleast_3d(self.make_gt(image, index))
        if not self.is_train:
            whole = self._tensor(gt)
            lq, gt = self.recipe(whole, rng_of_image(self.seed, self._name(path))), whole
        else:
            height, width, channels = gt.shape
            size = opt["gt_size"] // scale
            margin = min(self.recipe.margin, min(height, width) // scale - size)
            changes = opt if channels == 3 else {**opt, "use_channel_permutation": False}
            crop = Crop(rng, (height // scale, width // scale), size + margin, changes)
            whole = self._tensor(crop.augment(crop.cut(gt, scale)))
            top, left = rng.integers(margin, size=2, endpoint=True).tolist()
            lq = self.recipe(whole, rng)[:, top : top + size, left : left + size]
            gt = whole[:, top * scale :, left * scale :][:, : size * scale, : size * scale]
        return {"lq": normalized(lq, opt), "gt": normalized(gt, opt), "lq_path": path, "gt_path": path}

    def _tensor(self, image: Image) -> Any:
        """``(3, H, W)`` RGB or ``(1, H, W)``, float32 in 0…1, of ``(H, W, 3)`` BGR or ``(H, W, 1)``."""
        if self.is_grey and image.shape[2] == 3:
            image = bgr2ycbcr(np.ascontiguousarray(image), y_only=True)[..., None]
        return from_pixels(image)

    def _name(self, path: str) -> str:
        """What an image's random generator depends on: its key, or its path below the data set's folder."""
        return path if self.reader.store else Path(path).relative_to(self.reader.root).with_suffix("").as_posix()
