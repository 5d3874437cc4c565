"""What validation of any of BasicSR's models needs beside the model: see `MeasuringModel`."""

from __future__ import annotations

import contextlib
import math
import time
import traceback
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger, tensor2img
from numpy.typing import NDArray
from torch import Tensor

from ..degradations.resize import imresize
from ..utils.errors import UserError, in_one_line
from .result_names import NamedApart, shared_names

LOADER = ("DataLoader worker", "DataLoader timed out")
"""In PyTorch's errors about processes that read images."""


@dataclass
class Scores:
    """What a test has found on a data set; sums over its images."""

    images: int = 0
    seconds: float = 0.0
    """Time in the network, with the way of the images to it and back."""
    ours: dict[str, float] = field(default_factory=dict)
    """Metric → sum; empty without ground truth."""
    baseline: dict[str, float] = field(default_factory=dict)
    """The same of the `enlarged` input; empty where the task is not to enlarge RGB or grey images by the scale."""


class MeasuringModel:
    """Mixed into BasicSR's models, so that

    * a data set without ground truth is upscaled and not scored;
    * a network of one channel takes grey images, which the data sets read as three equal channels;
    * a test notes the scores of bicubic (at scale 1, of the input) and the time, in ``measured``, and logs no best
      iteration, since it has none.
    """

    opt: dict[str, Any]
    is_train: bool
    lq: Tensor
    metric_results: dict[str, float]
    run: Any
    """The run that drives it, a `TrainingRun`."""
    fed = "an image"
    """Paths of the LR images that were fed last."""

    def validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool = False) -> None:
        opt, dataset = self.opt, dataloader.dataset
        if save_img and (names := shared_names(dataset)):
            dataloader = NamedApart(dataloader, names)
        vars(self).pop("gt", None)  # of the last training batch
        if not has_ground_truth(dataset):  # BasicSR reads in ``opt`` whether to score, and fails without ground truth
            self.opt = {**opt, "val": {**opt["val"], "metrics": None}}
        self.scores = Scores()
        self.normalized = any(dataset.opt.get(key) is not None for key in ("mean", "std"))
        try:
            with self.naming_the_image(AssertionError, ValueError), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Mean of empty slice")  # said below
                super().validation(dataloader, current_iter, tb_logger, save_img)  # type: ignore[misc]
            metrics = self.opt["val"].get("metrics")
        finally:
            self.opt = opt
        self._say_what_is_no_number(dataset.opt["name"])
        if not self.is_train:
            means = getattr(self, "metric_results", {})  # in some models, of the first process alone
            self.scores.ours = {
                name: float(means[name]) * self.scores.images for name in metrics or () if name in means
            }
            self.measured = {**getattr(self, "measured", {}), dataset.opt["name"]: self.scores}

    def feed_data(self, data: dict[str, Any]) -> None:
        super().feed_data(self.noted(data))  # type: ignore[misc]

    def noted(self, data: dict[str, Any]) -> dict[str, Any]:
        """A batch as the network takes it; notes when it came, and of which images it is."""
        self.fed_at = time.perf_counter()
        paths = data.get("read_from", data.get("lq_path"))
        self.fed = ", ".join(paths) if isinstance(paths, list) else "an image"
        return for_network(data, self.opt)

    @contextlib.contextmanager
    def naming_the_image(self, *kinds: type[Exception]) -> Iterator[None]:
        """Raises `UserError` with the path of the LR image in place of errors of some kinds, but in a dry run."""
        try:
            yield
        except kinds as error:
            passed_on = isinstance(error, (UserError, torch.OutOfMemoryError)) or is_of_loader(error)
            if passed_on or self.run.dry:
                raise
            raise UserError(f"{self.fed}: {where(self.opt, error)} fails on it: {in_one_line(error)}") from error

    def _say_what_is_no_number(self, dataset: str) -> None:
        for name, value in getattr(self, "metric_results", {}).items():
            if isinstance(value, float) and math.isnan(value):
                why = "is crop_border more than half of an image?"
                get_root_logger().warning(f"val: metrics: {name}: is no number on {dataset}; {why}")

    def get_current_visuals(self) -> OrderedDict[str, Tensor]:
        visuals: OrderedDict[str, Tensor] = super().get_current_visuals()  # type: ignore[misc]
        if self.is_train:
            return visuals
        self.scores.seconds += time.perf_counter() - self.fed_at
        self.scores.images += 1
        metrics = self.opt["val"].get("metrics")
        if metrics and "gt" in visuals and not self.normalized and visuals["lq"].ndim == 4:
            plain = enlarged(tensor2img(visuals["lq"]), self.opt["scale"])
            gt = tensor2img(visuals["gt"])
            if plain.shape == gt.shape:
                for name, metric in metrics.items():
                    score = calculate_metric({"img": plain, "img2": gt}, metric)
                    self.scores.baseline[name] = self.scores.baseline.get(name, 0.0) + float(score)
        return visuals

    def _log_validation_metric_values(self, current_iter: Any, dataset_name: str, tb_logger: Any) -> None:
        numbers = all(isinstance(value, (int, float)) for value in self.metric_results.values())
        if self.is_train or not numbers:  # BasicSR's video models have other results
            super()._log_validation_metric_values(current_iter, dataset_name, tb_logger)  # type: ignore[misc]
            return
        lines = [f"\t # {name}: {value:.4f}" for name, value in self.metric_results.items()]
        get_root_logger().info("\n".join([f"Validation {dataset_name}", *lines]))


def baseline(scale: int) -> str:
    """What a network is compared with: ``bicubic``, or, if it keeps the size, its ``input``."""
    return "bicubic" if scale > 1 else "input"


def enlarged(image: NDArray[np.uint8], scale: int) -> NDArray[np.uint8]:
    """An image by what `baseline` says."""
    return imresize(image, scale) if scale > 1 else image


def where(opt: dict[str, Any], error: BaseException) -> str:
    """The network and model that an error came from, and the line of code."""
    line = traceback.extract_tb(error.__traceback__)[-1]
    return f"{opt['network_g']['type']} under {opt['model_type']} ({Path(line.filename).name}:{line.lineno})"


def is_of_loader(error: BaseException) -> bool:
    """Whether a process that reads images has died or hangs; PyTorch tells it by an error wherever the main one is."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in LOADER)


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
