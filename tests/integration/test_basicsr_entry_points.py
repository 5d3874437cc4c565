"""``import hat_arch``, and then BasicSR's own entry points, as its users write them."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import official
import pytest
import torch
import yaml
from tiny import TINY_HAT

from hat_arch import HAT

SCRIPT = """
import sys
import hat_arch
from basicsr.{phase} import {phase}_pipeline
{phase}_pipeline(sys.argv.pop())
"""


def pairs(demo_data, **more):
    roots = {"dataroot_gt": str(demo_data / "val_GT"), "dataroot_lq": str(demo_data / "val_LRx4")}
    return {"type": "PairedImageDataset", **roots, "io_backend": {"type": "disk"}, **more}


def run(opt, phase, folder):
    (folder / "it.yml").write_text(yaml.safe_dump(json.loads(json.dumps(opt))))  # no aliases: BasicSR pops keys
    command = [sys.executable, "-c", SCRIPT.format(phase=phase), "-opt", "it.yml", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "make", [official.hat_training, official.real_mse, official.real_gan, official.msrresnet], ids=lambda f: f.__name__
)
def test_trains(make, demo_data, tmp_path):
    opt = make()
    train = opt["datasets"]["train"]
    train.update(num_worker_per_gpu=0, batch_size_per_gpu=1, dataroot_gt=str(demo_data / "val_GT"), filename_tmpl="{}")
    if "dataroot_lq" in train:
        train["dataroot_lq"] = str(demo_data / "val_LRx4")
    opt["datasets"] = {"train": train, "val": pairs(demo_data, name="held_out")}
    opt["val"] = {"val_freq": 2, "save_img": False, "metrics": {"psnr": official.PSNR}}
    opt["train"].update(total_iter=2)
    opt["train"].pop("perceptual_opt", None)  # its network is not here
    opt["path"]["pretrain_network_g"] = None
    opt["logger"].update(print_freq=1, save_checkpoint_freq=2, use_tb_logger=False)
    opt["num_gpu"] = 0
    said = run(opt, "train", tmp_path)
    assert "End of training" in said and "psnr" in said
    saved = torch.load(tmp_path / "experiments/train_it/models/net_g_latest.pth", weights_only=True)
    assert set(saved) == {"params", "params_ema"}


def test_tests_in_tiles(demo_data, tmp_path):
    opt = official.hat_tiles()
    torch.save(
        {"params_ema": HAT(**{k: v for k, v in TINY_HAT.items() if k != "type"}).state_dict()}, tmp_path / "w.pth"
    )
    opt["path"]["pretrain_network_g"] = "w.pth"
    opt["datasets"] = {"test_1": pairs(demo_data, name="held_out")}
    assert "psnr" in run(opt, "test", tmp_path)
    assert len(list((tmp_path / "results/test_it").rglob("*.png"))) == 2
