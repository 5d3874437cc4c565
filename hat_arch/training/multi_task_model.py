"""The model that trains a network on several scales at once."""

from __future__ import annotations

from torch import Tensor

from .hat_model import HATModel


class MultiTaskHATModel(HATModel):
    """`HATModel` for `MultiTaskHAT` and `MultiScaleImageNetDataset`: trains the sum of a loss for each scale.

    Each is a mean over the pixels of its scale, and all weigh the same (not stated in HAT's paper). Validation is that
    of the task of ``scale``.
    """

    def losses(self, output: Tensor, part: slice) -> dict[str, Tensor]:
        scales = self.get_bare_model(self.net_g).scales
        height, width = self.lq.shape[-2:]
        lengths = [height * width * scale**2 for scale in scales]
        named: dict[str, Tensor] = {}
        for scale, sr, hr in zip(scales, output.split(lengths, -1), self.gt[part].split(lengths, -1)):
            sides = height * scale, width * scale
            sr, hr = sr.unflatten(-1, sides), hr.unflatten(-1, sides)
            of_scale = {**self.pixel_losses(sr, hr), **self.perceptual_losses(sr, hr)}
            named |= {f"{name}_x{scale}": loss for name, loss in of_scale.items()}
        return named
