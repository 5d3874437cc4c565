"""A run that was interrupted and resumed equals one that was not, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import official
import pytest
import torch

from hat_arch import config
from hat_arch.data.lmdb_store import write_store
from hat_arch.degradations.resize import imresize
from hat_arch.training import pipeline
from hat_arch.training.hat_model import HATModel

IMAGES, BATCH, TOTAL = 5, 2, 8  # three iterations an epoch


class Killed(Exception):
    """As if the process were no more."""


@pytest.fixture
def options(options: dict[str, Any], tmp_path: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    gt = {f"im{n}": rng.integers(0, 256, (40, 48, 3), np.uint8) for n in range(IMAGES)}
    write_store(tmp_path / "gt.lmdb", gt.items())
    write_store(tmp_path / "lq.lmdb", ((name, imresize(image, 0.25)) for name, image in gt.items()))
    options["datasets"]["train"].update(
        dataroot_gt=str(tmp_path / "gt.lmdb"), dataroot_lq=str(tmp_path / "lq.lmdb"), batch_size_per_gpu=BATCH
    )
    options["network_g"]["drop_path_rate"] = 0.3  # draws random numbers
    options["train"].update(total_iter=TOTAL, warmup_iter=3)
    options["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [4, 6], "gamma": 0.5}
    options["val"]["val_freq"] = 3
    options["logger"].update(save_checkpoint_freq=1, use_tb_logger=False)
    return options


@pytest.fixture
def train(write_options, tmp_path, monkeypatch):
    """Trains in this process; returns losses and final weights, or raises `Killed` after iteration ``die_after``."""
    monkeypatch.chdir(tmp_path)
    step = HATModel.optimize_parameters
    monkeypatch.setattr("basicsr.utils.logger.initialized_logger", {})

    def train(opt: dict[str, Any], root: Path, die_after: int | None = None, resume: bool = False) -> Any:
        losses: dict[int, dict[str, float]] = {}

        def watched(self: HATModel, current_iter: int) -> None:
            if die_after is not None and current_iter > die_after:
                raise Killed
            step(self, current_iter)
            losses[current_iter] = dict(self.log_dict)

        monkeypatch.setattr(HATModel, "optimize_parameters", watched)
        root.mkdir(exist_ok=True)
        file = write_options(opt)
        argv = ["-opt", str(file), *(["--auto_resume"] if resume else [])]
        pipeline.train(config.load(file, is_train=True), argv, root)
        files = sorted((root / "experiments" / opt["name"] / "models").glob("net_?_latest.pth"))
        saved = {file.name: torch.load(file, weights_only=True) for file in files}
        return losses, {f"{name} {key}": weights for name in saved for key, weights in saved[name].items()}

    return train


def assert_equal(a: Any, b: Any) -> None:
    assert a.keys() == b.keys()
    for key in a:
        assert all(torch.equal(a[key][name], b[key][name]) for name in a[key]), key


PLACES = [(after, (0, 0)) for after in range(1, TOTAL)] + [
    (after, workers)
    for after in (2, 3)  # inside an epoch, and at its end
    for workers in ((1, 1), (4, 4), (0, 4), (4, 1))
]


@pytest.mark.parametrize(("die_after", "workers"), PLACES)
def test_interrupted_at_any_iteration(train, options, tmp_path, die_after, workers):
    data = options["datasets"]["train"]
    losses, weights = train(options, tmp_path / "whole")
    data["num_worker_per_gpu"] = workers[0]
    with pytest.raises(Killed):
        train(options, tmp_path / "parts", die_after)
    data["num_worker_per_gpu"] = workers[1]
    later, resumed = train(options, tmp_path / "parts", resume=True)
    assert later == {i: loss for i, loss in losses.items() if i > die_after}
    assert_equal(weights, resumed)


@pytest.fixture
def real_world(options: dict[str, Any], tmp_path: Path) -> Any:
    """Options of either stage: a pool that is full after two iterations; the generator learns after two."""

    def make(stage: str) -> dict[str, Any]:
        opt = official.real_gan() if stage == "gan" else official.real_mse()
        rng = np.random.default_rng(0)
        (tmp_path / "gt").mkdir()
        for n in range(IMAGES):
            cv2.imwrite(str(tmp_path / f"gt/{n}.png"), rng.integers(0, 256, (60, 48, 3), np.uint8))
        train = opt["datasets"]["train"]
        train.update(dataroot_gt=str(tmp_path / "gt"), crop_pad_size=48, num_worker_per_gpu=0, batch_size_per_gpu=BATCH)
        opt.update({key: options[key] for key in ("network_g", "val")}, name="tiny", gt_size=32, queue_size=2 * BATCH)
        opt["datasets"]["val"] = options["datasets"]["val"]
        opt["path"]["pretrain_network_g"] = None
        opt["train"].pop("perceptual_opt", None)
        opt["train"].update({key: options["train"][key] for key in ("total_iter", "warmup_iter", "scheduler")})
        if stage == "gan":
            opt["train"].update(net_d_init_iters=2, accumulate=2)
        opt["logger"] = {"print_freq": 1, "save_checkpoint_freq": 1, "use_tb_logger": False}
        return opt

    return make


@pytest.mark.parametrize("stage", ["mse", "gan"])
@pytest.mark.parametrize(("die_after", "workers"), [(1, 0), (2, 1), (5, 0)])
def test_real_world_training_goes_on_exactly(train, real_world, tmp_path, stage, die_after, workers):
    opt = real_world(stage)
    losses, weights = train(opt, tmp_path / "whole")
    assert {"l_g_pix" if stage == "gan" else "l_pix"} <= losses[TOTAL].keys()
    assert len(weights) == (3 if stage == "gan" else 2)
    opt["datasets"]["train"]["num_worker_per_gpu"] = workers
    with pytest.raises(Killed):
        train(opt, tmp_path / "parts", die_after)
    later, resumed = train(opt, tmp_path / "parts", resume=True)
    assert later == {i: loss for i, loss in losses.items() if i > die_after}
    assert_equal(weights, resumed)
