"""A tiny HAT for the suites, small probes of the machine, and ``basicsr bench`` as a function."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from hat_arch.bench import NETWORKS, peak
from hat_arch.cli import bench as cli

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
