"""The pool of training pairs from which Real-ESRGAN mixes its batches."""

from __future__ import annotations

from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import Tensor


class Pool:
    """Keeps pairs, hands out others: a batch then has degradations of many iterations (Real-ESRGAN's training pool).

    Until it is full, each batch is stored and used as it is. From then on a batch takes the place of as many pairs,
    chosen by chance, and these are used. Pairs are 8-bit images, so that the pool fits a checkpoint.

    Args:
        size: number of pairs; 0 for no pool.
        seed: of the choice.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.generator = torch.Generator().manual_seed(seed)
        self.pairs: tuple[Tensor, Tensor] | None = None
        """LR and GT, ``(size, C, H, W)`` uint8; None before the first batch."""
        self.filled = 0

    def exchange(self, lq: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
        """Takes a batch of LR and GT, ``(B, C, H, W)`` uint8, and returns the one to train on."""
        if not self.size:
            return lq, gt
        if self.pairs is None:
            self.pairs = lq.new_zeros(self.size, *lq.shape[1:]), gt.new_zeros(self.size, *gt.shape[1:])
        if self.filled < self.size:
            places = torch.arange(self.filled, self.filled + len(lq))
            self.filled += len(lq)
            used = lq, gt
        else:
            places = torch.randperm(self.size, generator=self.generator)[: len(lq)]
            used = self.pairs[0][places], self.pairs[1][places]
        for kept, new in zip(self.pairs, (lq, gt)):
            kept[places] = new
        return used

    def state(self) -> dict[str, Any]:
        """All that it holds, for a checkpoint."""
        pairs = None if self.pairs is None else tuple(images[: self.filled].cpu() for images in self.pairs)
        return {"size": self.size, "pairs": pairs, "generator": self.generator.get_state()}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Undoes `state`, unless the pool has another size now: then it is filled anew, which is logged."""
        if state["size"] != self.size:
            get_root_logger().warning(f"queue_size was {state['size']} and is {self.size}: the pool is filled anew")
            return
        self.generator.set_state(state["generator"])
        if state["pairs"] is None:
            return
        lq, gt = (images.to(device) for images in state["pairs"])
        self.filled = len(lq)
        self.pairs = lq.new_zeros(self.size, *lq.shape[1:]), gt.new_zeros(self.size, *gt.shape[1:])
        for kept, images in zip(self.pairs, (lq, gt)):
            kept[: self.filled] = images
