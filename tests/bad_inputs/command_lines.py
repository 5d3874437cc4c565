"""Words of a command that make no sense; plugins and networks that are none."""

from __future__ import annotations

from typing import Any

from .case import GONE, Case
from .data import RUN

FOREIGN = "name: it\nscale: 4\nuse_compile: true\nnetwork_g: {type: omnisr}\ndatasets: {}\n"


def words(args: str, *says: str, **more: Any) -> Case:
    return Case(args, 2, says, **more)


BASIC = [
    words("", "COMMAND"),
    words("trian", "'train'"),
    words("train", "-opt"),
    words("train -opt", "-opt"),
    words("train -opt train.yml --gpus 0", "--gpus 0", "1 or more"),
    words("train -opt train.yml --gpus x", "--gpus", "x"),
    words("train -opt train.yml --launcher mpi", "--launcher", "mpi"),
    words("train -opt train.yml --launcher pytorch", "--launcher pytorch", "torchrun"),
    words("train -opt train.yml --launcher slurm", "--launcher slurm", "srun"),
    words("train -opt train.yml --tile 4", "--tile"),
    words("train -opt train.yml --force_yml train:ema_decay", "--force_yml", "train:ema_decay=0.999"),
    words("train -opt train.yml --force_yml trian:ema_decay=0", "--force_yml", "trian"),
    words("train -opt train.yml --force_yml scale:x=0", "--force_yml", "scale"),
    words("train -opt train.yml --force_yml train:ema_decay=[", "--force_yml", "train:ema_decay"),
    words("train -opt train.yml --force_yml train:ema_decay=2", "train.ema_decay", "less than 1"),
    words("train -opt train.yml --force_yml", "--force_yml"),
    words("archs HATT", "HATT", "'HAT'"),
    words("options cpoy", "'copy'"),
    words("options copy train_HAT_SRx5", "train_HAT_SRx5", "train_HAT_SRx4"),
    words("options copy test_HAT_SRx4", "test_HAT_SRx4.yml", "--force", files={"test_HAT_SRx4.yml": "mine"}),
    words(
        "options copy train_HAT_demo_SRx4 --force",
        "train_HAT_demo_SRx4.yml",
        files={"train_HAT_demo_SRx4.yml/x": "mine"},
    ),
    words("options convert gone.yml", "gone.yml", "No such file"),
    words("options convert d", "d", "Is a directory"),
    words("options convert w.pth", "w.pth", "not a text file"),
    words("options convert train.yml -o train.yml", "train.yml", "exists"),
    words("options convert train.yml -o train.yml --force", "train.yml", "FILE itself"),
    words("options convert it.yml", "it.yml", "no keys", files={"it.yml": "- a\n"}),
    words("options convert it.yml", "it.yml", "not an option file", files={"it.yml": "services: {web: {image: x}}\n"}),
    words("options convert it.yml", "it.yml:1", "tag", files={"it.yml": "name: !!python/name:os.system x\n"}),
    words("options convert it.toml", "it.toml", "line 1", files={"it.toml": "name = \n"}),
    words("options convert it.yml", "it.yml", "KAIR", "options copy", files={"it.yml": "task: sr\nnetG: {}\n"}),
    words(
        "options convert it.yml", "it.yml:", "train.total_iters", yml={"train.total_iters": 4, "train.total_iter": GONE}
    ),
    words("options convert it.yml", "it.yml:", "use_flip", "keep one", yml={"datasets.train.use_flip": True}),
    words("options convert it.yml", "it.yml", "network_g.type", "'omnisr'", "--plugin", files={"it.yml": FOREIGN}),
    words("doctor extra", "extra"),
    words("bench --size 4", "--size 4", "9"),
    words("bench --seconds 0", "--seconds 0"),
    words("bench --seconds nan", "--seconds nan"),
    words("bench --device cuda", "--device cuda"),
    words("bench --network HATT", "--network HATT", "HAT-S"),
    words("bench --network gone.yml", "--network gone.yml"),
    words("bench --network it.yml", "it.yml", "network_g", files={"it.yml": "scale: 4\n"}),
    words("bench --precision fp8", "--precision", "fp8"),
]
NETWORK = """
import torch
from basicsr.utils.registry import ARCH_REGISTRY


@ARCH_REGISTRY.register()
"""
TAKEN = f"{NETWORK}class HAT(torch.nn.Module): ..."
NO_NETWORK = f"{NETWORK}def Own(**options):\n    return None\n"
FAILS = f"""{NETWORK}class Own(torch.nn.Conv2d):
    def __init__(self, upscale=4):
        super().__init__(3, 3, 1)

    def forward(self, x):
        raise RuntimeError("too\\nbad")
"""


def plugin(content: str, *says: str) -> Case:
    """A plugin that cannot be loaded."""
    return words("archs --plugin own.py", "--plugin own.py", *says, files={"own.py": content})


def own(content: str, *says: str, more: str = "", **how: Any) -> Case:
    """A training with a plugin's network."""
    files, yml = {"own.py": content}, {"network_g": {"type": "Own"}}
    return words(f"train -opt it.yml --plugin own.py {more}", "it.yml", *says, files=files, yml=yml, **how)


PLUGINS = [
    words("archs --plugin gone.py", "--plugin gone.py"),
    words("archs --plugin gone_module", "--plugin gone_module"),
    words("archs --plugin d", "--plugin d", "folder"),
    plugin("def\n", "SyntaxError"),
    plugin("1 / 0\n", "ZeroDivisionError"),
    plugin("import sys\nsys.exit(3)\n", "SystemExit"),
    plugin(TAKEN, "HAT"),
    own(NO_NETWORK, "network_g", "no torch.nn.Module"),
    own(FAILS, "Own", "own.py:12", "RuntimeError: too", more="--dry_run"),
    own(FAILS, "Own", "own.py:12", "RuntimeError: too", "traceback is in experiments/it/", makes=RUN),
]
PAPER = [
    words("paper", "VERB"),
    words("paper table mian", "mian", "main"),
    words("paper table main --scale 7", "--scale 7", "4"),
    words("paper table main --data gone", "gone", "no such folder"),
    words("paper table main --weights gone", "gone", "no such folder"),
    words("paper table main --only HATT", "--only HATT", "HAT"),
    words("paper table main --network x", "--network", "x"),
    words("paper table main --network ours=page.pth --scale 4", "page.pth", files={"page.pth": "<html>"}),
    words("paper table main --device cuda", "--device cuda"),
    words("paper table main --tile -1", "--tile", "-1"),
    words("paper table main --out w.pth", "w.pth"),
    words("paper ablate", "NAME"),
    words("paper ablate windw", "windw", "window"),
    words("paper ablate window --gpus 2", "--gpus", "full"),
    words("paper ablate window --seeds 0", "--seeds", "1"),
    words("paper complexity --networks HATT", "HATT", "HAT"),
    words("paper complexity --network gone.yml", "gone.yml"),
    words("paper complexity --size 0", "--size", "1"),
    words("paper complexity --size 100000", "--size 100000"),
    words("paper attribution d/GT/0.png --at 0,0", "--arch"),
    words("paper attribution d/GT/0.png --at 0", "--at", "X,Y"),
    words("paper attribution d/GT/0.png --at 60,60 --arch w.pth", "--at", "d/GT/0.png"),
    words("paper attribution gone.png --at 0,0 --arch w.pth", "gone.png"),
    words("paper attribution d/GT/0.png --at 0,0 --arch gone.pth", "gone.pth"),
    words("paper attribution d/GT/0.png --at 0,0 --arch w.pth --out d/GT/0.png", "--out d/GT/0.png"),
    words("paper attribution d/GT/0.png --at 0,0 --arch w.pth --out x.jpg", "--out x.jpg", ".png"),
    words("paper attribution d/GT/0.png --at 0,0 --arch w.pth --crop 0,0,99,99", "--crop", "d/GT/0.png"),
    words("paper figure strip d/GT/0.png --at 0,0,99,9", "--at", "d/GT/0.png"),
    words("paper figure strip cut.png --at 0,0,9,9", "cut.png", files={"cut.png": b"\x89PNG\r\n\x1a\n"}),
    words("paper figure tradeoff --dataset Set6", "Set6", "Set5"),
]
TABLE = [*BASIC, *PLUGINS, *PAPER]
