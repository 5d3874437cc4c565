"""``--dry_run``: option files as far as the first step, without their data."""

from __future__ import annotations

import os
import re
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import official
import pytest
import torch
import yaml
from basicsr.data import build_dataset
from basicsr.utils.registry import ARCH_REGISTRY
from tiny import TINY_HAT
from torch import nn

from hat_arch import HAT, cli, config
from hat_arch.config import shipped_options
from hat_arch.data.stand_ins import stand_in
from hat_arch.training import checkpoints, dry_run, wandb_log
from hat_arch.training.hat_model import HATModel
from hat_arch.utils.errors import UserError


@pytest.fixture(autouse=True)
def nothing_is_left(tmp_path, monkeypatch):
    """Runs in an empty folder, and sees that nothing is written there or left in the temporary one."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with TemporaryDirectory() as temporary:  # not in tmp_path, which is too long for the sockets of workers
        monkeypatch.setattr("tempfile.tempdir", temporary)
        yield
        assert not any(here.iterdir())
        left = [path.name for path in Path(temporary).iterdir()]
        assert not [name for name in left if not name.startswith("pymp-")]  # sockets of a worker that is just ending


@pytest.fixture
def without_data(options) -> dict[str, Any]:
    for phase, dataset in options["datasets"].items():
        dataset.update(dataroot_gt=f"nowhere/{phase}_GT", dataroot_lq=f"nowhere/{phase}_LR")
    options["datasets"]["train"]["dataroot_gt"] += ".lmdb"
    options["datasets"]["train"]["dataroot_lq"] += ".lmdb"
    return options


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("train_MSRResNet_SRx2", "1,369,859"),
        ("train_HAT-S_SRx4_finetune_from_SRx2", "9,621,183"),
        ("train_HAT-S_SRx3_ImageNet", "9,658,111"),
        ("train_SwinIR_SRx3", "11,937,127"),
        ("train_HAT_demo_SRx4", "260,594"),
        ("test_MSRResNet_SRx3", "1,554,499"),
        ("test_HAT_SRx4_no_gt", "20,772,507"),
        ("train_hat_light_denoise_25", "1,003,915"),
        ("train_hat_light_jpeg", "1,003,915"),
        ("train_HAT_denoise_color_25", "20,477,083"),
        ("train_HAT_jpeg_gray_q10_stage2", "20,472,689"),
        ("test_HAT_jpeg_gray_q40", "20,472,689"),
    ],
)
def test_option_files_run(name, parameters):
    lines = dry_run.dry_run(shipped_options.named(name), name.startswith("train")).splitlines()
    assert lines[-1] == "OK"
    assert lines[1].endswith(f", {parameters} parameters")
    assert any("missing: datasets/" in line for line in lines)


def test_official_weights_that_are_not_there_come_with_their_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HAT_ARCH_MODELS", str(tmp_path))
    said = dry_run.dry_run(shipped_options.named("test_HAT_SRx4_no_gt"), is_train=False)
    assert "missing: experiments/pretrained_models/HAT_SRx4.pth; to have it: basicsr models get HAT_SRx4\n" in said


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("train_hat_light_photo_x2_gan", "l_g_percep"),
        ("train_hat_light_photo_x4_gan", "l_d_fake"),
        ("train_RealHAT_SRx2_gan", "a step (batch 1, GT patch 32x32)"),
        ("test_RealHAT_SRx2", "a validation"),
    ],
)
def test_real_world_option_files_run(name, words, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "nowhere")
    said = dry_run.dry_run(shipped_options.named(name), name.startswith("train"))
    assert said.endswith("\nOK") and words in said
    if "_gan" in name:
        assert "missing: experiments/pretrained_models/vgg19-" in said and "; to make it: basicsr train -opt" in said


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (official.hat_training, "l_pix"),
        (official.hat_tiles, "a validation (LR 20x14)"),
        (official.hat_real_test, "a validation (LR 20x14)"),
        (official.real_mse, "l_pix"),
        (official.real_gan, "l_g_percep"),
        (official.realesrgan, "l_g_gan"),
        (official.realesrgan_pairs, "l_g_gan"),
        (official.realesrnet, "l_pix"),
        (official.rcan_test, "a validation"),
        (official.edvr, "no videos can be made up for REDSDataset"),
        (official.basicvsr, "no videos can be made up for REDSRecurrentDataset"),
        (official.basicvsr_test, "no videos"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_option_files_of_others_run(make, words, write_options, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "nowhere")
    said = dry_run.dry_run(write_options(make()), make in official.TRAINING)
    assert said.endswith("\nOK") and words in said
    if make in (official.real_gan, official.realesrgan_pairs):
        assert re.search(r"missing: experiments/pretrained_models/(vgg19-\w+\.pth), .*https://.*/\1", said)
    if make is official.basicvsr:
        assert f"missing: {official.SPYNET}" in said and "REDS_GT.txt" in said


def test_what_a_foreign_network_raises_is_a_line(without_data, write_options, monkeypatch):
    class Fails(torch.nn.Conv2d):
        def __init__(self, upscale: int = 4) -> None:
            super().__init__(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise IndexError("no such\nlayer")

    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "Fails", Fails)
    without_data["network_g"] = {"type": "Fails"}
    file = write_options(without_data)
    with pytest.raises(UserError) as error:
        dry_run.dry_run(file, True)
    line = str(error.value)
    assert line.startswith(f"{file}: Fails under HATModel (test_dry_run.py:")
    assert " fails in a step " in line and line.endswith(": IndexError: no such layer")


def test_says_what_is_missing_and_how_to_make_it():
    said = dry_run.dry_run(shipped_options.named("train_HAT-S_SRx4_finetune_from_SRx2"), True)
    assert "missing: datasets/DF2K/DF2K_HR_sub.lmdb, datasets/DF2K/DF2K_bicx4_sub.lmdb" in said
    assert said.count("basicsr data prepare df2k") == said.count("basicsr data prepare benchmarks") == 1
    assert "missing: experiments/train_HAT-S_SRx2/models/net_g_latest.pth; to make it: basicsr train -opt" in said
    assert "250,000 iterations, batch 4 a process, GT patches 256x256, Adam, lr 0.0001" in said
    # weights, gradients, two moments and the EMA, 4 bytes each
    assert f"{5 * 4 * 9_621_183 / 2**20:,.0f} MiB" in said


def test_steps_once_with_a_window_and_validates_all(without_data, write_options, monkeypatch):
    seen: dict[str, list[Any]] = {"step": [], "validation": []}
    step, validate = HATModel.optimize_parameters, HATModel.validation

    def stepped(self: HATModel, iteration: int) -> None:
        before = [parameter.clone() for parameter in self.net_g.parameters()]
        step(self, iteration)
        changed = any(not torch.equal(a, b) for a, b in zip(before, self.net_g.parameters()))
        seen["step"].append((iteration, tuple(self.lq.shape), tuple(self.gt.shape), changed))

    def validated(self: HATModel, loader: Any, *args: Any) -> None:
        validate(self, loader, *args)
        seen["validation"].append((loader.dataset.opt["name"], set(self.metric_results)))

    monkeypatch.setattr(HATModel, "optimize_parameters", stepped)
    monkeypatch.setattr(HATModel, "validation", validated)
    without_data["datasets"]["train"].update(gt_size=128, batch_size_per_gpu=32)
    without_data["network_g"]["window_size"] = 8
    dry_run.dry_run(write_options(without_data), True)
    assert seen["step"] == [(1, (1, 3, 16, 16), (1, 3, 64, 64), True)]
    assert seen["validation"] == [("demo_held_out", {"psnr", "psnr_rgb", "ssim"})]


def test_data_and_weights_that_are_there(options, write_options, tmp_path):
    torch.save({"params": HAT(**{k: v for k, v in TINY_HAT.items() if k != "type"}).state_dict()}, tmp_path / "w.pth")
    options["path"]["pretrain_network_g"] = str(tmp_path / "w.pth")
    said = dry_run.dry_run(write_options(options), True)
    assert "missing" not in said and f"{tmp_path / 'w.pth'}, loaded" in said


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("train:total_iters", "4", "unknown key; did you mean 'total_iter'"),
        ("datasets:train:gt_size", "33", "not a multiple of scale 4"),
        ("path:pretrain_network_g", "damaged.pth", "is text"),
        ("network_g:depths", "2", "network_g.depths: should be"),
        ("network_g:num_heads", "[5]", "cannot be built"),
    ],
)
def test_mistakes_are_errors_as_ever(without_data, write_options, tmp_path, capsys, key, value, complaint):
    (tmp_path / "damaged.pth").write_bytes(b"no weights")
    value = str(tmp_path / value) if value.endswith(".pth") else value
    file = write_options(without_data)
    assert cli.main(["train", "-opt", str(file), "--dry_run", "--force_yml", f"{key}={value}"]) == 2
    printed = capsys.readouterr()
    assert complaint in printed.err and "OK" not in printed.out


def test_missing_data_are_errors_without_it(without_data, write_options, capsys):
    file = str(write_options(without_data))
    assert cli.main(["train", "-opt", file]) == 2
    assert "no LMDB store 'nowhere/train_GT.lmdb' (looked in" in capsys.readouterr().err
    assert cli.main(["train", "-opt", file, "--dry_run"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"{file}, dry run\n") and printed.out.endswith("OK\n") and not printed.err


def test_what_would_be_written_elsewhere_is_not(without_data, write_options, monkeypatch):
    monkeypatch.setattr(checkpoints, "write_bytes", lambda *_: pytest.fail("wrote a checkpoint"))
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    monkeypatch.setattr(wandb_log, "start", lambda _: pytest.fail("told W&B"))
    without_data["logger"].update(use_tb_logger=True, wandb={"project": "mine"}, save_checkpoint_freq=1)
    without_data["path"]["resume_state"] = "nowhere/5.state"
    without_data["val"].update(save_img=True, val_first=True)
    without_data["val"]["metrics"]["niqe"] = {"type": "calculate_niqe", "crop_border": 4}
    assert dry_run.dry_run(write_options(without_data), True).endswith("OK")


def test_stops_at_once(without_data, write_options, monkeypatch):
    monkeypatch.setattr(HATModel, "optimize_parameters", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        dry_run.dry_run(write_options(without_data), True)


PAIR = {"dataroot_gt": "a", "dataroot_lq": "b"}


@pytest.mark.parametrize("backend", ["disk", "lmdb"])
@pytest.mark.parametrize(
    "section",
    [
        {"type": "SeededPairedDataset", **PAIR},
        {"type": "PairedImageDataset", **PAIR, "filename_tmpl": "{}"},
        {"type": "PairedImageDataset", **PAIR, "filename_tmpl": "{}x4"},
        {"type": "PairedImageDataset", **PAIR, "filename_tmpl": "{}x4", "meta_info_file": "c"},
        {"type": "BicubicLRDataset", "dataroot_gt": "a"},
        {"type": "DegradedImageDataset", "dataroot_gt": "a", "recipe": "photo"},
        {"type": "ImageNetPairedDataset", "dataroot_gt": "a"},
        {"type": "SingleImageDataset", "dataroot_lq": "b"},
    ],
    ids=lambda section: "-".join([section["type"], *list(section)[3:]]),
)
def test_data_sets_read_their_stand_ins(section, backend, tmp_path):
    common = {"name": "x", "phase": "val", "scale": 4}
    before = yaml.safe_dump(section)
    opt = {**stand_in({**section, "io_backend": {"type": backend}}, tmp_path / "made", 4, (20, 14)), **common}
    assert yaml.safe_dump(section) == before
    dataset = build_dataset(opt)
    assert len(dataset) == 1
    item = dataset[0]
    assert item["lq"].shape == (3, 20, 14)
    assert "gt" not in item or item["gt"].shape == (3, 80, 56)


def test_stand_ins_of_several_folders(tmp_path):
    section = {"dataroot_gt": ["a", "b"], "dataroot_lq": None, "io_backend": {"type": "disk"}}
    made = stand_in(section, tmp_path, 2, (8, 8))
    assert [len(list(Path(root).iterdir())) for root in made["dataroot_gt"]] == [1, 1]
    assert made["dataroot_lq"] is None


def test_a_discriminator_keeps_its_patch(without_data, write_options):
    without_data["network_d"] = {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 8, "input_size": 128}
    without_data["datasets"]["train"]["gt_size"] = 128
    opt = {**without_data, "scale": 4}
    assert dry_run._gt_size(opt) == 128
    del opt["network_d"]
    assert dry_run._gt_size(opt) == 64


def test_config_collects_what_is_absent(without_data, write_options):
    absent: list[Path] = []
    config.load(write_options(without_data), True, absent=absent)
    assert absent == [Path(f"nowhere/{p}") for p in ("train_GT.lmdb", "train_LR.lmdb", "val_GT", "val_LR")]


class LeastNet(nn.Module):
    """Takes images of at least ``least`` pixels a side, as networks with strided attention do."""

    def __init__(self, least: int = 24, broken: bool = False) -> None:
        super().__init__()
        self.least, self.broken, self.body = least, broken, nn.Conv2d(3, 48, 3, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.broken or min(x.shape[-2:]) < self.least:
            raise RuntimeError(f"cannot pool {x.shape[-2]}x{x.shape[-1]}\nat all")
        return nn.functional.pixel_shuffle(self.body(x), 4)


@pytest.mark.parametrize(
    ("network", "gt_size", "said"),
    [
        ({"least": 20}, 256, ["GT patch 128x128", "LR 40x28"]),
        ({"least": 20}, 96, ["GT patch 96x96", "LR 40x28"]),
        (
            {"least": 200},
            256,
            [
                "tiny.yml: LeastNet under HATModel (test_dry_run.py:",
                " fails in ",
                "GT patch 256x256",
                "cannot pool 64x64 at all",
            ],
        ),
        (
            {"broken": True},
            64,
            [
                "tiny.yml: LeastNet under HATModel (test_dry_run.py:",
                " fails in ",
                "GT patch 64x64",
                "cannot pool 16x16 at all",
            ],
        ),
    ],
)
def test_a_network_that_takes_no_small_images(network, gt_size, said, without_data, write_options, monkeypatch):
    monkeypatch.setitem(ARCH_REGISTRY._obj_map, "LeastNet", LeastNet)
    without_data["network_g"] = {"type": "LeastNet", **network}
    without_data["datasets"]["train"].update(gt_size=gt_size, num_worker_per_gpu=0)
    file = write_options(without_data)
    if any("fails" in words for words in said):
        with pytest.raises(UserError) as error:
            dry_run.dry_run(file, True)
        text = str(error.value)
        assert len(text.splitlines()) == 1
    else:
        text = dry_run.dry_run(file, True)
    assert all(words in text for words in said), text


def test_an_error_that_is_no_networks_does_not_grow_the_images(without_data, write_options, monkeypatch):
    monkeypatch.setattr(HATModel, "feed_data", lambda *_: 1 / 0)
    with pytest.raises(UserError, match=r"\(LR 20x14\): ZeroDivisionError"):
        dry_run.dry_run(write_options(without_data), True)
