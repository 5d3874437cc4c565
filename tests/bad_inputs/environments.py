"""Surroundings: closed or full output, folders that cannot be written to, no home, no GPU, no room."""

from __future__ import annotations

import functools
from typing import Any

from .case import Case
from .data import RUN
from .images import DONE, UPSCALE
from .world import saved

ASCII = "sys.stdout.reconfigure(encoding='ascii'); sys.stderr.reconfigure(encoding='ascii', errors='backslashreplace')"
NO_HOME = "import pwd\ndef getpwuid(uid): raise KeyError(uid)\npwd.getpwuid = getpwuid"
NO_STDIN = "os.close(0)\nsys.stdin = None"
NO_STDOUT = "os.close(1)\nsys.stdout = None"
NO_STDERR = "os.close(2)\nsys.stderr = None"
FULL_STDOUT = "os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"
NOBODY = "os.setuid(65534)"
DELETED = "os.mkdir('deleted'); os.chdir('deleted'); os.rmdir('../deleted')"
TRAIN, TEST = "train -opt it.yml", "test -opt test.yml"
MADE = (*RUN, "experiments/it/models/net_g_latest.pth")
RESULTS = ("results/*",)


def room(size: int) -> str:
    """No file may be larger."""
    return f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))"


def silent(command: str, before: str, **more: Any) -> Case:
    """Everything is done, and nothing can be said."""
    return Case(command, 0, (), before=before, lines=0, **more)


forbidden = functools.partial(Case, code=2, before=NOBODY)
full = functools.partial(Case, code=2)

OUTPUT = [
    *(
        silent(command, before, makes=makes, yml={})
        for before in (NO_STDOUT, NO_STDERR, f"{NO_STDOUT}\n{NO_STDERR}", f"{NO_STDIN}\n{NO_STDOUT}\n{NO_STDERR}")
        for command, makes in ((UPSCALE, DONE), (TRAIN, MADE))
    ),
    silent("data lmdb d/GT out.lmdb", f"{NO_STDOUT}\n{NO_STDERR}", makes=("out.lmdb/*",)),
    silent("models", NO_STDOUT),
    silent("archs HAT", f"{NO_STDIN}\n{NO_STDOUT}"),
    Case("archs HATT", 2, ("HATT",), before=NO_STDOUT),
    Case("archs HATT", 2, (), before=NO_STDERR, lines=0),
    Case(
        "upscale - -o x.png --weights w.pth --precision fp32", 1, ("standard input", "empty"), before=NO_STDIN, lines=2
    ),
    Case("models", 2, ("no space",), before=FULL_STDOUT),
    Case("archs HAT", 2, ("no space",), before=FULL_STDOUT),
    Case(
        "upscale photos/a.png -o - --weights w.pth --precision fp32",
        2,
        ("standard output", "no space"),
        before=FULL_STDOUT,
    ),
    Case(UPSCALE, 0, (), before=ASCII, lines=0, makes=DONE, notes="upscaled ?4"),
    Case("models", 0, (), before=ASCII, lines=0),
    Case("archs HAT", 0, (), before=ASCII, lines=0),
    Case("paper complexity --networks HAT --scale 2", 0, (), before=ASCII, lines=0),
    Case(TRAIN, 0, (), before=ASCII, lines=0, makes=MADE, yml={}),
    Case("train -opt é.yml", 2, ("\\xe9.yml",), before=ASCII),
]
NAMES = [
    Case(UPSCALE, 0, (), files={"photos/\udcff.png": saved(".png", 8, 8)}, lines=0, makes=(*DONE, "large/\udcff.png")),
    Case(UPSCALE, 1, ("\\udcff.png", "empty"), files={"photos/\udcff.png": b""}, lines=2, makes=DONE),
    *(
        Case(f"data {args}", 0, (), files={"\udcff/\udcff.png": saved(".png", 8, 8)}, lines=0, makes=makes)
        for args, makes in (
            ("lmdb \udcff out.lmdb", ("out.lmdb/*",)),
            ("modcrop \udcff out --scale 4", ("out/*", "out/\udcff.png")),
            ("degrade \udcff out --scale 4 --recipe photo", ("out/*", "out/\udcff.png")),
            ("check \udcff", ()),
        )
    ),
    Case(
        "data meta-info \udcff m.txt",
        1,
        ("\\udcff.png", "UTF-8", "rename"),
        files={"\udcff/\udcff.png": saved(".png", 8, 8)},
        lines=2,
    ),
]
HOME = [
    Case("models", 0, (), before=NO_HOME, env={"HOME": None}, lines=0),
    Case(UPSCALE, 0, (), before=NO_HOME, env={"HOME": None}, lines=0, makes=DONE),
    Case("doctor", 0, (), before=NO_HOME, env={"HOME": None}, lines=0),
    Case(TRAIN, 0, (), before=NO_HOME, env={"HOME": None}, lines=0, makes=MADE, yml={}),
    Case(
        TRAIN,
        2,
        ("it.yml", "vgg19", "put https://"),
        before=NO_HOME,
        env={"HOME": None},
        yml={"train.perceptual_opt": {"type": "PerceptualLoss", "layer_weights": {"conv5_4": 1}}},
    ),
    Case(
        TRAIN,
        2,
        ("it.yml", "datasets.train.dataroot_gt", "~/GT"),
        before=NO_HOME,
        env={"HOME": None},
        yml={"datasets.train.dataroot_gt": "~/GT"},
    ),
    Case(
        TRAIN,
        2,
        ("it.yml", "datasets.train.dataroot_gt", "~nobody_here/GT"),
        yml={"datasets.train.dataroot_gt": "~nobody_here/GT"},
    ),
    Case("models info ~nobody_here/w.pth", 2, ("~nobody_here/w.pth",)),
    Case("upscale photos large --model ~nobody_here/w.pth", 2, ("~nobody_here/w.pth",)),
    Case(
        "data check -opt it.yml",
        1,
        ("~nobody_here/GT",),
        yml={"datasets.train.dataroot_gt": "~nobody_here/GT"},
        lines=1,
    ),
]
FOLDERS = [
    forbidden(UPSCALE, says=("cannot be written to",)),
    forbidden(TRAIN, says=("Permission denied",), yml={}),
    forbidden(TEST, says=("Permission denied",)),
    forbidden("report -opt run.yml", says=("experiments/run", "Permission denied")),
    forbidden("data lmdb d/GT out.lmdb", says=("out.lmdb", "Permission denied")),
    forbidden("data modcrop d/GT out --scale 4", says=("out", "Permission denied")),
    forbidden("models convert w.pth out.pth", says=("out.pth", "Permission denied")),
    forbidden("paper complexity --networks HAT --scale 2 --out out", says=("out", "Permission denied")),
    forbidden("paper table main --scale 4 --only Bicubic", says=("results", "Permission denied")),
    Case("doctor", 1, ("cannot be written to",), before=NOBODY),
    full(UPSCALE, says=("large/", "no space"), before=room(900), makes=("large",)),
    full(TRAIN, says=("experiments/it", "no space"), before=room(1000), yml={}, makes=RUN),
    full("data lmdb d/GT out.lmdb", says=("out.lmdb", "no space"), before=room(2000), makes=(".out.lmdb.partial/*",)),
    full("data modcrop d/GT out --scale 4", says=("out/", "no space"), before=room(1000), makes=("out/.recipe.json",)),
    full(
        "options copy test_HAT_SRx4 --force",
        says=("test_HAT_SRx4.yml", "no space"),
        before=room(100),
        files={"test_HAT_SRx4.yml": "mine"},
    ),
    full("models convert w.pth w.pth --overwrite", says=("w.pth", "no space"), before=room(5000)),
    Case("archs", 0, (), before=DELETED, lines=0),
    Case("train -opt train_HAT_demo_SRx4", 2, ("current folder",), before=DELETED),
]
NO_GPU = [
    Case(TRAIN, 0, ("num_gpu", "2", "CPU"), yml={"num_gpu": 2}, makes=MADE),
    Case(
        TRAIN,
        0,
        ("it.yml", "datasets.train.prefetch_mode", "GPU"),
        yml={"datasets.train.prefetch_mode": "cuda"},
        makes=MADE,
    ),
    Case(f"{TRAIN} --gpus 2 --dry_run", 0, (), yml={}, lines=0, notes="OK"),
    Case(TRAIN, 0, (), yml={"datasets.train.pin_memory": True}, lines=0, makes=MADE),
    Case(
        f"{TRAIN} --dry_run", 0, (), yml={"train.precision": "tf32", "train.channels_last": True}, lines=0, notes="OK"
    ),
    Case(f"{TRAIN} --dry_run", 2, ("it.yml", "train.optim_g", "capturable"), yml={"train.optim_g.capturable": True}),
]
TABLE = [*OUTPUT, *NAMES, *HOME, *FOLDERS, *NO_GPU]
