"""What validation of any of BasicSR's models needs beside the model: see `MeasuringModel`."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger, tensor2img
from numpy.typing import NDArray
from torch import Tensor

from ..data.resize import imresize
from ..utils.errors import UserError


@dataclass
class Scores:
    """What a test has found on a data set; sums over its images."""

    images: int = 0
    seconds: float = 0.0
    """Time in the network, with the way of the images to it and back."""
    ours: dict[str, float] = field(default_factory=dict)
    """Metric → sum; empty without ground truth."""
    bicubic: dict[str, float] = field(default_factory=dict)
    """The same of MATLAB's bicubic; empty where the task is not to enlarge RGB or grey images by the scale."""


class MeasuringModel:
    """Mixed into BasicSR's models, so that

    * a data set without ground truth is upscaled and not scored;
    * a network of one channel takes grey images, which the data sets read as three equal channels;
    * a test notes bicubic's scores and the time, in ``measured``, and logs no best iteration, since it has none.
    """

    opt: dict[str, Any]
    is_train: bool
    lq: Tensor
    metric_results: dict[str, float]

    def validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool = False) -> None:
        opt, dataset = self.opt, dataloader.dataset
        vars(self).pop("gt", None)  # of the last training batch
        if not has_ground_truth(dataset):  # BasicSR reads in ``opt`` whether to score, and fails without ground truth
            self.opt = {**opt, "val": {**opt["val"], "metrics": None}}
        self.scores = Scores()
        self.normalized = any(dataset.opt.get(key) is not None for key in ("mean", "std"))
        try:
            super().validation(dataloader, current_iter, tb_logger, save_img)  # type: ignore[misc]
            metrics = self.opt["val"].get("metrics")
        finally:
            self.opt = opt
        if not self.is_train:
            means = getattr(self, "metric_results", {})  # in some models, of the first process alone
            self.scores.ours = {
                name: float(means[name]) * self.scores.images for name in metrics or () if name in means
            }
            self.measured = {**getattr(self, "measured", {}), dataset.opt["name"]: self.scores}

    def feed_data(self, data: dict[str, Any]) -> None:
        data = for_network(data, self.opt)
        self.fed_at = time.perf_counter()
        super().feed_data(data)  # type: ignore[misc]

    def get_current_visuals(self) -> OrderedDict[str, Tensor]:
        visuals: OrderedDict[str, Tensor] = super().get_current_visuals()  # type: ignore[misc]
        if self.is_train:
            return visuals
        self.scores.seconds += time.perf_counter() - self.fed_at
        self.scores.images += 1
        metrics = self.opt["val"].get("metrics")
        if metrics and "gt" in visuals and not self.normalized and visuals["lq"].ndim == 4:
            bicubic = imresize(tensor2img(visuals["lq"]), self.opt["scale"])
            gt = tensor2img(visuals["gt"])
            if bicubic.shape == gt.shape:
                for name, metric in metrics.items():
                    score = calculate_metric({"img": bicubic, "img2": gt}, metric)
                    self.scores.bicubic[name] = self.scores.bicubic.get(name, 0.0) + float(score)
        return visuals

    def _log_validation_metric_values(self, current_iter: Any, dataset_name: str, tb_logger: Any) -> None:
        numbers = all(isinstance(value, (int, float)) for value in self.metric_results.values())
        if self.is_train or not numbers:  # BasicSR's video models have other results
            super()._log_validation_metric_values(current_iter, dataset_name, tb_logger)  # type: ignore[misc]
            return
        lines = [f"\t # {name}: {value:.4f}" for name, value in self.metric_results.items()]
        get_root_logger().info("\n".join([f"Validation {dataset_name}", *lines]))


def has_ground_truth(dataset: Any) -> bool:
    """Whether the items of a data set have ground truth."""
    return dataset.opt.get("dataroot_gt") is not None or (len(dataset) > 0 and "gt" in dataset[0])


def for_network(data: dict[str, Any], opt: dict[str, Any]) -> dict[str, Any]:
    """A sample or batch as ``network_g`` takes it: for one of one channel, grey images without their equal channels.

    Raises:
        UserError: an image has colours, and the network takes one channel.
    """
    if 1 not in (opt["network_g"].get("in_chans"), opt["network_g"].get("num_in_ch")):
        return data
    return {name: _one_channel(value) if name in ("lq", "gt") else value for name, value in data.items()}


def _one_channel(images: Tensor) -> Tensor:
    first = images[..., :1, :, :]
    if not (images == first).all():
        raise UserError("network_g takes one channel, and an image has colours: set color: y below each data set")
    return first


def picture(tensor: Tensor) -> NDArray[np.uint8]:
    """An image in 0…1 of one or three channels as ``(H, W, 3)`` RGB."""
    image = tensor2img(tensor, rgb2bgr=False)
    return image if image.ndim == 3 else image[..., None].repeat(3, -1)
