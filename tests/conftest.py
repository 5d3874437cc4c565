"""Fixtures: a small data set on disk, an option file that trains on it within seconds, and how to run the command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import hat_arch  # noqa: F401 (first of all: it makes basicsr importable)

ROOT = Path(__file__).parents[1]
TINY_HAT = {
    "type": "HAT",
    "upscale": 4,
    "window_size": 4,
    "img_size": 8,
    "depths": [1, 1],
    "embed_dim": 12,
    "num_heads": [2, 2],
    "squeeze_factor": 4,
    "mlp_ratio": 2,
    "drop_path_rate": 0.0,
}


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
    opt = yaml.safe_load((ROOT / "options/train_HAT_demo_SRx4.yml").read_text())
    train, val = opt["datasets"]["train"], opt["datasets"]["val"]
    train.update(dataroot_gt=str(demo_data / "train_GT.lmdb"), dataroot_lq=str(demo_data / "train_LRx4.lmdb"))
    train.update(gt_size=32, batch_size_per_gpu=2, num_worker_per_gpu=0, dataset_enlarge_ratio=1)
    val.update(dataroot_gt=str(demo_data / "val_GT"), dataroot_lq=str(demo_data / "val_LRx4"))
    opt["network_g"] = dict(TINY_HAT)
    opt["train"].update(total_iter=4, precision="fp32")
    opt["train"]["optim_g"]["lr"] = 1e-3
    opt["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [100], "gamma": 0.5}
    opt["val"]["val_freq"] = 4
    opt["logger"].update(print_freq=1, save_checkpoint_freq=2)
    opt["name"] = "tiny"
    return opt


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
