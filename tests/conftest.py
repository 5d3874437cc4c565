"""Fixtures: a small data set on disk, an option file that trains on it within seconds, and how to run the command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import tiny_options

import hat_arch  # noqa: F401 (first of all: it makes basicsr importable)

os.environ["HAT_ARCH_ENGINE"] = "torch"  # of what tests start, unless they say another

# A shell starts background commands with Ctrl-C ignored, which what the tests start would inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def denormals_return() -> Iterator[None]:
    """A command that a test has called in this process makes denormal numbers zero: not for the tests that follow."""
    import torch

    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo data set, with held-out images cut down to 96x128."""
    import cv2

    from hat_arch.data.demo import make_demo

    folder = tmp_path_factory.mktemp("data") / "demo"
    make_demo(folder)
    for part, unit in (("val_GT", 4), ("val_LRx4", 1)):
        for file in (folder / part).iterdir():
            cv2.imwrite(str(file), cv2.imread(str(file))[: 24 * unit, : 32 * unit])
    return folder


@pytest.fixture
def options(demo_data: Path) -> dict[str, Any]:
    """Options of a run that takes seconds: change what a test is about, then `write_options`."""
    return tiny_options(demo_data)


@pytest.fixture
def beside_demo_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo_data: Path) -> Path:
    """The test's own folder, as the current one, with ``datasets/demo``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/demo").symlink_to(demo_data)
    return tmp_path


@pytest.fixture
def model_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a package's ``hat-light-x4`` for this process: untrained, it interpolates."""
    import torch
    from safetensors.torch import save_file

    from hat_arch.archs.hat_arch import HAT
    from hat_arch.archs.interpolation import begin_as_interpolation
    from hat_arch.archs.presets import PRESETS
    from hat_arch.weights import named

    torch.manual_seed(0)
    network = HAT(**PRESETS["HAT-light"])
    begin_as_interpolation(network)
    state = {name: value.half() if value.is_floating_point() else value for name, value in network.state_dict().items()}
    monkeypatch.setattr(named, "INSIDE", tmp_path / "inside")
    named.INSIDE.mkdir()
    save_file(state, file := named.INSIDE / "hat-light-x4.safetensors")
    return file


@pytest.fixture
def write_options(tmp_path: Path) -> Callable[..., Path]:
    def write(opt: dict[str, Any] | str, name: str = "tiny.yml") -> Path:
        file = tmp_path / name
        file.write_text(opt if isinstance(opt, str) else yaml.safe_dump(opt, sort_keys=False))
        return file

    return write


@pytest.fixture
def basicsr(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``python -m hat_arch ARGS`` in the test's own folder."""

    def run(*args: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hat_arch", *map(str, args)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **(env or {})}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    return run
