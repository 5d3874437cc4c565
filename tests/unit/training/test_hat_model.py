"""HATModel drives any registered network through BasicSR's training step, EMA and validation."""

from __future__ import annotations

import logging

import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from torch.nn import functional as F

from hat_arch import config
from hat_arch.utils.errors import UserError

CONVOLUTIONAL = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "upscale": 4}
NETWORKS = {
    "HAT": None,  # that of the fixture
    "SwinIR": {
        "upscale": 4,
        "window_size": 8,
        "img_size": 8,
        "depths": [2],
        "embed_dim": 12,
        "num_heads": [2],
        "upsampler": "pixelshuffledirect",
    },
    "RCAN": {**CONVOLUTIONAL, "num_group": 1, "num_block": 1},
    "EDSR": {**CONVOLUTIONAL, "num_block": 1},
    "MSRResNet": {**CONVOLUTIONAL, "num_block": 1},
}


@pytest.fixture
def build(options, write_options, tmp_path):
    def build(**changes):
        options["train"].update(changes)
        opt = config.load(write_options(options), is_train=True)
        opt.update(dist=False, rank=0, world_size=1, is_train=True)
        opt["path"].update(models=str(tmp_path), training_states=str(tmp_path), visualization=str(tmp_path))
        return build_model(opt), opt

    return build


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    gt = torch.rand(2, 3, 32, 32, generator=generator)
    return {"lq": F.avg_pool2d(gt, 4), "gt": gt}


def val_loader(opt):
    dataset_opt = {**opt["datasets"]["val"], "phase": "val", "scale": 4}
    return build_dataloader(build_dataset(dataset_opt), dataset_opt)


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("name", NETWORKS)
def test_any_network_trains_and_validates(build, options, name, ema_decay, caplog):
    if NETWORKS[name]:
        options["network_g"] = {"type": name, **NETWORKS[name]}
    model, opt = build(ema_decay=ema_decay)
    before = [p.clone() for p in model.net_g.parameters()]
    for iteration in (1, 2):
        model.feed_data(batch(iteration))
        model.optimize_parameters(iteration)
    assert all(torch.isfinite(p).all() for p in model.net_g.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, model.net_g.parameters()))

    logging.getLogger("basicsr").propagate = True
    with caplog.at_level(logging.INFO, "basicsr"):
        model.validation(val_loader(opt), 2, None, save_img=False)
    assert "# psnr:" in caplog.text and "# ssim:" in caplog.text
    assert model.metric_results["psnr"] > 3
    assert model.net_g.training
    assert all(module.training for module in model.net_g.modules())
    if ema_decay:
        assert not model.net_g_ema.training


def test_network_trains_on_after_a_failed_validation(build):
    model, _ = build(ema_decay=0.0)
    model.lq = torch.rand(1, 4, 8, 8)  # four channels
    with pytest.raises(UserError, match="expected"):
        model.test()
    assert model.net_g.training


def test_ema_is_basicsrs_formula(build):
    model, _ = build(ema_decay=0.9)
    start = {k: p.detach().clone() for k, p in model.net_g_ema.named_parameters()}
    model.feed_data(batch())
    model.optimize_parameters(1)
    new = dict(model.net_g.named_parameters())
    for key, p in model.net_g_ema.named_parameters():
        torch.testing.assert_close(p, start[key] * 0.9 + new[key] * 0.1, rtol=1e-6, atol=1e-8)


def test_one_step_equals_basicsrs_own_model(build, options):
    def weights(model_type):
        torch.manual_seed(0)
        options["model_type"] = model_type
        model, _ = build()
        model.feed_data(batch())
        model.optimize_parameters(1)
        return model.net_g.state_dict()

    ours, theirs = weights("HATModel"), weights("SRModel")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_bf16_keeps_weights_and_losses_in_fp32_and_learns_alike(build):
    def losses(precision):
        torch.manual_seed(0)
        model, _ = build(precision=precision)
        values = []
        for iteration in range(1, 9):
            model.feed_data(batch())
            model.optimize_parameters(iteration)
            values.append(model.log_dict["l_pix"])
        assert model.output.dtype == torch.float32
        assert all(p.dtype == torch.float32 and p.grad.dtype == torch.float32 for p in model.net_g.parameters())
        return values

    fp32, bf16 = losses("fp32"), losses("bf16")
    assert fp32 != bf16  # it is another arithmetic
    assert bf16[-1] < bf16[0]
    torch.testing.assert_close(torch.tensor(bf16), torch.tensor(fp32), rtol=0.05, atol=0)


@pytest.mark.parametrize("optimizer", [{"type": "AdamW", "lr": 1e-3}, {"type": "SGD", "lr": 0.1, "momentum": 0.9}])
def test_optimizers_of_torch_by_name(build, options, optimizer):
    options["train"]["optim_g"] = dict(optimizer)
    model, _ = build()
    assert type(model.optimizer_g).__name__ == optimizer["type"]


def test_images_without_ground_truth_are_upscaled_and_not_scored(build, options, tmp_path):
    folder = options["datasets"]["val"]["dataroot_lq"]
    options["datasets"]["val"] = {"name": "own", "type": "SingleImageDataset", "dataroot_lq": folder}
    model, opt = build()
    model.validation(val_loader(opt), 3, None, save_img=True)
    assert sorted(p.name for p in tmp_path.glob("*/*_3.png")) == ["coffee_3.png", "rocket_3.png"]
