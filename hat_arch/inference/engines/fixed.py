"""Images of any size through what takes one size alone."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import Engine, EngineError


class FixedSize:
    """An engine whose images are filled up at the bottom and right, by their last pixels, to the size it takes.

    Args:
        engine: takes ``(1, C, height, width)``.
        size: height and width.
    """

    one_shape = False

    def __init__(self, engine: Engine, size: tuple[int, int]) -> None:
        self.engine, self.size, self.name = engine, size, engine.name
        self.follow, self.release = engine.follow, engine.release

    def __call__(self, images: Tensor) -> Tensor:
        h, w = images.shape[-2:]
        height, width = self.size
        if h > height or w > width:
            raise EngineError(f"the file takes images of {height}x{width}, not of {h}x{w}; leave out --tile")
        images = F.pad(images, (0, width - w, 0, height - h), "replicate")
        made = torch.cat([self.engine(image) for image in images.split(1)])
        return made[..., : made.shape[-2] * h // height, : made.shape[-1] * w // width]
