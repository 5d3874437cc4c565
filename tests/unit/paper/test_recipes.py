"""The option files of the papers' recipes, against one table."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import ROOT

from hat_arch.compat.registration import build
from hat_arch.config import reading as config
from hat_arch.paper.networks import network_options
from hat_arch.paper.option_files import option_files, render_training, write_all, yaml_value
from hat_arch.paper.published import paper_data
from hat_arch.paper.recipes import COMPARED, FAMILY, Recipe, Start, recipe, run_name, stages
from hat_arch.weights.files import fitting

OPTIONS = ROOT / "options"
HALVED = (250_000, 400_000, 450_000, 475_000)
FINE = (125_000, 200_000, 225_000, 240_000)
TABLE = {  # data, lr, iterations, milestones: typed from the official option files
    "scratch": ("DF2K", 2e-4, 500_000, HALVED),
    "imagenet": ("ImageNet", 2e-4, 800_000, (300_000, 500_000, 650_000, 700_000, 750_000)),
    "finetune": ("DF2K", 1e-5, 250_000, FINE),
    "from_x2": ("DF2K", 1e-4, 250_000, FINE),
}
FAMILY_RUNS = [(net, scale, stage) for scale in (2, 3, 4) for net in FAMILY for stage in stages(scale)]
RUNS = FAMILY_RUNS + [(net, scale, "scratch") for net, scales in COMPARED.items() for scale in scales]


@cache
def read(name: str) -> dict[str, Any]:
    return config.read(OPTIONS / f"{name}.yml")[0]


@cache
def parameters(network: str, scale: int) -> int:
    return sum(parameter.numel() for parameter in build(network_options(network, scale)).parameters())


def test_the_files_are_those_that_the_table_makes(tmp_path):
    assert write_all(tmp_path) == len(option_files())
    for made in tmp_path.iterdir():
        assert made.read_bytes() == (OPTIONS / made.name).read_bytes(), "python -m hat_arch.paper.option_files"


def test_there_are_all_combinations():
    assert len(FAMILY_RUNS) == 3 * (3 * 3 + 1)
    trained = {f"{run_name(*run)}.yml" for run in RUNS}
    tested = {f"test_{net}_SRx{scale}.yml" for net, scale, _ in RUNS}
    tested |= {f"test_{net}_SRx{scale}_ImageNet.yml" for net in FAMILY for scale in (2, 3, 4)}
    assert set(option_files()) == trained | tested | {"test_HAT_SRx4_no_gt.yml"}


@pytest.mark.parametrize(("network", "scale", "stage"), RUNS)
def test_training_is_as_the_table_says(network, scale, stage):
    opt = read(run_name(network, scale, stage))
    data, lr, iterations, milestones = TABLE[stage]
    train, sets = opt["train"], opt["datasets"]
    assert opt["network_g"] == network_options(network, scale)
    assert (opt["scale"], opt["model_type"], opt["name"]) == (scale, "HATModel", run_name(network, scale, stage))
    assert (train["total_iter"], tuple(train["scheduler"]["milestones"])) == (iterations, milestones)
    assert (train["scheduler"]["type"], train["scheduler"]["gamma"]) == ("MultiStepLR", 0.5)
    assert train["optim_g"] == {"type": "Adam", "lr": lr, "weight_decay": 0, "betas": [0.9, 0.99]}
    assert (train["ema_decay"], train["warmup_iter"]) == (0.999, -1)
    assert train["pixel_opt"] == {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
    kind = "ImageNetPairedDataset" if data == "ImageNet" else "SeededPairedDataset"
    assert (sets["train"]["name"], sets["train"]["type"]) == (data, kind)
    assert sets["train"]["gt_size"] == {2: 128, 3: 192, 4: 256}[scale]
    assert sets["train"]["batch_size_per_gpu"] * 8 == 32
    assert sets["train"]["use_hflip"] and sets["train"]["use_rot"]
    assert [sets[f"val_{n}"]["name"] for n in (1, 2)] == ["Set5", "Set14"]


@pytest.mark.parametrize("name", sorted(option_files()))
def test_measures_as_the_paper(name):
    opt = read(name.removesuffix(".yml"))
    for dataset in (d for phase, d in opt["datasets"].items() if phase != "train" and "dataroot_gt" in d):
        assert dataset["dataroot_gt"].endswith(f"GTmod{opt['scale']}")
        assert dataset["dataroot_lq"].endswith(f"LRbicx{opt['scale']}")
    for metric in opt["val"].get("metrics", {}).values():
        assert (metric["crop_border"], metric["test_y_channel"]) == (opt["scale"], True)
    if name.startswith("test") and "no_gt" not in name:
        assert [d["name"] for d in opt["datasets"].values()] == ["Set5", "Set14", "BSD100", "Urban100", "Manga109"]
        assert opt["path"]["param_key_g"] == "params_ema"


@pytest.mark.parametrize("network", COMPARED)
def test_another_network_is_a_change_of_network_g_alone(network):
    for scale in COMPARED[network]:
        for kind in ("train", "test"):
            ours, hat = (dict(read(f"{kind}_{net}_SRx{scale}")) for net in (network, "HAT"))
            changed = {key for key in ours.keys() | hat.keys() if ours.get(key) != hat.get(key)}
            assert changed == {"name", "network_g", *(["path"] if kind == "test" else [])}


@pytest.mark.parametrize(("network", "scale", "stage"), FAMILY_RUNS)
def test_stages_follow_on_each_other(network, scale, stage):
    path = read(run_name(network, scale, stage))["path"]
    if stage in ("scratch", "imagenet"):
        assert path["pretrain_network_g"] is None
        return
    folder, before, models, file = Path(path["pretrain_network_g"]).parts
    assert (folder, models, file, path["param_key_g"]) == ("experiments", "models", "net_g_latest.pth", "params_ema")
    start = read(before)
    assert start["name"] == before and start["train"]["ema_decay"] > 0
    with torch.device("meta"):
        fit = fitting(build(start["network_g"]).state_dict(), build(network_options(network, scale)).state_dict())
    assert fit.complete == path["strict_load_g"] == (stage == "finetune")
    assert not fit.other_shape and all(name.startswith("upsample.") for name in fit.missing)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_parameters_are_the_published_ones(scale):
    published = paper_data()["complexity"]["exact_params"][f"x{scale}"]
    for network in {*FAMILY, *COMPARED} & published.keys():
        assert parameters(network, scale) == published[network], network


def test_parameters_in_millions_are_the_published_ones():
    values = paper_data()["complexity"]["other_nets_params_M_x4"]["values"]
    assert round(parameters("RCAN", 4) / 1e6, 1) == values["RCAN"]
    assert abs(parameters("EDSR", 4) / 1e6 - values["EDSR"]) < 0.1  # 43.09 M, printed as 43.0
    bars = paper_data()["ablations"]["pretraining_networks"]["params_M"]
    assert round(parameters("RRDBNet", 4) / 1e6, 1) == bars["RRDBNet"]
    assert round(parameters("MSRResNet", 4) / 1e6, 1) == bars["SRResNet"]


@pytest.mark.parametrize(
    "value", [None, True, 1, 1.0, 2e-4, 1.5e-5, -3e-7, 0.01, "L1Loss", [0.9, 0.99], [6] * 3, (1, 2), 0.0]
)
def test_values_are_read_back_as_they_were(tmp_path, value):
    (tmp_path / "a.yml").write_text(f"key: {yaml_value(value)}\n")
    back = config.read(tmp_path / "a.yml")[0]["key"]
    assert back == (list(value) if isinstance(value, tuple) else value) and isinstance(back, bool) == (value is True)


def test_a_file_of_ones_own(tmp_path):
    """What ablations use: any network and schedule."""
    how = Recipe(3, "DF2K", 3e-5, 7000, (3000, 5000), Start("earlier", strict=True), batch_per_gpu=2)
    net = {**network_options("HAT", 3), "overlap_ratio": 0.25}
    text = render_training("mine", net, how, ["Why " + "x" * 95 + " test_HAT-L_SRx2.yml and what for."])
    (tmp_path / "mine.yml").write_text(text)
    absent: list[Path] = []
    opt = config.load(tmp_path / "mine.yml", True, absent=absent)
    assert opt["network_g"] == net and opt["train"]["optim_g"]["lr"] == 3e-5
    assert (opt["train"]["total_iter"], opt["datasets"]["train"]["batch_size_per_gpu"]) == (7000, 2)
    assert Path("experiments/earlier/models/net_g_latest.pth") in absent
    assert "\n# test_HAT-L_SRx2.yml and what for.\n" in text
    assert "batch_size_per_gpu=16 train:accumulate=8" in text


@pytest.mark.parametrize("name", sorted(option_files()))
def test_comments_name_files_that_exist(name):
    comment = "".join(line for line in (OPTIONS / name).read_text().splitlines(True) if line.startswith("#"))
    named = re.findall(r"\S+\.yml", comment)
    assert f"options/{name}" in named
    assert all((OPTIONS / Path(file).name).is_file() for file in named)
    assert max(len(line) for line in comment.splitlines() if not line.startswith("#  ")) <= 120


def test_recipes_without_a_start():
    assert recipe("HAT", 2).start is None and recipe("HAT", 4, "from_x2").start == Start("train_HAT_SRx2", False)
