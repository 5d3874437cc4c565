"""Arithmetic of the network in training: ``train: precision``."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Precision:
    """Autocast and gradient scaler of a training. Weights, losses, updates and the EMA stay in fp32.

    Args:
        name: ``fp32``; ``tf32`` for NVIDIA's matrix products; ``bf16`` or ``fp16`` by autocast, fp16 with a scaler.
        device: where the network is trained.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.device = device
        self.dtype = AUTOCAST.get(name)
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "fp16")
        if name == "tf32":
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True

    def autocast(self) -> AbstractContextManager:
        """The context in which the network runs."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not None)
