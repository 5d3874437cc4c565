"""Option files of other programs, converted: what becomes of each key, and that the result passes the checks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import official
import pytest
import yaml
from tiny import ROOT

from hat_arch import cli, config
from hat_arch.config import reading
from hat_arch.config.convert import convert
from hat_arch.config.edits import Edits
from hat_arch.training.dry_run import dry_run
from hat_arch.utils.errors import UserError

FILES = ROOT / "tests/foreign_options"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def converted(name: str, capsys) -> tuple[dict[str, Any], list[str]]:
    """The content of the converted file, after its check, and what was said, without the name of the file."""
    source = FILES / name
    assert cli.main(["options", "convert", str(source), "-o", "made.yml"]) == 0
    *said, last = capsys.readouterr().out.splitlines()
    assert last == "made.yml" and all(line.startswith(str(source)) for line in said)
    raw, _ = reading.read(Path("made.yml"))
    config.load("made.yml", "train" in raw, absent=[])
    assert "without effect" not in capsys.readouterr().err
    return raw, [line.removeprefix(str(source)) for line in said]


@pytest.mark.parametrize("file", sorted(FILES.iterdir()), ids=lambda file: file.name)
def test_the_result_passes_the_checks_and_is_not_converted_again(file, capsys):
    _, said = converted(file.name, capsys)
    assert said
    again = convert(Path("made.yml"))
    assert (again.said, again.text) == ([], Path("made.yml").read_text())


def test_all_else_in_the_official_hats_files_stays_as_it_is_written(capsys):
    _, said = converted("hat_real_mse.yml", capsys)
    before, after = ((file).read_text().splitlines() for file in (FILES / "hat_real_mse.yml", Path("made.yml")))
    gone = [line for line in before if line not in after]
    taken = [
        "meta_info_file: meta/photos.txt  # nothing reads this",
        "gt_size: 64",
        "optim_d:  # there is no discriminator",
    ]
    assert [line.strip() for line in gone] == taken
    assert len(before) - len(after) == 7 and "gt_size: 64" in after
    assert [re.sub(r": taken.*", "", line) for line in said] == [
        ":37: datasets.train.meta_info_file",
        ":59: datasets.train.gt_size",
        ":105: train.optim_d",
    ]
    place = after.index("  # the learning rate")
    assert (
        after[place - 1] == "" and after[place - 2] == "    betas: [0.9, 0.99]" and "!!float 1e-4" in after[place - 4]
    )


@pytest.mark.parametrize("make", official.TRAINING + official.TESTING, ids=lambda make: make.__name__)
def test_official_files_are_converted_to_what_they_are(make, write_options, capsys):
    if make is official.hifacegan:  # BasicSR 1.4.2 lacks a loss that it names
        return
    opt = make()
    made = convert(write_options(opt))
    is_train = make in official.TRAINING
    Path("made.yml").write_text(made.text)
    before = config.load(write_options(opt), is_train, absent=[], build_networks=False)
    after = config.load("made.yml", is_train, absent=[])
    assert "without effect" not in capsys.readouterr().err
    taken = {tuple(line.split(": ")[1].split(".")) for line in made.said if "taken out" in line}
    for *sections, last in taken:
        at = before
        for section in sections:
            at = at[section]
        del at[last]
    assert after == before


def test_the_official_tiles_are_kept_to_the_pixel(write_options):
    made = convert(write_options(official.hat_tiles()))
    assert yaml.safe_load(made.text)["tile"] == {"tile_size": 16, "tile_pad": 4}
    assert len(made.said) == 1 and "val: {tile: 24, tile_overlap: 8}" in made.said[0]


def test_older_files_of_basicsr_get_the_names_of_today(capsys):
    opt, said = converted("old_basicsr.yml", capsys)
    assert (opt["num_gpu"], opt["manual_seed"], opt["train"]["total_iter"]) == ("auto", 10, 300000)
    data = opt["datasets"]["train"]
    assert (data["use_hflip"], data["num_worker_per_gpu"], data["batch_size_per_gpu"]) == (True, 6, 8)
    assert opt["path"] == {"pretrain_network_g": None, "strict_load_g": True, "resume_state": None}
    assert not opt.keys() & {"gpu_ids", "set_CUDA_VISIBLE_DEVICES"} and "manual_seed" not in opt["train"]
    assert len(said) == 9 and "16 for 2 GPUs together" in said[4]
    assert said[0].endswith("gpu_ids: is num_gpu: auto now; --gpus 2 starts a process for each")


def test_older_tests_keep_their_images(capsys, write_options):
    opt, said = converted("old_test.yml", capsys)
    assert said[0].endswith("gpu_ids: is num_gpu: auto now")
    assert opt["path"]["pretrain_network_g"] == "./experiments/x4.pth" and "save_img" not in opt
    old = official.rcan_test() | {"save_img": False}
    with pytest.raises(config.ConfigError, match=r"tiny\.yml:\d+: save_img: belongs below val:"):
        convert(write_options(old))
    old["val"] = {"metrics": {"psnr": official.PSNR}}
    assert yaml.safe_load(convert(write_options(old)).text)["val"]["save_img"] is False


def test_neosr(capsys):
    opt, said = converted("neosr.toml", capsys)
    data, train, val = opt["datasets"]["train"], opt["train"], opt["val"]
    assert opt["model_type"] == "HATModel" and opt["network_g"]["embed_dim"] == 144 and "network_d" not in opt
    assert data["dataroot_gt"] == "C:\\datasets\\gt\\" and data["gt_size"] == 128 and data["batch_size_per_gpu"] == 16
    assert (train["precision"], train["accumulate"], train["clip_grad_norm"], train["compile"]) == ("bf16", 2, 1, True)
    assert train["optim_g"]["type"] == "Adam" and train["scheduler"]["milestones"] == [500, 800, 900, 950]
    assert train["pixel_opt"]["type"] == "L1Loss" and train["total_iter"] == 1000 and train["ema_decay"] == 0.999
    assert (val["val_freq"], val["tile"], [*val["metrics"]]) == (1000, 200, ["psnr"])
    named = {line.split(": ")[1] for line in said}
    assert named == {
        *(f"datasets.train.{name}" for name in ("accumulate", "augmentation", "aug_prob")),
        *(f"train.{name}" for name in ("optim_g", "scheduler", "mssim_opt", "perceptual_opt", "pixel_opt")),
        *("network_d", "train.wavelet_guided", "val.metrics.dists", "logger.save_tb_img"),
    }


def test_neosr_degrading_against_a_discriminator(capsys):
    opt, said = converted("neosr_otf.yml", capsys)
    assert (opt["model_type"], opt["gt_size"], opt["queue_size"]) == ("RealHATGANModel", 128, 180)
    source = yaml.safe_load((FILES / "neosr_otf.yml").read_text())["degradations"]
    assert {name: {**opt, **opt["datasets"]["train"]}[name] for name in source} == source
    assert opt["train"]["gan_opt"]["gan_type"] == "vanilla" and opt["train"]["optim_d"]["type"] == "AdamW"
    assert len(said) == 1 and "resume_state" in said[0]


def test_trainner(capsys):
    opt, said = converted("trainner.yml", capsys)
    data, train = opt["datasets"]["train"], opt["train"]
    assert data["dataroot_gt"] == "datasets/train/hr" and (data["gt_size"], data["batch_size_per_gpu"]) == (256, 4)
    assert opt["network_g"]["embed_dim"] == 180 and opt["network_g"]["use_checkpoint"] is True
    assert (train["precision"], train["channels_last"], train["clip_grad_norm"]) == ("bf16", True, 1)
    assert train["pixel_opt"] == {"type": "CharbonnierLoss", "loss_weight": 1.0, "reduction": "mean"}
    assert (opt["val"]["tile"], opt["val"]["tile_overlap"], opt["logger"]["safetensors"]) == (128, 8, True)
    assert {line.split(": ")[1] for line in said} == {"train.losses.1", "train.ema_power", "val.metrics.topiq"}


def test_trainner_degrading_against_a_discriminator(capsys):
    opt, said = converted("trainner_otf.yml", capsys)
    assert (opt["model_type"], opt["gt_size"], opt["queue_size"]) == ("RealHATGANModel", 256, 120)
    assert len(opt["network_g"]["depths"]) == 12 and opt["jpeg_range"] == [75, 95] and "val" not in opt
    assert opt["train"]["gan_opt"]["loss_weight"] == 0.1 and "use_compile" not in opt
    named = {line.split(": ")[1] for line in said}
    assert {"blur_prob", "resize_mode_list", "jpeg_prob", "train.losses.1", "datasets.train.kernel_range"} <= named


def test_what_would_be_another_training_is_refused(write_options):
    opt = yaml.safe_load((FILES / "trainner.yml").read_text())
    opt["datasets"]["train"]["dataroot_gt"] = ["a", "b"]
    with pytest.raises(UserError, match=r"dataroot_gt: a data set has one folder here; make"):
        convert(write_options(opt))
    opt["datasets"]["train"] |= {"dataroot_gt": "a", "type": "pairedvideodataset"}
    with pytest.raises(UserError, match=r"datasets\.train\.type: 'pairedvideodataset'"):
        convert(write_options(opt))


def test_a_converted_file_trains(capsys):
    opt, _ = converted("neosr.toml", capsys)
    opt["network_g"] = {**official.TINY_HAT, "upscale": 4}
    Path("made.yml").write_text(yaml.safe_dump(opt))
    assert "a step (batch 1" in dry_run("made.yml", True, ["train:compile=false"])


def test_edits_in_flow_sections_and_of_repeated_keys(tmp_path):
    edits = Edits(tmp_path / "a.yml", "a: {b: 1, c: 2, d: {e: 3}}\nf: |\n  text\ng: 4 # four\nh:\n- 1\n- 2\n")
    for key in (("a", "c"), ("a", "d"), ("f",), ("h",)):
        edits.remove(key)
    assert edits.text() == "a: {b: 1}\ng: 4 # four\n" and edits.content == {"a": {"b": 1}, "g": 4}
    edits = Edits(tmp_path / "a.yml", "a: {b: 1, c: 2}\n")
    edits.remove(("a", "b"))
    assert edits.text() == "a: {c: 2}\n"
    edits = Edits(tmp_path / "a.yml", "a: &x {b: 1}\nc: *x\n")
    edits.remove(("a",))
    with pytest.raises(config.ConfigError, match="by & and"):
        edits.text()


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("trainner.yml", "scale", "x"),
        ("trainner.yml", "network_g", [1]),
        ("trainner.yml", "train.losses", 3),
        ("trainner.yml", "val.metrics.psnr", True),
        ("neosr_otf.yml", "datasets.train.batch_size", {}),
        ("neosr_otf.yml", "train.scheduler", "cosine"),
        ("neosr_otf.yml", "datasets.train", None),
    ],
)
def test_a_value_of_a_wrong_kind_is_named(name, key, value, write_options):
    opt = at = yaml.safe_load((FILES / name).read_text())
    *sections, last = key.split(".")
    for section in sections:
        at = at[section]
    at[last] = value
    with pytest.raises(UserError, match=rf"tiny\.yml: {key}\b.*: (should be a|is missing)"):
        convert(write_options(opt))
