"""A HAT and a run of it that take seconds."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
needs_a_compiler = pytest.mark.skipif(
    " " in sys.prefix or not (shutil.which("g++") or shutil.which("clang++")),
    reason="needs a C++ compiler, and PyTorch in a folder without a space, with which it cannot link",
)
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


def tiny_options(demo_data: Path) -> dict[str, Any]:
    """Options of a run on the demo data that takes seconds."""
    opt = yaml.safe_load((ROOT / "options/train_HAT_demo_SRx4.yml").read_text())
    train, val = opt["datasets"]["train"], opt["datasets"]["val"]
    train.update(dataroot_gt=str(demo_data / "train_GT.lmdb"), dataroot_lq=str(demo_data / "train_LRx4.lmdb"))
    train.update(gt_size=32, batch_size_per_gpu=2, num_worker_per_gpu=0, dataset_enlarge_ratio=1)
    val.update(dataroot_gt=str(demo_data / "val_GT"), dataroot_lq=str(demo_data / "val_LRx4"))
    opt["network_g"] = dict(TINY_HAT)
    del opt["train"]["begin_as_interpolation"]
    opt["train"].update(total_iter=4, precision="fp32", warmup_iter=-1)
    opt["train"]["optim_g"]["lr"] = 1e-3
    opt["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [100], "gamma": 0.5}
    opt["val"]["val_freq"] = 4
    opt["logger"].update(print_freq=1, save_checkpoint_freq=2)
    opt["name"] = "tiny"
    return opt
