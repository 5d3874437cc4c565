"""A tiny HAT for the suites, small probes of the machine, and ``basicsr bench`` as a function."""

from __future__ import annotations

import argparse
import sys
import types
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hat_arch.bench import NETWORKS
from hat_arch.cli import bench as cli

try:
    import hat_arch.inference.upscaler  # noqa: F401
except ModuleNotFoundError:  # until it is there: plain tiles without overlap

    class Upscaler:
        def __init__(self, network: nn.Module, scale: int, *, tile: str | int = "auto", **options: object) -> None:
            self.network, self.tile = network, tile

        def __call__(self, lq: Tensor) -> Tensor:
            side = self.tile if isinstance(self.tile, int) else max(lq.shape)
            with torch.no_grad():
                rows = [[self.network(part) for part in row.split(side, -1)] for row in lq.split(side, -2)]
            return torch.cat([torch.cat(row, -1) for row in rows], -2)

    def load_network(path):
        raise NotImplementedError

    def module(name: str, **content: object) -> None:
        sys.modules[name] = types.ModuleType(name)
        vars(sys.modules[name]).update(content)

    module("hat_arch.inference")
    module("hat_arch.inference.upscaler", Upscaler=Upscaler)
    module("hat_arch.inference.weights", load_network=load_network)

from hat_arch.bench import peak

TINY = {
    **NETWORKS["HAT"],
    "embed_dim": 12,
    "depths": [2],
    "num_heads": [2],
    "window_size": 8,
    "squeeze_factor": 4,
    "upscale": 2,
}


@pytest.fixture
def tiny(monkeypatch) -> dict:
    """Takes the place of HAT and HAT-S."""
    for name in ("HAT", "HAT-S"):
        monkeypatch.setitem(NETWORKS, name, TINY)
    return TINY


@pytest.fixture(autouse=True)
def small_probes(monkeypatch):
    monkeypatch.setattr(peak, "MATMULS", {"cpu": (64,)})
    monkeypatch.setattr(peak, "CONVOLUTIONS", {"cpu": ((8, 16),)})
    monkeypatch.setattr(peak, "COPIED", {"cpu": 2**20})


@pytest.fixture
def run_cli() -> Callable[..., int]:
    """``basicsr bench`` with these words; its exit code."""

    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        cli.add_parser(parser.add_subparsers())
        args = parser.parse_args(["bench", *words])
        return args.run(args)

    return run
