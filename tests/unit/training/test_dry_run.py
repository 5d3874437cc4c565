"""``--dry_run``: option files as far as the first step, without their data."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from basicsr.data import build_dataset
from tiny import TINY_HAT

from hat_arch import HAT, cli, config
from hat_arch.config import shipped_options
from hat_arch.data.stand_ins import stand_in
from hat_arch.training import checkpoints, dry_run, wandb_log
from hat_arch.training.hat_model import HATModel


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
    ],
)
def test_option_files_run(name, parameters):
    lines = dry_run.dry_run(shipped_options.named(name), name.startswith("train")).splitlines()
    assert lines[-1] == "OK"
    assert lines[1].endswith(f", {parameters} parameters")
    assert any("missing: datasets/" in line for line in lines)


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
        ("path:pretrain_network_g", "damaged.pth", "cannot be read as weights"),
        ("network_g:depths", "2", "cannot be built"),
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
