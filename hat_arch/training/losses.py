"""Losses beside BasicSR's."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SpectralL1Loss(nn.Module):
    """L1 distance of two images' spectra, over real and imaginary parts (MIMO-UNet, ICCV 2021, equation 10).

    Added to a pixel loss, with a weight of 0.05 or so, it sharpens what small networks smooth. The transform is not
    normalised, so the distance grows with the side of the images, and in them with the size of the error.

    Args:
        loss_weight: factor on the result.
        reduction: ``mean`` or ``sum``.

    Raises:
        ValueError: another reduction.
    """

    def __init__(self, loss_weight: float = 1.0, reduction: str = "mean") -> None:
        super().__init__()
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction is {reduction!r}; it may be 'mean' or 'sum'")
        self.loss_weight = loss_weight
        self.reduction = reduction

    def forward(self, output: Tensor, gt: Tensor) -> Tensor:  # B, C, H, W
        parts = torch.view_as_real(torch.fft.rfft2(output.float() - gt.float())).abs()  # the transform is linear
        return self.loss_weight * (parts.mean() if self.reduction == "mean" else parts.sum())
