"""Real-world training: from the official option files to a checkpoint and on; the LR that it trains on; its pool."""

from __future__ import annotations

from pathlib import Path

import official
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.utils import USMSharp

from hat_arch import RealESRGANDataset, config
from hat_arch.training import pipeline
from hat_arch.training.hat_model import TrainingError


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


@pytest.fixture
def build(demo_data, tmp_path, write_options, monkeypatch):
    """A model of the official files, and its training data set."""

    def build(make=official.real_gan, **changes):
        opt = prepare(make(), demo_data, tmp_path, monkeypatch)
        opt["queue_size"] = 0
        opt["train"]["ema_decay"] = 0.9
        for key, value in changes.items():
            opt[key] = value
        opt = config.load(write_options(opt), True, absent=[])
        opt.update(dist=False, rank=0, world_size=1, is_train=True)
        opt["path"].update(models=str(tmp_path), training_states=str(tmp_path), visualization=str(tmp_path))
        torch.manual_seed(0)
        data = {**opt["datasets"]["train"], "phase": "train", "scale": 4, "seed": 3, "crop_pad_size": 80}
        return build_model(opt), RealESRGANDataset(data)

    return build


def batch(dataset, *positions):
    items = [dataset[position] for position in positions]
    return {name: torch.stack([item[name] for item in items]) for name in ("gt", "draw")}


def fed(model, data):
    model.feed_data(data)
    return model.lq.clone(), model.gt.clone()


@pytest.mark.parametrize("recipe", ["realesrgan", "bsrgan", {"type": "photo", "jpeg_prob": 1.0}])
def test_the_lr_depends_on_seed_draw_and_image_alone(build, recipe):
    model, dataset = build(recipe=recipe)
    lq, gt = fed(model, batch(dataset, 0, 1))
    assert lq.shape == (2, 3, 16, 16) and gt.shape == (2, 3, 64, 64)
    assert torch.equal((lq * 255).round() / 255, lq) and torch.equal((gt * 255).round() / 255, gt)
    torch.rand(3)
    for n, position in ((1, 1), (0, 0)):
        alone = fed(model, batch(dataset, position))
        assert torch.equal(alone[0][0], lq[n]) and torch.equal(alone[1][0], gt[n])
    later = fed(model, batch(dataset, len(dataset)))  # the same image in the next epoch
    assert not torch.equal(later[0][0], lq[0])


def test_the_patch_of_the_lr_is_that_of_the_ground_truth(build):
    model, dataset = build(recipe="bicubic", l1_gt_usm=False, percep_gt_usm=False)
    for position in range(4):
        lq, gt = fed(model, batch(dataset, position))
        reduced = torch.nn.functional.interpolate(gt, scale_factor=0.25, mode="bicubic", antialias=True)
        inside = slice(3, -3)
        assert (lq - reduced)[..., inside, inside].abs().max() < 0.01


def test_losses_compare_with_the_sharpened_ground_truth_that_the_file_asks_for(build):
    model, dataset = build(l1_gt_usm=True, percep_gt_usm=False, gan_gt_usm=False)
    model.feed_data(batch(dataset, 0, 1))
    sharp = USMSharp()(model.gt)
    assert torch.equal(model.target("l1"), sharp) and not torch.equal(sharp, model.gt)
    assert torch.equal(model.target("percep"), model.gt) and torch.equal(model.target("gan"), model.gt)


@pytest.mark.parametrize("sharpened", [True, False])
def test_the_first_stage_sharpens_if_the_file_says_so(build, sharpened):
    model, dataset = build(official.real_mse, gt_usm=sharpened)
    plain, _ = build(official.real_mse, gt_usm=False)
    (lq, gt), (plain_lq, plain_gt) = (fed(one, batch(dataset, 0)) for one in (model, plain))
    assert torch.equal(gt, USMSharp()(plain_gt) if sharpened else plain_gt)
    assert torch.equal(lq, plain_lq) != sharpened


def test_a_validation_leaves_pool_and_mode_alone_and_takes_the_average(build):
    model, dataset = build(queue_size=2)
    for n in range(3):
        model.feed_data(batch(dataset, n))
        model.optimize_parameters(n + 1)
    before = model.pool.state()
    ran = []
    model.net_g_ema.register_forward_hook(lambda net, args, output: ran.append(tuple(args[0].shape)))
    section = {**model.opt["datasets"]["val"], "phase": "val", "scale": 4}
    loader = build_dataloader(build_dataset(section), section)
    model.validation(loader, 2, None)
    after = model.pool.state()
    assert model.is_train and not model.validating and model.net_g.training and ran
    assert all(torch.equal(a, b) for a, b in zip(before["pairs"], after["pairs"]))
    assert torch.equal(before["generator"], after["generator"]) and model.metric_results["psnr"] > 3


def test_items_that_do_not_say_how_they_were_drawn_are_refused(build):
    model, dataset = build()
    data = batch(dataset, 0)
    del data["draw"]
    with pytest.raises(TrainingError, match=r"datasets: train: RealESRGANDataset .*high_order_degradation: false"):
        model.feed_data(data)


@pytest.mark.parametrize("make", [official.real_mse, official.real_gan], ids=lambda make: make.__name__)
def test_trains_on_pairs_too(build, make):
    model, _ = build(make, high_order_degradation=False)
    gt = torch.rand(2, 3, 64, 64)
    model.feed_data({"lq": gt[..., ::4, ::4], "gt": gt})
    model.optimize_parameters(1)
    assert torch.equal(model.gt, gt) and "pool" not in model.of_process()


@pytest.mark.parametrize(("make", "loss"), [(official.real_mse, "l_pix"), (official.real_gan, "l_g_pix")])
def test_losses_fall_and_all_networks_learn(build, make, loss):
    fast = {"type": "Adam", "lr": 2e-3}
    train = {**make()["train"], "optim_g": fast, "optim_d": dict(fast), "ema_decay": 0.9, "total_iter": 24}
    train.pop("perceptual_opt", None)
    model, dataset = build(make, train=train)
    nets = [net for net in ("net_g", "net_g_ema", "net_d") if hasattr(model, net)]
    before = {net: [value.clone() for value in getattr(model, net).parameters()] for net in nets}
    losses = []
    for n in range(24):
        model.feed_data(batch(dataset, 2 * n, 2 * n + 1))
        model.optimize_parameters(n + 1)
        losses.append(model.log_dict[loss])
    assert sum(losses[-8:]) < 0.8 * sum(losses[:8])
    assert len(nets) == (3 if make is official.real_gan else 2)
    for net in nets:
        assert any(not torch.equal(a, b) for a, b in zip(before[net], getattr(model, net).parameters()))
