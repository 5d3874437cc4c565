"""Option files that cannot work: refused before anything starts."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import official
import torch
import yaml

from hat_arch.compat.registration import build

from . import world
from .case import Case, put

TRAIN, TEST = "train -opt it.yml", "test -opt it.yml"
DRY = f"{TRAIN} --dry_run"


def text(content: str | bytes, *says: str, command: str = TRAIN, lines: int = 1) -> Case:
    """A whole file."""
    return Case(command, 2, ("it.yml", *says), files={"it.yml": content}, lines=lines)


def option(key: str, value: Any, *says: str, command: str = TRAIN, **more: Any) -> Case:
    """One option of a training, or with ``test`` of a test, and its key is in the message."""
    command = command.replace("train ", "test ") if more.get("test") else command
    return Case(command, 2, ("it.yml", key, *says), yml={key: value}, **more)


LAUGHS = "".join(f"{name}: &{name} [{', '.join(9 * [f'*{before}'])}]\n" for before, name in zip("abcdefgh", "bcdefghi"))

FILES = [
    text("", "no keys"),
    text("- a\n- b\n", "no keys"),
    text("name: [unclosed\n", ":2"),
    text("name: a\nname: b\n", ":2", "repeated key 'name'"),
    text('name: "C:\\data"\n', ":1", "single quotes"),
    text("name: !!python/object/apply:os.system [touch hacked]\n", "code"),
    text(b"\xff\xfe\0\0", "not a text file"),
    text("network_g: &x {type: *x}\n", ":1", "itself"),
    text("a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + LAUGHS, "alias"),
    text("a: " + 3000 * "[" + "\n", "nested too deeply"),
    text("a: [1]\n", "name", lines=2),
    text('model_type = "HATModel"\n', "neosr"),
    text("task: sr\nnetG: {}\nnetD: {}\n", "KAIR"),
    Case("train -opt gone.yml", 2, ("gone.yml", "options lists")),
    Case("train -opt d", 2, ("d", "Is a directory")),
    Case("train -opt train_HAT_SRx5", 2, ("train_HAT_SRx5", "train_HAT_SRx4")),
    Case("train -opt w.pth", 2, ("w.pth", "not a text file")),
    Case("train -opt d/GT/0.png --dry_run", 2, ("d/GT/0.png", "not a text file")),
]
KEYS = [
    option("train.total_iters", 4, "total_iter"),
    option("scale", "4", "integer"),
    option("scale", 0, "1"),
    option("name", "a/b", "name of a folder"),
    option("name", "..", "name of a folder"),
    option("name", "", "name of a folder"),
    option("name", 2026, "text"),
    option("name", "n" * 201, "200 bytes"),
    option("model_type", "HATModell", "'HATModel'"),
    option("network_g.type", "HATT", "'HAT'"),
    option("network_g", {**world.NETWORK, "window_size": 0}, "window_size is 0"),
    option("network_g", {**world.NETWORK, "embed_dim": -12}, "embed_dim is -12"),
    option("network_g", {**world.NETWORK, "num_heads": [5]}, "num_heads 5"),
    option("network_g.depths", "6", "list"),
    option("network_g.upscale", 2, "scale is 4"),
    option("network_g", {**world.NETWORK, "upsampler": ""}, "upscale is 4"),
    option("network_g", {**world.NETWORK, "upsampler": "bilinear"}, "'pixelshuffledirect', ''"),
    option("val.metrics.psnrb", {"type": "calculate_psnrb"}, "crop_border"),
    option("datasets", {}, "train"),
    option("datasets.train", None, "section"),
    option("datasets.train.dataroot_gt", ["d/GT"], "text"),
    option("datasets.train.gt_size", 33, "multiple of scale 4"),
    option("datasets.train.gt_size", -4, "1"),
    option("datasets.train.batch_size_per_gpu", 0, "1"),
    option("datasets.train.num_worker_per_gpu", -1, "0"),
    option("datasets.val.type", "PairDataset", "no dataset"),
    option("num_gpu", -1, "0"),
    option("manual_seed", "x", "integer"),
    option("dist_params", {"backend": "mpi"}, "gloo"),
    option("tile", {"tile_size": 0, "tile_pad": 4}, "1"),
    option("val.tile_overlap", -4, "0"),
    option("val.metrics.psnr.type", "calculate_psn", "'calculate_psnr'"),
    option("val.metrics.psnr", {"type": "calculate_psnr", "crop_border": -4}, "no number"),
    option("logger.keep_best", ["Set5/psnr"], "held_out/psnr"),
    option("logger.wandb", {"project": "mine"}, "use_tb_logger", lines=2),
]
VALUES = [
    option("train.scheduler.milestones", "2, 4", "'2, 4'"),
    option("train.scheduler.milestones", 4, "list"),
    option("train.optim_g.lr", "0.001", "'0.001'"),
    option("train.optim_g.lr", "0.001", "'0.001'", command=DRY),
    option("train.optim_g", {"type": "Adam", "lr": -1e-3}, "learning rate: -0.001"),
    option("train.optim_g.lr", None, "lr"),
    option("train.optim_g.lr", float("nan"), "nan"),
    option("train.optim_g.lr", float("inf"), "inf"),
    option("train.optim_g.betas", "(0.9, 0.99)", "(0.9, 0.99)"),
    option("train.pixel_opt.loss_weight", "1.0", "'1.0'"),
    option("train.pixel_opt.loss_weight", float("nan"), "nan"),
    option("train.pixel_opt.reduction", "avg", "avg"),
    option("train.pixel_opt.type", "L3Loss", "'L1Loss'"),
    option("train.total_iter", -5, "1"),
    option("train.total_iter", float("inf"), "inf"),
    option("train.ema_decay", 1.5, "less than 1"),
    option("train.precision", "fp8", "bf16"),
    option("train.warmup_iter", "x", "integer"),
    Case(
        TRAIN,
        2,
        ("it.yml", "train.perceptual_opt", "vgg19", "put https://", "the download failed"),
        yml={"train.perceptual_opt": {"type": "PerceptualLoss", "layer_weights": {"conv5_4": 1}}},
    ),
]
VIDEOS = [
    Case(DRY, 0, (), files={"it.yml": yaml.safe_dump(official.edvr())}, lines=None, notes="no videos can be made up"),
    Case(
        DRY, 0, (), files={"it.yml": yaml.safe_dump(official.basicvsr())}, lines=None, notes="no videos can be made up"
    ),
    text(yaml.safe_dump(official.edvr()), "datasets.train.dataroot_gt", "no folder", lines=2),
    text(yaml.safe_dump(official.basicvsr_test()), "datasets.test.dataroot_gt", "no folder", command=TEST, lines=2),
    Case(
        "report -opt it.yml",
        2,
        ("it.yml", "datasets.train.dataroot_gt"),
        files={"it.yml": yaml.safe_dump(official.edvr())},
        lines=2,
    ),
]


def real_world(key: str, value: Any, *says: str, command: str = TRAIN, **more: Any) -> Case:
    """One option of a training against a discriminator on degraded images, whose key is in the message."""
    opt = official.real_gan(world.NETWORK)
    opt["datasets"]["train"].update(dataroot_gt="d/GT", num_worker_per_gpu=0)
    opt["path"].update(pretrain_network_g=None)
    del opt["datasets"]["train"]["meta_info_file"], opt["datasets"]["train"]["gt_size"]
    perceptual = opt["train"].pop("perceptual_opt")
    put(opt, key, perceptual if value == "PERCEPTUAL" else value)
    files = {"it.yml": yaml.safe_dump(opt), "x2.pth": weights_of_x2}
    return Case(command, 2, ("it.yml", key, *says), files=files, **more)


def weights_of_x2(folder: Path) -> bytes:
    network = {**world.NETWORK, "upscale": 2}
    buffer = io.BytesIO()
    torch.save({"params": build(network).state_dict()}, buffer)
    return buffer.getvalue()


REAL_WORLD = [
    real_world("queue_size", 181, "batch_size_per_gpu 4"),
    real_world("gt_size", 16, "smaller than the kernels"),
    real_world("gt_size", 16, "smaller than the kernels", command=DRY),
    real_world("train.perceptual_opt", "PERCEPTUAL", "vgg19", "put https://", "the download failed"),
    real_world("network_d", {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 4}, "64x64"),
    real_world("network_d", {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 4}, "64x64", command=DRY),
    real_world("recipe", "realesgran", "did you mean 'realesrgan'"),
    real_world("jpeg_range", [95, 30], "lower one first"),
    real_world("path.pretrain_network_g", "x2.pth", "does not fit network_g"),
    real_world("gt_usm", True, "RealHATMSEModel"),
    option("l1_gt_usm", True, "RealHATGANModel"),
]
WITHOUT_D = real_world("path.resume_state", "experiments/run/training_states/2.state")
WITHOUT_D.says, WITHOUT_D.lines = ("'HATModel' → 'RealHATGANModel'",), None
WITHOUT_D.makes = ("experiments/.train_it.in_use",)
TABLE = [*FILES, *KEYS, *VALUES, *VIDEOS, *REAL_WORLD, WITHOUT_D]
