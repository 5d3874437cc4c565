"""The official HAT's models for real-world training, from its option files to a checkpoint and on from it."""

from __future__ import annotations

from pathlib import Path

import official
import pytest
import torch

from hat_arch import RealESRGANDataset, config
from hat_arch.data.images import DataError
from hat_arch.training import pipeline


def prepare(opt, demo_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opt["datasets"]["train"].update(dataroot_gt=str(demo_data / "val_GT"), num_worker_per_gpu=0, batch_size_per_gpu=1)
    pair = {"dataroot_gt": str(demo_data / "val_GT"), "dataroot_lq": str(demo_data / "val_LRx4")}
    pair |= {"type": "PairedImageDataset", "io_backend": {"type": "disk"}}
    opt["datasets"] |= {"val": {"name": "a", **pair}, "val_2": {"name": "b", **pair}}
    opt["val"] = {"val_freq": 2, "save_img": False, "metrics": {"psnr": official.PSNR}}
    opt.update(num_gpu=0, queue_size=2, gt_size=64)
    opt["path"]["pretrain_network_g"] = None
    opt["train"].update(total_iter=3)
    opt["logger"] = {"print_freq": 1, "save_checkpoint_freq": 2, "use_tb_logger": False}
    opt["train"].pop("perceptual_opt", None)
    return opt


@pytest.mark.parametrize("make", [official.real_mse, official.real_gan], ids=lambda make: make.__name__)
def test_trains_validates_saves_and_goes_on(make, demo_data, tmp_path, write_options, monkeypatch):
    opt = prepare(make(), demo_data, tmp_path, monkeypatch)
    file = write_options(opt)
    steps = []
    step = pipeline.TrainingRun.step_done

    def counted(self, model, iteration, stop_signal):
        steps.append((iteration, model.is_train, tuple(model.lq.shape), tuple(model.gt.shape)))
        step(self, model, iteration, stop_signal)

    monkeypatch.setattr(pipeline.TrainingRun, "step_done", counted)
    pipeline.train(config.load(file, True), ["-opt", str(file)], tmp_path)
    assert steps == [(n, True, (1, 3, 16, 16), (1, 3, 64, 64)) for n in (1, 2, 3)]
    models = tmp_path / "experiments" / opt["name"] / "models"
    networks = ["net_d", "net_g"] if make is official.real_gan else ["net_g"]
    assert sorted(path.name for path in models.iterdir()) == [f"{n}_{i}.pth" for n in networks for i in ("2", "latest")]

    opt["train"]["total_iter"] = 4
    file = write_options(opt)
    pipeline.train(config.load(file, True), ["-opt", str(file), "--auto_resume"], tmp_path)
    assert [iteration for iteration, *_ in steps[3:]] == [3, 4]
    weights = torch.load(models / "net_g_latest.pth", weights_only=True)
    assert set(weights) == {"params", "params_ema"} and all(v.isfinite().all() for v in weights["params"].values())


@pytest.mark.parametrize("model", ["RealHATGANModel", "RealHATMSEModel"])
def test_tests_several_sets(model, demo_data, tmp_path, write_options, monkeypatch):
    opt = prepare(official.real_mse(), demo_data, tmp_path, monkeypatch)
    keys = ("name", "scale", "num_gpu", "manual_seed", "network_g", "path")
    tested = {key: opt[key] for key in keys} | {"model_type": model, "val": {"save_img": True}}
    tested["datasets"] = {"test_1": opt["datasets"]["val"], "test_2": opt["datasets"]["val_2"]}
    file = write_options(tested)
    pipeline.test(config.load(file, False), ["-opt", str(file)], tmp_path)
    saved = [path.parent.name for path in Path("results").rglob("*.png")]
    assert sorted(saved) == ["a", "a", "b", "b"]


def test_all_images_of_a_folder_without_a_list(demo_data, tmp_path):
    def make(folder):
        data = official.degradations()["data"] | {"use_hflip": False, "use_rot": False, "io_backend": {"type": "disk"}}
        return RealESRGANDataset({**data, "dataroot_gt": str(folder)})

    dataset = make(demo_data / "val_GT")
    assert len(dataset) == 2 and dataset[0]["gt"].shape == (3, 400, 400)
    with pytest.raises(DataError, match=str(tmp_path)):
        make(tmp_path)
