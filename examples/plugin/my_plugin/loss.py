"""A loss on differences of neighbouring pixels."""

from __future__ import annotations

from basicsr.utils.registry import LOSS_REGISTRY
from torch import Tensor, nn


@LOSS_REGISTRY.register()
class MyEdgeLoss(nn.Module):
    """L1, plus L1 of the differences of pixels beside and below each other.

    Args:
        loss_weight: of all of it.
        edge_weight: of the differences.
    """

    def __init__(self, loss_weight: float = 1.0, edge_weight: float = 0.5) -> None:
        super().__init__()
        self.loss_weight, self.edge_weight = loss_weight, edge_weight

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        error = pred - target  # B, C, H, W
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        return self.loss_weight * (error.abs().mean() + self.edge_weight * edges)
