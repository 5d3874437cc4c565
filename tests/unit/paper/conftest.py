"""An HR image, and small networks with weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from hat_arch.compat.registration import build
from hat_arch.paper.trained_networks import TrainedNetwork


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """An HR image of 49 × 41 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)
    file = tmp_path / "picture.png"
    cv2.imwrite(str(file), cv2.resize(pixels, (49, 41), interpolation=cv2.INTER_CUBIC))
    return file


@pytest.fixture
def make() -> Callable[..., TrainedNetwork]:
    """Makes a network of a label and ``network_g``, with fresh weights of a seed."""

    def network(label: str, options: dict[str, Any], seed: int = 0) -> TrainedNetwork:
        torch.manual_seed(seed)
        net = build(options).eval().requires_grad_(False)
        return TrainedNetwork(label, net, options, options["upscale"], "untrained")

    return network
