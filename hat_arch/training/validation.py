"""Validation of a model: what ``val:`` asks for, on all processes, with pictures in TensorBoard."""

from __future__ import annotations

from collections import OrderedDict
from functools import cached_property
from typing import Any

import numpy as np
import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from numpy.typing import NDArray
from torch import Tensor, distributed, nn
from torch.utils.data import DataLoader, Subset

from ..degradations.resize import imresize
from ..inference.padded_tiles import in_padded_tiles
from ..inference.upscaler import Upscaler
from .measuring import MeasuringModel, picture
from .random_state import same_random_numbers_after
from .result_names import NamedApart, shared_names

PICTURES = 3  # of a validation, in TensorBoard
PICTURE_SIDE = 192  # pixels of SR


class ValidatingModel(MeasuringModel, SRModel):
    """BasicSR's `SRModel`, whose validation

    * spreads the images over all processes, and upscales them as `hat_arch.config.schema.Val` says (``tile``,
      ``precision``, ``self_ensemble``);
    * draws no random number that training would have drawn;
    * leaves the network in training mode, also if it fails.
    """

    opt: dict[str, Any]
    net_g: nn.Module
    lq: Tensor
    output: Tensor
    metric_results: dict[str, float]

    def __init__(self, opt: dict[str, Any]) -> None:
        self.last_metrics: dict[str, dict[str, float]] = {}
        """Data set → metrics of its last validation."""
        self.pictures: list[NDArray[np.uint8]] = []
        self.part_of_validation = False
        """Whether this process is validating its part of the images, so that its metrics are not those of all."""
        super().__init__(opt)

    def test(self) -> None:
        """Runs the network (its EMA, if there is one) on ``self.lq`` and sets ``self.output``."""
        with self.naming_the_image(Exception):
            if tile := self.opt.get("tile"):
                multiple, scale = self.upscaler.multiple, self.upscaler.scale
                self.output = in_padded_tiles(self.upscaler, self.lq, scale, **tile, multiple=multiple)
            else:
                self.output = self.upscaler(self.lq)

    @cached_property
    def upscaler(self) -> Upscaler:
        """What ``val:`` asks for: tiles, precision, self-ensemble; by default the whole image in fp32."""
        net = self.get_bare_model(getattr(self, "net_g_ema", self.net_g))
        return Upscaler.from_options(net, self.opt, get_root_logger().info)

    def validation(self, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
        """Validates on all processes."""
        if self.is_train:  # BasicSR's loop counts one beyond the end
            current_iter = min(current_iter, int(self.opt["train"]["total_iter"]))
        self.pictures.clear()
        with same_random_numbers_after():
            super().validation(dataloader, current_iter, tb_logger, save_img)
        if tb_logger:
            for n, shown in enumerate(self.pictures):
                kinds = "LR, bicubic, SR, GT" if self.opt.get("scale", 1) > 1 else "input, output, GT"
                title = f"{dataloader.dataset.opt['name']}/{n}: {kinds}"
                tb_logger.add_image(title, shown, current_iter, dataformats="HWC")
            tb_logger.flush()  # a run that is killed keeps its curves

    def dist_validation(self, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool) -> None:
        """Each process takes every n-th image; then all have the metrics of all images."""
        dataset, rank, world = dataloader.dataset, self.opt["rank"], self.opt["world_size"]
        part: Any = Subset(dataset, range(rank, len(dataset), world))
        part.opt = dataset.opt
        if len(part):
            self.part_of_validation = True
            try:
                self.nondist_validation(
                    NamedApart(DataLoader(part, batch_size=1), shared_names(dataset)), current_iter, None, save_img
                )
            finally:
                self.part_of_validation = False
        names, scores = list(self.opt["val"].get("metrics") or ()), self.scores
        ours = [self.metric_results[name] * len(part) if len(part) else 0.0 for name in names]
        baseline = [scores.baseline.get(name, 0.0) for name in names]
        sums = [scores.images, scores.seconds, bool(scores.baseline), *baseline, *ours]
        total = torch.tensor(sums, dtype=torch.float64, device=self.device)
        distributed.all_reduce(total)
        images, scores.seconds, with_baseline, *values = total.tolist()
        scores.images = int(images)
        if not names:
            return
        scores.baseline = dict(zip(names, values)) if with_baseline else {}
        self.metric_results = {n: value / len(dataset) for n, value in zip(names, values[len(names) :])}
        self._initialize_best_metric_results(dataset.opt["name"])
        for name, value in self.metric_results.items():
            self._update_best_metric_result(dataset.opt["name"], name, value, current_iter)
        self._log_validation_metric_values(current_iter, dataset.opt["name"], tb_logger)

    def _initialize_best_metric_results(self, dataset_name: str) -> None:
        """Also for metrics that a resumed run did not have."""
        known = getattr(self, "best_metric_results", {}).pop(dataset_name, {})
        super()._initialize_best_metric_results(dataset_name)
        record = self.best_metric_results[dataset_name]
        record |= {name: best for name, best in known.items() if name in record}

    def _update_best_metric_result(self, dataset_name: str, metric: str, val: float, current_iter: int) -> None:
        if self.part_of_validation:
            return
        before = self.best_metric_results[dataset_name][metric]["val"]
        super()._update_best_metric_result(dataset_name, metric, val, current_iter)
        if self.is_train and self.best_metric_results[dataset_name][metric]["val"] != before:
            self.best_so_far(dataset_name, metric)

    def best_so_far(self, dataset_name: str, metric: str) -> None:
        """Called when a metric of a data set is better than at all earlier validations."""

    def _log_validation_metric_values(self, current_iter: int, dataset_name: str, tb_logger: Any) -> None:
        if self.part_of_validation:
            return
        self.last_metrics[dataset_name] = {name: float(value) for name, value in self.metric_results.items()}
        super()._log_validation_metric_values(current_iter, dataset_name, tb_logger)

    def get_current_visuals(self) -> OrderedDict[str, Tensor]:
        visuals = super().get_current_visuals()
        if self.is_train and self.opt["rank"] == 0 and len(self.pictures) < PICTURES:
            self.pictures.append(comparison_picture(visuals, self.opt.get("scale", 1)))
        return visuals


def comparison_picture(visuals: dict[str, Tensor], scale: int) -> NDArray[np.uint8]:
    """The middle of an image, side by side: LR, bicubic, SR, and GT; ``(H, W, 3)`` RGB.

    What is not there, or of another size than SR, is left out, as is bicubic at scale 1.
    """
    lr, sr = picture(visuals["lq"]), picture(visuals["result"])
    pictures = [lr.repeat(scale, 0).repeat(scale, 1), *([imresize(lr, scale)] if scale > 1 else []), sr]
    if "gt" in visuals:
        pictures.append(picture(visuals["gt"]))
    same = [image for image in pictures if image.shape == sr.shape]
    top, left = (max(0, (side - PICTURE_SIDE) // 2) for side in sr.shape[:2])
    return np.hstack([image[top : top + PICTURE_SIDE, left : left + PICTURE_SIDE] for image in same])
