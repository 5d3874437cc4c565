"""The working folder in which bad inputs are tried: images, data sets, weights, a finished run and its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from tiny import TINY_HAT

from hat_arch import HAT
from hat_arch.data.images import encode
from hat_arch.data.lmdb_store import write_store

NETWORK: dict[str, Any] = {**TINY_HAT, "depths": [1], "num_heads": [2]}
LOADER = {"num_worker_per_gpu": 0, "batch_size_per_gpu": 2, "use_hflip": True, "use_rot": True}
PSNR = {"type": "calculate_psnr", "crop_border": 4, "test_y_channel": True}
PAIRS = {"type": "SeededPairedDataset", "dataroot_gt": "d/GT", "dataroot_lq": "d/LR"}
TRAIN: dict[str, Any] = {
    "name": "it",
    "model_type": "HATModel",
    "scale": 4,
    "num_gpu": "auto",
    "manual_seed": 0,
    "datasets": {"train": {"name": "pairs", **PAIRS, "gt_size": 32, **LOADER}, "val": {"name": "held_out", **PAIRS}},
    "network_g": NETWORK,
    "path": {"pretrain_network_g": None, "resume_state": None},
    "train": {
        "ema_decay": 0.9,
        "optim_g": {"type": "Adam", "lr": 1e-3},
        "scheduler": {"type": "MultiStepLR", "milestones": [8], "gamma": 0.5},
        "total_iter": 2,
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"},
    },
    "val": {"val_freq": 2, "save_img": False, "metrics": {"psnr": PSNR}},
    "logger": {"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": False},
}
TEST: dict[str, Any] = {
    **{key: TRAIN[key] for key in ("name", "model_type", "scale", "num_gpu", "manual_seed", "network_g")},
    "datasets": {"test_1": {"name": "measured", **PAIRS}},
    "path": {"pretrain_network_g": "w.pth"},
    "val": {"save_img": True, "metrics": {"psnr": PSNR}},
}


def image(height: int, width: int, channels: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth image, BGR, or grey with one channel."""
    shape = (4, 4, channels) if channels > 1 else (4, 4)
    coarse = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def saved(suffix: str, height: int, width: int, channels: int = 3) -> bytes:
    """An image file of a kind, such as ``.jpg``."""
    return cv2.imencode(suffix, image(height, width, channels))[1].tobytes()


def make(folder: Path) -> None:
    """Makes the folder, but for the run: ``train.yml`` is trained on to make it."""
    for i in range(4):
        gt = image(64, 64, seed=i)
        for part, one in (("GT", gt), ("LR", cv2.resize(gt, (16, 16), interpolation=cv2.INTER_AREA))):
            (folder / "d" / part).mkdir(parents=True, exist_ok=True)
            (folder / "d" / part / f"{i}.png").write_bytes(encode(one))
    for part in ("GT", "LR"):
        files = sorted((folder / "d" / part).iterdir())
        write_store(folder / f"{part}.lmdb", ((file.stem, cv2.imread(str(file))) for file in files))
    (folder / "photos").mkdir()
    (folder / "photos/a.png").write_bytes(saved(".png", 8, 12))
    (folder / "photos/b.jpg").write_bytes(saved(".jpg", 9, 10))
    torch.manual_seed(0)
    weights = HAT(**{key: value for key, value in NETWORK.items() if key != "type"}).state_dict()
    torch.save({"params": weights}, folder / "w.pth")
    for name, options in (("train.yml", TRAIN), ("test.yml", TEST), ("run.yml", {**TRAIN, "name": "run"})):
        (folder / name).write_text(yaml.safe_dump(options, sort_keys=False), encoding="utf-8")
