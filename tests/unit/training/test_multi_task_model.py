"""Multi-related-task pre-training through BasicSR's loop, and fine-tuning from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model

from hat_arch import config
from hat_arch.degradations.resize import imresize

SCALES = (2, 3, 4)


@pytest.fixture
def options(options):
    train = options["datasets"]["train"]
    train.update(type="MultiScaleImageNetDataset", scales=list(SCALES))
    del train["dataroot_lq"]
    options["network_g"].update(type="MultiTaskHAT", scales=list(SCALES))
    options["model_type"] = "MultiTaskHATModel"
    return options


@pytest.fixture
def dataset(options):
    return build_dataset({**options["datasets"]["train"], "phase": "train", "scale": 4, "seed": 1})


def images(item):
    """The GT of each scale, ``(H, W, 3)``."""
    parts = item["gt"].split([64 * scale**2 for scale in SCALES], -1)
    return [part.unflatten(-1, (8 * scale, 8 * scale)).permute(1, 2, 0).numpy() for scale, part in zip(SCALES, parts)]


def test_every_lr_is_the_bicubic_of_the_gt_of_its_scale(dataset):
    item = dataset[3]
    assert item["lq"].shape == (9, 8, 8) and item["gt"].shape == (3, 64 * 29)
    for scale, lq, gt in zip(SCALES, item["lq"].chunk(3), images(item)):
        inside = slice(3, -3)  # the LR was made from the whole image, of which the patch is a part
        made = imresize(gt.astype(np.float64), 1 / scale)[inside, inside]
        np.testing.assert_allclose(lq.permute(1, 2, 0).numpy()[inside, inside], made, atol=1e-5)


def test_items_depend_on_seed_and_draw_alone(dataset, options):
    again = build_dataset({**options["datasets"]["train"], "phase": "train", "scale": 4, "seed": 1})
    position = 5 * len(dataset) + 3
    assert torch.equal(dataset[position]["gt"], again[position]["gt"])
    assert not torch.equal(dataset[position]["lq"], dataset[3]["lq"])


def test_loss_is_the_sum_of_the_scales_means(options, write_options, tmp_path, dataset):
    options["train"].update(ema_decay=0, accumulate=2)
    opt = config.load(write_options(options), is_train=True)
    opt.update(dist=False, rank=0, world_size=1, is_train=True)
    model = build_model(opt)
    items = [dataset[n] for n in (0, 1)]
    lq = torch.stack([item["lq"] for item in items])
    with torch.no_grad():
        outputs = model.net_g(lq).split([64 * scale**2 for scale in SCALES], -1)
    gts = torch.stack([item["gt"] for item in items]).split([64 * scale**2 for scale in SCALES], -1)
    model.feed_data({"lq": lq, "gt": torch.stack([item["gt"] for item in items])})
    model.optimize_parameters(1)
    for scale, output, gt in zip(SCALES, outputs, gts):
        assert model.log_dict[f"l_pix_x{scale}"] == pytest.approx(float((output - gt).abs().mean()), rel=1e-5)


def test_hat_is_fine_tuned_from_what_was_pre_trained(options, write_options, tmp_path, basicsr):
    options["train"]["precision"] = "bf16"
    done = basicsr("train", "-opt", write_options(options))
    assert done.returncode == 0, done.stderr
    assert all(word in done.stderr for word in ("l_pix_x2:", "l_pix_x3:", "l_pix_x4:", "# psnr:"))

    pretrained = tmp_path / "experiments/tiny/models/net_g_latest.pth"
    options["name"], options["model_type"] = "fine", "HATModel"
    options["network_g"] = {k: v for k, v in options["network_g"].items() if k != "scales"} | {"type": "HAT"}
    folder = options["datasets"]["train"]["dataroot_gt"].replace("GT", "LRx4")
    options["datasets"]["train"].update(type="SeededPairedDataset", dataroot_lq=folder)
    del options["datasets"]["train"]["scales"]
    options["path"].update(pretrain_network_g=str(pretrained), param_key_g="params_ema", strict_load_g=False)
    options["train"].update(precision="fp32", total_iter=1)
    options["train"]["optim_g"]["lr"] = 0.0
    done = basicsr("train", "-opt", write_options(options, "fine.yml"))
    assert done.returncode == 0, done.stderr
    before = torch.load(pretrained, weights_only=True)["params_ema"]
    after = torch.load(tmp_path / "experiments/fine/models/net_g_latest.pth", weights_only=True)["params"]
    assert all(torch.equal(before[name], value) for name, value in after.items())
