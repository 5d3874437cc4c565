"""The first stage of real-world training: on degraded images, with a pixel loss."""

from __future__ import annotations

from typing import Any, ClassVar

from .degrading_model import DegradingModel


class RealHATMSEModel(DegradingModel):
    """Trains on degraded images with the losses of `HATModel`; takes the options of BasicSR's RealESRNetModel.

    With ``gt_usm`` the ground truth is sharpened, before it is degraded and, cut out, to be compared with.
    """

    needed_options: ClassVar = {"model_type": frozenset({"gt_usm"})}

    def sharpens(self) -> bool:
        return bool(self.opt["gt_usm"])

    def feed_data(self, data: dict[str, Any]) -> None:
        super().feed_data(data)
        if self.degrades and not self.validating and self.sharpens():
            self.gt = self.sharpener(self.gt)
