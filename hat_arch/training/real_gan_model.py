"""The second stage of real-world training: on degraded images, against a discriminator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import Tensor

from .degrading_model import DegradingModel
from .gan_model import HATGANModel


class RealHATGANModel(DegradingModel, HATGANModel):
    """Trains on degraded images against a discriminator; takes the options of BasicSR's RealESRGANModel.

    The LR is made of the sharpened ground truth. ``l1_gt_usm``, ``percep_gt_usm`` and ``gan_gt_usm`` say which losses
    compare with it too; the others compare with the ground truth as it is.
    """

    needed_options: ClassVar = {
        **HATGANModel.needed_options,
        "model_type": HATGANModel.needed_options["model_type"] | {"l1_gt_usm", "percep_gt_usm", "gan_gt_usm"},
    }

    @staticmethod
    def option_problems(opt: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
        yield from DegradingModel.option_problems(opt)
        yield from HATGANModel.option_problems(opt)

    def sharpens(self) -> bool:
        return True

    def feed_data(self, data: dict[str, Any]) -> None:
        super().feed_data(data)
        if self.is_train and not self.validating:
            self.gt_usm = self.sharpener(self.gt)

    def target(self, loss: str) -> Tensor:
        opt = self.opt
        sharpened = {"l1": opt["l1_gt_usm"], "percep": opt["percep_gt_usm"], "gan": opt["gan_gt_usm"]}
        return self.gt_usm if sharpened[loss] else self.gt
