"""A tiny HAT for the suites, small probes of the machine, and ``basicsr bench`` as a function."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest
import torch

from hat_arch.bench import NETWORKS, infer, peak, scaling, train
from hat_arch.cli import bench as cli

THREADS = torch.get_num_threads()
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


class Here:
    """Takes the place of a `Worker`: its object lives in this process, where tests can change what it uses."""

    def __init__(self, make, *args):
        self.made = make(*args)

    def call(self, method, *args):
        return getattr(self.made, method)(*args)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        torch.set_num_threads(THREADS)


@pytest.fixture
def here(monkeypatch):
    """Whatever the suites measure runs in this process."""
    for suite in (infer, train):
        monkeypatch.setattr(suite, "Worker", Here)
    monkeypatch.setattr(scaling, "in_fresh_process", lambda function, *args: function(*args))


@pytest.fixture
def run_cli() -> Callable[..., int]:
    """``basicsr bench`` with these words; its exit code."""

    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        cli.add_parser(parser.add_subparsers())
        args = parser.parse_args(["bench", *words])
        return args.run(args)

    return run
