"""HAT for several scales at once, as it is pre-trained on multi-related tasks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .hat_arch import HAT


class MultiTaskHAT(HAT):
    """One body for several scales, each with a head and a tail of its own (multi-related-task pre-training, EDT).

    HAT's paper names the strategy and not its layers. Read here: head is the first convolution; tail is what comes
    after the body, from ``conv_before_upsample`` on (with ``pixelshuffledirect``: ``upsample``); all else is shared.

    The task of scale ``upscale`` keeps HAT's own names, so that the weights are those of a `HAT` of that scale and
    ``other_tasks.*``. Fine-tuning a HAT from them (``strict_load_g: false``) takes all but these.

    Args:
        scales: of the tasks; ``upscale`` must be one.
        options: arguments of `HAT`.

    Raises:
        ValueError: ``upscale`` is none of the scales, or an argument makes no network.
    """

    def __init__(self, scales: Sequence[int] = (2, 3, 4), **options: Any) -> None:
        super().__init__(**options)
        if self.upscale not in scales or len(set(scales)) < len(scales):
            raise ValueError(f"scales is {list(scales)}; it must have upscale {self.upscale} and none twice")
        self.scales = list(scales)
        tails = ("conv_before_upsample", "upsample", "conv_last")
        self.other_tasks = nn.ModuleDict()
        for scale in scales:
            if scale != self.upscale:
                donor = HAT(**{**options, "upscale": scale, "depths": [], "num_heads": []})
                layers = {name: getattr(donor, name) for name in ("conv_first", *tails)}
                self.other_tasks[f"x{scale}"] = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Tensor:
        """Enlarges images, by ``upscale`` or each of the scales.

        Args:
            x: ``(B, in_chans, H, W)``, values 0 to 1: images for the task of ``upscale`` alone. Or
                ``(B, len(scales) · in_chans, H, W)``: those of all tasks, which go through the body in one batch; H and
                W are multiples of the window size.

        Returns:
            ``(B, in_chans, H · upscale, W · upscale)``, or ``(B, in_chans, H · W · sum(scale²))``: the pixels of all
            tasks, one after the other.
        """
        if x.shape[1] == self.in_chans:
            return super().forward(x)
        mean = self.mean.to(x.dtype)
        images = [(image - mean) * self.img_range for image in x.chunk(len(self.scales), 1)]
        shallow = torch.cat([self.task(scale).conv_first(image) for scale, image in zip(self.scales, images)])
        shallow = shallow.contiguous(memory_format=torch.channels_last)
        deep = shallow + self.conv_after_body(self.forward_features(shallow))
        outputs = []
        for scale, features in zip(self.scales, deep.chunk(len(self.scales))):
            task = self.task(scale)
            sr = task.conv_last(task.upsample(task.conv_before_upsample(features)))
            outputs.append((sr / self.img_range + mean).flatten(2))
        return torch.cat(outputs, -1)

    def task(self, scale: int) -> Any:
        """What has the head and the tail of a scale, by HAT's names."""
        return self if scale == self.upscale else self.other_tasks[f"x{scale}"]
