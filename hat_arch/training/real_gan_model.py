"""The second stage of real-world training: on degraded images, against a discriminator."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor

from .degrading_model import DegradingModel
from .gan_model import HATGANModel


class RealHATGANModel(DegradingModel, HATGANModel):
    """Trains on degraded images against a discriminator; takes the options of BasicSR's RealESRGANModel.

    ``l1_gt_usm``, ``percep_gt_usm`` and ``gan_gt_usm`` say which losses compare with sharpened ground truth; the others
    compare with the ground truth as it is. The LR is made of the sharpened one, always, as in BasicSR; with ``recipe``,
    only if one of the losses compares with it.
    """

    sharpened: dict[str, bool]
    """Loss → whether it compares with sharpened ground truth."""
    gt_usm: Tensor
    """The ground truth, sharpened."""

    needed_options: ClassVar = {
        **HATGANModel.needed_options,
        "model_type": HATGANModel.needed_options["model_type"] | {"l1_gt_usm", "percep_gt_usm", "gan_gt_usm"},
    }

    def init_training_settings(self) -> None:
        opt = self.opt
        self.sharpened = {"l1": opt["l1_gt_usm"], "percep": opt["percep_gt_usm"], "gan": opt["gan_gt_usm"]}
        super().init_training_settings()

    def sharpens(self) -> bool:
        return "recipe" not in self.opt or any(self.sharpened.values())

    def feed_data(self, data: dict[str, Any]) -> None:
        super().feed_data(data)
        if self.is_train and not self.validating and any(self.sharpened.values()):
            self.gt_usm = self.sharpener(self.gt)

    def target(self, loss: str) -> Tensor:
        return self.gt_usm if self.sharpened[loss] else self.gt
