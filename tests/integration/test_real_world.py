"""The second stage of real-world training as a command: killed and resumed, and by two processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import cv2
import numpy as np
import official
import pytest
import torch
import yaml
from tiny import TINY_HAT

TOTAL = 6
KILLS = """
import os, signal
from hat_arch.training import hat_model
step = hat_model.HATModel.optimize_parameters
def optimize_parameters(self, current_iter):
    if os.environ.get("DIES_AT") == str(current_iter):
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, current_iter)
hat_model.HATModel.optimize_parameters = optimize_parameters
"""


@pytest.fixture
def options(demo_data, tmp_path):
    opt = official.real_gan({**TINY_HAT, "depths": [1], "num_heads": [2]})
    rng = np.random.default_rng(0)
    (tmp_path / "gt").mkdir()
    for n in range(8):
        coarse = rng.integers(0, 256, (6, 7, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"gt/{n}.png"), cv2.resize(coarse, (56, 48), interpolation=cv2.INTER_CUBIC))
    data = opt["datasets"]["train"]
    data.update(dataroot_gt=str(tmp_path / "gt"), crop_pad_size=48, num_worker_per_gpu=0, batch_size_per_gpu=2)
    opt.update(name="real", gt_size=32, queue_size=4)
    opt["path"]["pretrain_network_g"] = None
    del opt["train"]["perceptual_opt"]
    smooth = {"type": "Adam", "lr": 1e-3, "eps": 1e-3}  # Adam itself makes large differences of rounding errors
    opt["train"].update(total_iter=TOTAL, ema_decay=0.9, net_d_init_iters=1, optim_g=smooth, optim_d=dict(smooth))
    opt["logger"] = {"print_freq": 1, "save_checkpoint_freq": 2, "use_tb_logger": False}
    return opt


def train(folder, opt, *args, dies_at=""):
    folder.mkdir(exist_ok=True)
    (folder / "real.yml").write_text(yaml.safe_dump(opt))
    (folder / "kills.py").write_text(KILLS)
    command = [sys.executable, "-m", "hat_arch", "train", "-opt", "real.yml", "--plugin", "kills.py", *args]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "DIES_AT": dies_at}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def saved(folder):
    """All tensors of both networks at the end."""
    found = {}
    for letter in "gd":
        content = torch.load(folder / f"experiments/real/models/net_{letter}_latest.pth", weights_only=True)
        found |= {f"{letter} {key} {name}": value for key in content for name, value in content[key].items()}
    return found


def test_killed_and_resumed_equals_uninterrupted(options, tmp_path):
    assert train(tmp_path / "whole", options).returncode == 0
    done = train(tmp_path / "parts", options, dies_at="6")
    assert done.returncode == -signal.SIGKILL
    done = train(tmp_path / "parts", options, "--auto_resume")
    assert done.returncode == 0 and "Resuming training from epoch: 0, iter: 4." in done.stderr, done.stderr
    whole, parts = saved(tmp_path / "whole"), saved(tmp_path / "parts")
    assert whole.keys() == parts.keys() and {name.split()[1] for name in whole} == {"params", "params_ema"}
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_two_processes_equal_one(options, tmp_path):
    options["queue_size"] = 100  # not full before the end: each process would mix on its own
    done = train(tmp_path / "two", options, "--gpus", "2")
    assert done.returncode == 0, done.stderr
    options["datasets"]["train"]["batch_size_per_gpu"] = 4
    assert train(tmp_path / "one", options).returncode == 0
    two, one = saved(tmp_path / "two"), saved(tmp_path / "one")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
    state = torch.load(tmp_path / "two/experiments/real/training_states/4.state", weights_only=True)
    pools = [process["pool"]["pairs"] for process in state["random"]]
    assert [tuple(lq.shape) for lq, _ in pools] == [(8, 3, 8, 8)] * 2 and not torch.equal(pools[0][0], pools[1][0])
