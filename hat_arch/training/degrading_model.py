"""What the models of real-world training have in common: they make the LR images that they train on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from basicsr.utils import USMSharp, get_root_logger
from torch import Tensor

from ..data.real_world_dataset import CROP_PAD_SIZE
from ..degradations import Recipe, option_keys, recipe_named
from ..utils.errors import UserError
from .hat_model import HATModel, TrainingError
from .pool import Pool

REALESRGAN = "realesrgan"
POOL = 180  # pairs, as in BasicSR
SHARPENING = 51  # pixels of the side of the kernel of BasicSR's `USMSharp`


class DegradingModel(HATModel):
    """`HATModel` that degrades ground truth to the LR that it trains on, with what it needs to do so reproducibly.

    Options on top of the file, beside the network's:

    * ``recipe``: a degradation (see `hat_arch.degradations.recipe_named`). By default Real-ESRGAN's, with the settings
      that stand on top and in ``datasets: train``, as in BasicSR's files.
    * ``gt_size``: side of the ground truth's patch, cut out of what was degraded.
    * ``queue_size``: pairs of the pool (see `Pool`), 180 by default; 0 for none.
    * ``high_order_degradation``: false to train on pairs.

    The LR depends on the seed, the epoch and the image alone: each item says so in ``draw``. Pool and moving average go
    into the checkpoints. Validation is that of `HATModel`, on pairs.
    """

    option_keys = option_keys(REALESRGAN)
    """Options on top that it reads beside those that its source names."""
    degrades = False
    validating = False

    @classmethod
    def option_problems(cls, opt: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from super().option_problems(opt)
        for key, value in opt.items():
            if key.endswith("_usm") and not isinstance(value, bool):
                yield (key,), f"should be true or false, is {value!r}"
        data, size, queue = opt["datasets"].get("train", {}), opt.get("gt_size"), opt.get("queue_size", POOL)
        if not opt.get("high_order_degradation", True):
            return
        batch = data.get("batch_size_per_gpu") or 1
        if not isinstance(queue, int) or queue < 0 or queue % batch:
            yield ("queue_size",), f"{queue} is not a multiple of batch_size_per_gpu {batch}"
        try:
            recipe = recipe_of(opt)
        except UserError as error:
            yield ("recipe",) if "recipe" in opt else ("model_type",), str(error)
            return
        if not isinstance(size, int):
            yield ("gt_size",), "is missing: the side of the patches of ground truth, in pixels"
        elif size % opt["scale"]:
            yield ("gt_size",), f"{size} is not a multiple of scale {opt['scale']}"
        elif size < (least := max(recipe.least_side, SHARPENING // 2 + 1)):
            yield ("gt_size",), f"{size} is smaller than the kernels of the degradation: {least} at least"
        elif (around := data.get("crop_pad_size", CROP_PAD_SIZE)) < size:
            yield ("datasets", "train", "crop_pad_size"), f"{around} is smaller than gt_size {size}"

    def init_training_settings(self) -> None:
        self.sharpener = USMSharp().to(self.device)
        self.degrades = self.opt.get("high_order_degradation", True)
        if self.degrades:
            self.recipe = recipe_of(self.opt)
            seed = (self.opt.get("manual_seed") or 0) + self.opt["rank"]
            self.pool = Pool(self.opt.get("queue_size", POOL), seed)
        super().init_training_settings()

    def sharpens(self) -> bool:
        """Whether ground truth is sharpened before it is degraded."""
        raise NotImplementedError

    def feed_data(self, data: dict[str, Any]) -> None:
        if self.degrades and not self.validating:
            data = self.degraded(data)
        super().feed_data(data)

    @torch.no_grad()
    def degraded(self, data: dict[str, Any]) -> dict[str, Any]:
        """The batch to train on: LR and GT of the images of ``data``, or of those of the pool."""
        if "draw" not in data:
            kind = self.opt["datasets"]["train"]["type"]
            raise TrainingError(
                f"datasets: train: {kind} does not say how its items were drawn: take RealESRGANDataset, or, for "
                "pairs, set high_order_degradation: false"
            )
        gt = data["gt"].to(self.device)
        good = self.sharpener(gt) if self.sharpens() else gt
        pairs = [self.pair(*images) for images in zip(gt, good, data["draw"].tolist())]
        lq, gt = self.pool.exchange(*(in_8_bits(torch.stack(images)) for images in zip(*pairs)))
        return {"lq": lq.float() / 255, "gt": gt.float() / 255}

    def pair(self, gt: Tensor, good: Tensor, draw: list[int]) -> tuple[Tensor, Tensor]:
        """LR and GT patch of an image ``(C, H, W)``; the LR is made of ``good``, the image or its sharpened self."""
        rng = np.random.default_rng((*draw, 1))  # others than those that cut the image out
        lq, scale, side = self.recipe(good, rng), self.opt["scale"], self.opt["gt_size"] // self.opt["scale"]
        top, left = (int(rng.integers(length - side + 1)) for length in lq.shape[-2:])
        lq = lq[:, top : top + side, left : left + side]
        y, x, side = top * scale, left * scale, side * scale
        return lq, gt[:, y : y + side, x : x + side]

    def validation(self, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
        self.validating = True
        try:
            super().validation(dataloader, current_iter, tb_logger, save_img)
        finally:
            self.validating = False

    def of_process(self) -> dict[str, Any]:
        return super().of_process() | ({"pool": self.pool.state()} if self.degrades else {})

    def restore_process(self, state: dict[str, Any]) -> None:
        super().restore_process(state)
        if not self.degrades:
            return
        if "pool" in state:
            self.pool.restore(state["pool"], self.device)
        else:
            get_root_logger().warning("the state has no pool of training pairs: it is filled anew")


def recipe_of(opt: dict[str, Any]) -> Recipe:
    """The degradation that an option file asks for.

    Raises:
        RecipeError: there is none of that name, or it cannot work with these settings.
    """
    spec = opt.get("recipe") or REALESRGAN
    if spec == REALESRGAN:
        sections = opt, opt["datasets"].get("train", {})
        spec = {"type": spec, **{key: one[key] for one in sections for key in option_keys(REALESRGAN) if key in one}}
    return recipe_named(spec, opt["scale"])


def in_8_bits(images: Tensor) -> Tensor:
    """Images in 0…1 as uint8; exact for those that were read from 8 bits."""
    return (images * 255).round_().clamp_(0, 255).to(torch.uint8)
