"""Option files as their authors publish them: they run as they are, or a line says why not."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path

import official
import pytest

from hat_arch import config
from hat_arch.config import ConfigError

REFUSED = {"hifacegan": "no loss 'GANFeatLoss' is registered"}  # BasicSR 1.4.2 has none, which its file names
NOTED = {
    "hat_imagenet": {"datasets.train.dataroot_lq"},
    "real_mse": {"datasets.train.gt_size", "datasets.train.meta_info_file", "train.optim_d"},
    "real_gan": {"datasets.train.gt_size", "datasets.train.meta_info_file"},
    "realesrgan": {"datasets.train.gt_size"},
    "realesrnet": {"datasets.train.gt_size"},
    "ldl": {"datasets.train.gt_size"},
    "rcan_test": {"save_img"},
    "toflow_test": {"save_img"},
    "stylegan2": {"train.net_d_iters", "train.net_d_init_iters"},
}
"""File → keys that have no effect, also for the program that it is of."""


def notes(printed: str) -> list[str]:
    return [line for line in printed.splitlines() if "without effect" in line]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("make", official.TRAINING + official.TESTING, ids=lambda make: make.__name__)
def test_passes_the_check(make, write_options, capsys):
    name, file, absent = make.__name__, write_options(make()), []
    if name in REFUSED:
        with pytest.raises(ConfigError, match=REFUSED[name]):
            config.load(file, make in official.TRAINING, absent=absent)
        return
    opt = config.load(file, make in official.TRAINING, absent=absent)
    assert all(isinstance(path, Path) for path in absent) and opt["name"]
    said = notes(capsys.readouterr().err)
    assert len(said) <= 1
    assert {key for line in said for key in re.findall(r"([\w.]+) \(", line)} == NOTED.get(name, set())


def test_a_test_without_val_saves_images(write_options):
    opt = config.load(write_options(official.hat_real_test()), False, absent=[])
    assert opt["val"] == {"save_img": True, "suffix": None, "pbar": False}


def test_notes_come_once_from_the_process_that_checks_networks(write_options, capsys):
    file = write_options(official.real_mse())
    config.load(file, True, absent=[], build_networks=False)
    assert not notes(capsys.readouterr().err)


def change(opt, key, value):
    *sections, last = key.split(".")
    at = opt
    for section in sections:
        at = at[section]
    if value is None:
        del at[last]
    else:
        at[last] = value


@pytest.mark.parametrize(
    ("make", "key", "value", "words"),
    [
        (official.real_gan, "l1_gt_usm", None, r":2: model_type: RealHATGANModel needs.* l1_gt_usm"),
        (official.real_gan, "network_d", None, "network_d"),
        (official.real_gan, "train.optim_d", None, "train: .*optim_d"),
        (official.real_gan, "queue_size", 181, "queue_size: 181.*batch_size_per_gpu 4"),
        (official.real_gan, "train.precision", "bf16", None),
        (official.realesrgan, "train.precision", "bf16", "train.precision: .*HATModel"),
        (official.real_gan, "recipe", "noise:25:3", "recipe: noise:25:3"),
        (official.real_gan, "recipe", "realesrgann", "recipe: .*did you mean 'realesrgan'"),
        (official.real_gan, "recipe", "bsrgan", None),
        (official.real_gan, "jpeg_range", [95, 30], "jpeg_range should be a range"),
        (official.real_gan, "queue_size", 0, None),
        (official.real_gan, "queue_size", -4, "queue_size: -4"),
        (official.real_gan, "gt_size", 16, "gt_size: 16 is smaller than the kernels.* 26 at least"),
        (official.real_gan, "gt_size", 66, "gt_size: 66 is not a multiple of scale 4"),
        (official.real_gan, "gt_size", None, "gt_size: is missing"),
        (official.real_gan, "gt_size", 512, "crop_pad_size: 400 is smaller than gt_size 512"),
        (official.real_gan, "datasets.train.crop_pad_size", 60, "crop_pad_size: 60 is smaller than gt_size 64"),
        (official.real_gan, "gt_usm", True, "gt_usm: RealHATGANModel has no use for it.*RealHATMSEModel"),
        (official.real_gan, "l1_gt_usm", "yes", "l1_gt_usm: should be true or false, is 'yes'"),
        (official.real_mse, "l1_gt_usm", True, "l1_gt_usm: RealHATMSEModel has no use for it.*RealHATGANModel"),
        (official.hat_training, "l1_gt_usm", True, "l1_gt_usm: HATModel has no use for it.*RealHATGANModel"),
        (official.hat_training, "l1_gt_usm", False, None),
        (
            official.real_gan,
            "network_d",
            {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 4},
            "network_d: VGGStyleDiscriminator does not take patches of 64x64: .*Input size",
        ),
        (
            official.real_gan,
            "network_d",
            {**official.UNET, "num_in_ch": 4},
            "network_d: .* patches of 64x64: .*channels",
        ),
        (official.real_gan, "train.ldl_opt", official.L1, None),
        (official.real_gan, "jpeg_range", ["30", "95"], "jpeg_range: '30' is text"),
        (official.real_gan, "datasets.train.sinc_prob", "0.1", "sinc_prob: '0.1' is text"),
        (official.realesrnet, "datasets.train.meta_info", None, None),
        (official.hat_tiles, "val.tile", 64, "tile: val.tile"),
        (official.stylegan2, "train.r1_reg_weight", None, "r1_reg_weight"),
    ],
)
def test_what_is_missing_or_wrong_in_them_is_named(make, key, value, words, write_options):
    opt = deepcopy(make())
    change(opt, key, value)
    file = write_options(opt)
    if words is None:
        config.load(file, make in official.TRAINING, absent=[])
    else:
        with pytest.raises(ConfigError, match=words):
            config.load(file, make in official.TRAINING, absent=[])


def test_tiles_that_a_model_does_not_read_are_noted(write_options, capsys):
    opt = official.bsrn_test()
    opt["tile"] = {"tile_size": 16, "tile_pad": 4}
    config.load(write_options(opt), False, absent=[])
    assert re.search(r"without effect: tile \(SRModel", capsys.readouterr().err)


def test_absent_weights_of_a_network_are_named(options, write_options):
    options["network_g"] = {"type": "BasicVSR", "num_feat": 4, "num_block": 1, "spynet_path": official.SPYNET}
    with pytest.raises(ConfigError, match=r"network_g\.spynet_path: no file 'experiments/.*spynet\.pth'"):
        config.load(write_options(options), True)
