"""A small residual network that adds to a bilinear interpolation."""

from __future__ import annotations

from basicsr.utils.registry import ARCH_REGISTRY
from torch import Tensor, nn
from torch.nn import functional as F


@ARCH_REGISTRY.register()
class MyNet(nn.Module):
    """Convolutions at the size of the input, then a pixel shuffle, added to the interpolated input.

    Args:
        upscale: by how much it enlarges.
        num_feat: channels between the convolutions.
        num_block: pairs of convolutions.
    """

    def __init__(self, upscale: int = 4, num_feat: int = 32, num_block: int = 4) -> None:
        super().__init__()
        self.upscale = upscale
        self.first = nn.Conv2d(3, num_feat, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(num_feat, num_feat, 3, padding=1), nn.GELU(), nn.Conv2d(num_feat, num_feat, 1))
            for _ in range(num_block)
        )
        self.last = nn.Conv2d(num_feat, 3 * upscale**2, 3, padding=1)

    def forward(self, lq: Tensor) -> Tensor:
        """``(B, 3, H, W)`` in 0…1 to ``(B, 3, upscale * H, upscale * W)``."""
        features = self.first(lq)
        for block in self.blocks:
            features = features + block(features)
        detail = F.pixel_shuffle(self.last(features), self.upscale)
        return detail + F.interpolate(lq, scale_factor=float(self.upscale), mode="bilinear")
