"""The option files that come with the project: as generated, runnable, and true to the papers' recipes."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny import ROOT

from hat_arch.config import load, reading, shipped_options
from hat_arch.config.files import build_for_shapes
from hat_arch.training.checkpoints import changed_options
from hat_arch.weights.files import fitting

FILES = shipped_options.files()


def file_of(verb: str, model: str) -> str:
    return f"{verb}_{model.replace('-', '_')}"


MODELS = ("hat-light-x4", "hat-light-x2", "hat-light-denoise-25", "hat-light-jpeg")
MODELS += ("hat-light-photo-x4", "hat-light-photo-x2")
"""Absent until they are in the package."""
BENCHMARKS = ["Set5", "Set14", "BSD100", "Urban100", "Manga109"]
TABLES = yaml.safe_load((ROOT / "hat_arch/paper/tables.yml").read_text(encoding="utf-8"))


@cache
def read(name: str) -> dict[str, Any]:
    return reading.read(FILES[name])[0]


@cache
def network(name: str) -> torch.nn.Module:
    return build_for_shapes(read(name)["network_g"])


def test_the_files_are_those_that_the_generator_makes(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "options")
    import generate

    there = {file.relative_to(ROOT / "options").as_posix(): file.read_text("utf-8") for file in FILES.values()}
    for demo in ("train_HAT_demo_SRx4.yml", "train_HAT_demo_SRx4_finetune.yml"):
        del there[demo]
    assert there == generate.files(), "run: python options/generate.py"


def test_the_files_are_in_the_wheel(tmp_path):
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    shipped = {file.relative_to(tmp_path / "hat_arch") for file in (tmp_path / "hat_arch/options").rglob("*.yml")}
    assert shipped == {file.relative_to(ROOT) for file in FILES.values()}


@pytest.mark.parametrize("name", FILES)
def test_passes_the_check_and_measures_as_the_paper(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    absent: list[Path] = []
    opt = load(FILES[name], is_train=not name.startswith("test"), absent=absent)
    assert opt["name"] == name and (opt["scale"] == 1 or re.search(rf"x{opt['scale']}(_|$)", name))
    assert absent and {path.parts[0] for path in absent} <= {"datasets", "experiments", *MODELS}
    if opt["scale"] == 1:
        return
    measured = [one for phase, one in opt["datasets"].items() if phase != "train" and one["name"] in BENCHMARKS]
    assert {Path(one["dataroot_gt"]).name for one in measured} <= {f"GTmod{opt['scale']}"}
    assert {Path(one["dataroot_lq"]).name for one in measured} <= {f"LRbicx{opt['scale']}"}
    if name.startswith("test") and "no_gt" not in name and FILES[name].parent.name not in ("models", "real_world"):
        assert [one["name"] for one in measured] == BENCHMARKS and opt["path"]["param_key_g"] == "params_ema"
    for key, metric in opt["val"].get("metrics", {}).items():
        assert metric["crop_border"] == opt["scale"]
        assert key == "niqe" or metric["test_y_channel"] is (key != "psnr_rgb")
    comments = re.findall(r"#.* (\S+)\.yml", FILES[name].read_text(encoding="utf-8"))
    assert all(Path(other).name in FILES for other in comments)


OF_THE_PAPER = [
    name
    for name, file in FILES.items()
    if name.startswith("train_")
    and "demo" not in name
    and file.parent.name not in ("models", "restoration", "real_world")
]


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_training_has_the_numbers_of_the_official_option_files(name):
    recipe = "HAT_x2_scratch"
    if "_finetune_from_SRx2" in name:
        recipe = "HAT_x4_from_x2"
    elif "ImageNet" in name:
        recipe = "DF2K_finetune_HAT_and_HAT-L" if "_finetune_" in name else "ImageNet_pretrain_HAT_and_HAT-L"
    official, shared, opt = TABLES["training"][recipe], TABLES["training"]["shared"], read(name)
    train, data = opt["train"], opt["datasets"]["train"]
    assert (train["total_iter"], train["scheduler"]["milestones"]) == (official["iters"], official["milestones"])
    assert (train["scheduler"]["type"], train["scheduler"]["gamma"]) == ("MultiStepLR", shared["scheduler"]["gamma"])
    assert train["optim_g"] == {**shared["optimizer"], "lr": official["lr"]}
    assert (train["ema_decay"], train["warmup_iter"]) == (shared["ema_decay"], -1)
    assert train["pixel_opt"] == {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
    kind = {"ImageNet": "ImageNetPairedDataset", "DF2K": "SeededPairedDataset"}[official["data"]]
    assert (data["name"], data["type"], data["batch_size_per_gpu"]) == (official["data"], kind, 4)
    assert data["gt_size"] == 64 * opt["scale"] and data["use_hflip"] and data["use_rot"]


REAL_WORLD = [name for name, file in FILES.items() if file.parent.name == "real_world" and name.startswith("train")]


@pytest.mark.parametrize("name", REAL_WORLD)
def test_real_world_training_has_the_numbers_of_the_official_option_files(name):
    mse, gan, opt = TABLES["training"]["Real_HAT_mse"], TABLES["training"]["Real_HAT_GAN"], read(name)
    train, data, scale = opt["train"], opt["datasets"]["train"], opt["scale"]
    assert opt["network_g"] == read(f"train_HAT_SRx{scale}")["network_g"]
    stage = name.partition(f"x{scale}_")[2]
    official = mse if stage == "mse" else gan
    assert (train["total_iter"], train["scheduler"]["milestones"]) == (official["iters"], official["milestones"])
    assert (opt["gt_size"], data["batch_size_per_gpu"]) == (official["gt"], official["batch_per_gpu"])
    assert train["ema_decay"] == official["ema"] and train["pixel_opt"]["loss_weight"] == gan["losses"]["L1"]
    assert (data["use_rot"], data["use_hflip"], opt["queue_size"]) == (mse["rot"], mse["hflip"], gan["queue_size"])
    rates = {train[optimizer]["lr"] for optimizer in ("optim_g", "optim_d") if optimizer in train}
    assert rates == {mse["lr"]} == {gan["lr_g_and_d"]}
    names = {"kernel": "blur_kernel_size", "betag": "betag_range", "betap": "betap_range", "jpeg": "jpeg_range"}
    names |= {"gaussian_prob": "gaussian_noise_prob", "poisson": "poisson_scale_range", "gray_prob": "gray_noise_prob"}
    read_in = {**opt, **data}
    for order, end in ((gan["degradation_1"], ""), (gan["degradation_2"], "2")):
        single = ("second_blur_prob", "final_sinc_prob")
        for key, value in order.items():
            assert read_in[names.get(key, key) + ("" if key in single else end)] == value, key
    assert read_in["kernel_prob2"] == gan["degradation_1"]["kernel_prob"]
    if stage == "mse":
        assert opt["gt_usm"] is mse["gt_usm"] and "network_d" not in opt
        return
    usm = {key: value and stage == "gan_sharper" for key, value in gan["usm"].items()}
    assert {key: opt[key] for key in usm} == usm
    assert opt["network_d"] == {**gan["discriminator"], "num_in_ch": 3}
    perceptual, losses = train["perceptual_opt"], gan["losses"]
    assert perceptual["layer_weights"] == losses["perceptual"]["vgg19_before_relu"]
    assert perceptual["perceptual_weight"] == losses["perceptual"]["weight"] and perceptual["use_input_norm"]
    assert (train["gan_opt"]["gan_type"], train["gan_opt"]["loss_weight"]) == tuple(losses["gan"].values())
    assert opt["path"]["pretrain_network_g"] == f"experiments/train_RealHAT_SRx{scale}_mse/models/net_g_latest.pth"


def test_both_stages_and_scales_of_real_world_training_are_there():
    assert {*REAL_WORLD} == {
        f"train_RealHAT_SRx{scale}_{end}" for scale in (2, 4) for end in ("mse", "gan", "gan_sharper")
    }
    compact = {f"train_hat_light_photo_x{scale}{end}": "photo" for scale in (2, 4) for end in ("", "_gan")}
    compact |= {f"train_hat_light_real_x{scale}_{end}": "realesrgan" for scale in (2, 4) for end in ("mse", "gan")}
    for name, recipe in compact.items():
        opt = read(name)
        assert opt["network_g"] == {**read("train_hat_light_x4")["network_g"], "upscale": opt["scale"]}
        assert (opt.get("recipe") or opt["datasets"]["train"]["recipe"]) == opt["datasets"]["val"]["recipe"] == recipe


RESTORATION = [name for name, file in FILES.items() if file.parent.name == "restoration"]


@pytest.mark.parametrize("name", RESTORATION)
def test_restoration_has_the_journals_settings_and_protocols(name):
    journal, opt = TABLES["journal_extra"], read(name)
    kind, color, level = re.fullmatch(r"(?:train|test)_HAT_(\w+)_(gray|color)_q?(\d+)(?:_stage2)?", name).groups()
    table = journal["jpeg_car" if kind == "jpeg" else f"{color}_denoise"]
    sets = list(table["rows"]["SwinIR"])
    network_g = opt["network_g"]
    assert (opt["scale"], network_g["upscale"], network_g["upsampler"]) == (1, 1, "")
    assert network_g["in_chans"] == (1 if color == "gray" else 3) and network_g["embed_dim"] == 180
    recipes = {"denoise": ({"type": "noise", "sigma": int(level), "seed": 0}, f"noise:{level}")}
    tested, trained = recipes.get(kind, (f"jpeg:{level}",) * 2)
    assert int(level) in table.get("sigmas", table.get("qualities"))
    for phase, one in opt["datasets"].items():
        assert one["type"] == "DegradedImageDataset" and one["color"] == ("y" if color == "gray" else "rgb")
        assert one["recipe"] == (trained if phase == "train" else tested)
        assert phase == "train" or one["name"] in sets
    metrics = opt["val"]["metrics"]
    assert list(metrics) == (["psnr", "ssim", "psnrb"] if kind == "jpeg" else ["psnr", "ssim"])
    assert all(not metric["crop_border"] and not metric["test_y_channel"] for metric in metrics.values())
    if name.startswith("test"):
        assert [one["name"] for one in opt["datasets"].values()] == sets
        return
    stage = journal["training_denoise_and_car"]["stage2" if name.endswith("stage2") else "stage1"]
    train, data = opt["train"], opt["datasets"]["train"]
    assert (data["gt_size"], 8 * data["batch_size_per_gpu"]) == (stage["patch"], stage["batch"])
    assert train["total_iter"] == 1000 * int(stage["iterations_as_printed"])


def test_each_table_of_restoration_has_its_option_files():
    levels = [*(f"denoise_{color}_{sigma}" for color in ("gray", "color") for sigma in (15, 25, 50))]
    levels += [f"jpeg_gray_q{quality}" for quality in (10, 20, 30, 40)]
    kinds = ("train_HAT_{}", "train_HAT_{}_stage2", "test_HAT_{}")
    assert {*RESTORATION} == {kind.format(level) for kind in kinds for level in levels}


@pytest.mark.parametrize("model", ["hat-light-denoise-25", "hat-light-jpeg"])
def test_the_models_that_restore_are_the_compact_hat_without_upsampling(model):
    training, test, four = read(file_of("train", model)), read(file_of("test", model)), read("train_hat_light_x4")
    assert test["path"]["pretrain_network_g"] == model and training["network_g"] == test["network_g"]
    assert training["network_g"] == {**four["network_g"], "upscale": 1, "upsampler": ""}
    assert sum(parameter.numel() for parameter in network(file_of("train", model)).parameters()) == 1_003_915
    data = [training["datasets"], four["datasets"]]
    for phase in ("train", "val"):
        assert len({one[phase]["dataroot_gt"] for one in data}) == 1
    before = {"hat-light-denoise-25": None, "hat-light-jpeg": "hat-light-denoise-25"}[model]
    assert training["path"].get("pretrain_network_g") == before
    assert training["train"].get("begin_as_interpolation", False) is (before is None)


@pytest.mark.parametrize("name", ["train_HAT_demo_SRx4_finetune", "test_hat_light_x4"])
def test_what_takes_the_model_in_the_package_has_its_network(name, model_inside, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opt = load(FILES[name], is_train=name.startswith("train"), absent=[])
    assert Path(opt["path"]["pretrain_network_g"]) == model_inside and opt["path"]["strict_load_g"]
    assert sum(parameter.numel() for parameter in network(name).parameters()) == 992_952


def test_the_models_in_the_package_are_trained_as_the_card_says():
    names = ("train_hat_light_x4", "train_hat_light_x4_cosine", "train_hat_light_x4_gpu", "train_hat_light_x2")
    stages = [read(name) for name in names]
    assert [bool(opt["train"].get("begin_as_interpolation")) for opt in stages] == [True, False, False, False]
    card = (ROOT / "hat_arch/weights/models/hat-light-x4.md").read_text(encoding="utf-8")
    for opt in stages:
        assert opt["train"]["fft_opt"] == {"type": "SpectralL1Loss", "loss_weight": 0.05, "reduction": "mean"}
        assert opt["network_g"]["drop_path_rate"] == 0 and opt["datasets"]["train"]["use_channel_permutation"]
        comment = FILES[opt["name"]].read_text(encoding="utf-8")
        (prepare,) = re.findall(r"basicsr data prepare .*", comment)
        assert prepare in card
        written = [word for word in prepare.split() if word.startswith("datasets/")]
        assert Path(opt["datasets"]["train"]["dataroot_gt"]).parent == Path(written[1])


@pytest.mark.parametrize("name", [name for name in FILES if FILES[name].parent.name == "other_networks"])
def test_another_network_is_a_change_of_network_g_alone(name):
    kind, _, scale = name.split("_")
    ours, hat = read(name), read(f"{kind}_HAT_{scale}")
    changed = {key for key in ours.keys() | hat.keys() if ours.get(key) != hat.get(key)}
    assert changed == {"name", "network_g", *(["path", "published"] if kind == "test" else [])}


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("ablation")])
def test_an_ablation_differs_from_the_main_recipe_in_what_is_studied_alone(name):
    opt = read(name)
    lines = changed_options(read(f"train_HAT_SRx{opt['scale']}"), opt)
    changed = {line.partition(": ")[0] for kind in lines for line in kind}
    allowed = ("name", "network_g.", "datasets.val", "val.val_freq")
    if opt["scale"] == 4:
        allowed += ("path.", "train.optim_g.lr", "train.scheduler.milestones", "train.total_iter")
    if "multi_task" in name:
        allowed += ("model_type", "datasets.train.") * name.endswith("ImageNet")
    else:
        assert any(key.startswith("network_g.") for key in changed)
    assert all(key.startswith(allowed) for key in changed)


STARTED = [name for name in FILES if "/net_g_latest.pth" in (read(name)["path"]["pretrain_network_g"] or "")]


@pytest.mark.parametrize("name", STARTED)
def test_starts_from_what_another_file_trains(name):
    path = read(name)["path"]
    folder, before, models, file = Path(path["pretrain_network_g"]).parts
    assert (folder, models, file, path["param_key_g"]) == ("experiments", "models", "net_g_latest.pth", "params_ema")
    assert read(before)["name"] == before and read(before)["train"]["ema_decay"] > 0
    fit = fitting(network(before).state_dict(), network(name).state_dict())
    assert fit.complete or not path["strict_load_g"]
    assert all(key.startswith("upsample.") for key in (*fit.other_shape, *fit.missing))


def published() -> dict[str, float]:
    """Option file → number of parameters, or millions of them, as the papers have it."""
    exact, ablations = TABLES["complexity"]["exact_params"], TABLES["ablations"]
    counts = {f"train_{net}_SR{scale}": n for scale in ("x2", "x3", "x4") for net, n in exact[scale].items()}
    sizes = {beta: row["analytic"][0] for beta, row in ablations["cab_size_beta"]["rows"].items()}
    counts |= {f"ablation_HAT_compress_{beta}_no_ocab_SRx4": size for beta, size in sizes.items()}
    counts |= {
        f"ablation_HAT_overlap_{ratio}_no_cab_SRx4": row[0]
        for ratio, row in ablations["overlap_ratio_gamma"]["params_macs"].items()
    }
    counts |= {
        "ablation_HAT_no_ca_SRx4": ablations["channel_attention"]["params"]["without_CA"],
        "ablation_HAT_no_ocab_SRx4": sizes["3"],
        "ablation_HAT_no_cab_no_ocab_SRx4": sizes["none"],
        "ablation_HAT_window_8_no_cab_no_ocab_SRx4": ablations["window_size"]["w8"]["params_M"],
        "train_EDSR_SRx4": TABLES["complexity"]["other_nets_params_M_x4"]["values"]["EDSR"],
        "train_RRDBNet_SRx4": ablations["pretraining_networks"]["params_M"]["RRDBNet"],
        "train_MSRResNet_SRx4": ablations["pretraining_networks"]["params_M"]["SRResNet"],
    }
    return {name: count for name, count in counts.items() if name in FILES}


@pytest.mark.parametrize(("name", "count"), published().items())
def test_networks_have_the_published_parameters(name, count):
    total = sum(parameter.numel() for parameter in network(name).parameters())
    assert total == count if isinstance(count, int) else total / 1e6 == pytest.approx(count, abs=0.1)
