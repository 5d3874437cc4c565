"""The official HAT's models for real-world training: BasicSR's Real-ESRGAN models, with `HATModel` below them.

They degrade ground truth to LR images as Real-ESRGAN does, and train with a pixel loss alone, or against a
discriminator too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.models.realesrnet_model import RealESRNetModel
from torch import nn

from ..compat.without_cuda import cuda_is_cpu
from . import checkpoints
from .hat_model import HATModel
from .run import FollowsRun


class DegradesImages:
    """Mixed into BasicSR's two models, so that they run on the CPU, and do not train from their first test on."""

    device: torch.device
    is_train: bool
    noted: Callable[[dict[str, Any]], dict[str, Any]]

    def __init__(self, opt: dict[str, Any]) -> None:
        with cuda_is_cpu(not opt["num_gpu"]):
            super().__init__(opt)  # type: ignore[call-arg]

    def feed_data(self, data: dict[str, Any]) -> None:
        with cuda_is_cpu(self.device.type == "cpu"):
            super().feed_data(self.noted(data))  # type: ignore[misc]  # BasicSR's do not call on to `MeasuringModel`

    def nondist_validation(self, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool) -> None:
        is_train = self.is_train
        try:
            super().nondist_validation(dataloader, current_iter, tb_logger, save_img)  # type: ignore[misc]
        finally:
            self.is_train = is_train


class RealHATMSEModel(DegradesImages, RealESRNetModel, HATModel):
    """Trains on degraded images with a pixel loss; takes the options of BasicSR's RealESRNetModel and of `HATModel`."""


class RealHATGANModel(DegradesImages, FollowsRun, RealESRGANModel, HATModel):
    """Trains on degraded images with pixel, perceptual and adversarial losses: the step is BasicSR's RealESRGANModel's.

    Takes that class's options, and of `HATModel` those of ``val:`` and ``logger:``.
    """

    hat_sections = frozenset({"val", "logger"})

    net_d: nn.Module

    def save(self, epoch: int, current_iter: int) -> None:
        HATModel.save(self, epoch, current_iter)  # BasicSR's class would write in place

    def save_weights(self, label: str) -> dict[str, str]:
        """Writes ``net_d_<label>.pth`` too, from which the discriminator goes on."""
        written = super().save_weights(label)
        if written and not label.startswith("best_"):
            weights = {name: value.cpu() for name, value in self.get_bare_model(self.net_d).state_dict().items()}
            file = Path(self.opt["path"]["models"], f"net_d_{label}.pth")
            written[file.name] = checkpoints.write({"params": weights}, file)
        return written
