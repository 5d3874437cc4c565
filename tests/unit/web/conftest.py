"""A page that offers a tiny network, on a port of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from visitors import TINY, served

from hat_arch import HAT
from hat_arch.web.limits import Limits
from hat_arch.web.networks import Networks
from hat_arch.web.upscale_page import UpscalePage


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a tiny HAT ×2."""
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("weights") / "tiny.pth"
    torch.save({"params_ema": HAT(**TINY, upscale=2).state_dict()}, file)
    return file


@pytest.fixture
def page(tmp_path: Path, weights: Path) -> Iterator[Callable[..., UpscalePage]]:
    """Makes pages that offer the tiny network; ``page.address`` is where one runs until the test ends."""
    with contextlib.ExitStack() as running:

        def make(token: str | None = None, **limits: Any) -> Any:
            folder = tmp_path / "served"
            folder.mkdir()
            bounds = Limits(**limits)
            made: Any = UpscalePage(Networks([str(weights)], None, torch.device("cpu")), bounds, folder, token)
            made.address = running.enter_context(served(made.app, bounds))
            return made

        yield make
