"""Files of weights and names of models, in ``basicsr models``, in option files and in other commands."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from .case import GONE, Case
from .option_files import TRAIN, option


def state(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "w.pth", weights_only=True)["params"]


def saved(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def named(folder: Path) -> bytes:
    """Weights under the name of other programs."""
    return saved({"state_dict": state(folder)})


def discriminator(folder: Path) -> bytes:
    return saved({"params": {"conv0.weight": torch.zeros(4, 3, 3, 3), "conv9.weight": torch.zeros(1, 4, 3, 3)}})


class Code:
    """What runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("touch hacked",)


def restorer(folder: Path) -> bytes:
    """Weights of a HAT that keeps the size."""
    weights = {name: value for name, value in state(folder).items() if not name.startswith(("conv_", "upsample."))}
    dim = state(folder)["conv_first.weight"].shape[0]
    for name, shape in (("conv_first", (dim, 3)), ("conv_after_body", (dim, dim)), ("conv_last.0", (64, dim))):
        weights |= {f"{name}.weight": torch.zeros(*shape, 3, 3), f"{name}.bias": torch.zeros(shape[0])}
    weights |= {"conv_last.2.weight": torch.zeros(3, 64, 3, 3), "conv_last.2.bias": torch.zeros(3)}
    return saved({"params": weights})


MADE_LR: dict[str, Any] = {"datasets.train.type": "BicubicLRDataset", "datasets.val.type": "BicubicLRDataset"}
MADE_LR |= {"datasets.train.dataroot_lq": GONE, "datasets.val.dataroot_lq": GONE}
LOCK = ("home/.cache/hat_arch/.HAT_SRx4.pth.lock",)
PAGE, POINTER = "<!DOCTYPE html>", "version https://git-lfs.github.com/spec/v1\noid sha256:4ee0\nsize 8\n"
START = "path.pretrain_network_g"
WRONG: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    ("page.pth", PAGE, ("web page",)),
    ("pointer.pth", POINTER, ("Git LFS",)),
    ("empty.pth", b"", ("empty",)),
    ("text.pth", "hello", ("text",)),
    ("code.pth", saved(Code()), ("code", "not run")),
    ("code.ckpt", pickle.dumps(Code()), ("code",)),
    ("number.pth", saved(5), ("no weights",)),
    ("nothing.pth", saved({}), ("no weights",)),
    ("cut.pth", lambda folder: (folder / "w.pth").read_bytes()[:5000], ("cut off",)),
    ("cut.safetensors", lambda folder: save(state(folder))[:-100], ("cut off",)),
    ("other.safetensors", b"1234567890", ("another format",)),
    ("other.pth", discriminator, ("discriminator",)),
)
"""Name, content, decisive words."""

FILES = [
    *(
        Case(f"upscale photos large --model {name}", 2, (name, *says), files={name: content})
        for name, content, says in WRONG
    ),
    *(option(START, name, name, *says, files={name: content}) for name, content, says in WRONG[:5]),
    option(START, "gone.pth", "gone.pth"),
    option(START, "d", "d"),
    option(START, "HAT_SRx4_ImageNet-pretrai", "HAT_SRx4"),
    option(START, "other.pth", "other.pth", files={"other.pth": discriminator}),
    Case(
        TRAIN,
        2,
        ("it.yml", "path.param_key_g", "sd.pth", "params_em"),
        yml={START: "sd.pth", "path.param_key_g": "params_em"},
        files={"sd.pth": named},
    ),
    Case(f"{TRAIN} --dry_run", 0, (), yml={START: "sd.pth"}, files={"sd.pth": named}, lines=0, notes="OK"),
    Case(
        f"{TRAIN} --dry_run",
        0,
        (),
        yml={START: "sd.pth", "path.param_key_g": "state_dict"},
        files={"sd.pth": named},
        lines=0,
        notes="OK",
    ),
    Case(
        TRAIN,
        2,
        ("it.yml", START, "they are of a HAT of x4, 3 channels, this is one of x2"),
        yml={START: "w.pth", "scale": 2, "network_g.upscale": 2, **MADE_LR},
    ),
    Case(
        TRAIN,
        2,
        ("it.yml", START, "of a HAT of x4, 3 channels, this is one of x1 without upsampler"),
        yml={START: "w.pth", "scale": 1, "network_g.upscale": 1, "network_g.upsampler": "", **MADE_LR},
    ),
    Case(
        "upscale photos/a.png x.png --model one.pth --scale 4",
        2,
        ("--scale 4", "one is x1"),
        files={"one.pth": restorer},
    ),
    Case(TRAIN, 2, ("it.yml", START, "of another shape"), yml={START: "w.pth", "network_g.embed_dim": 24}),
    Case("test -opt it.yml", 2, ("it.yml", "pretrain_network_g", "--weights"), yml={START: ""}, test=True),
    Case("test -opt it.yml", 2, ("it.yml", "pretrain_network_g", "--weights"), yml={START: None}, test=True),
    Case(
        "upscale photos/a.png x.png --model W.SAFETENSORS --precision fp32",
        0,
        (),
        files={"W.SAFETENSORS": lambda f: save(state(f))},
        lines=0,
        makes=("x.png",),
    ),
]
VERBS = [
    Case("models get HAT_SRx5", 2, ("HAT_SRx5", "HAT_SRx4")),
    Case("models get HAT_SRx4", 2, ("By hand", "HAT_SRx4.pth"), lines=3, makes=LOCK),
    Case("models get HAT_SRx4 --mirror http://127.0.0.1:9/x", 2, ("HAT_SRx4", "127.0.0.1"), lines=3, makes=LOCK),
    Case("models get HAT_SRx4 --mirror nonsense", 2, ("--mirror", "nonsense")),
    Case("models info gone.pth", 2, ("gone.pth", "no such file")),
    Case("models info d", 2, ("d", "folder")),
    Case("models info page.pth", 2, ("page.pth", "web page"), files={"page.pth": PAGE}),
    Case("models add gone.pth", 2, ("gone.pth", "no such file")),
    Case("models add w.pth", 2, ("w.pth", "--name")),
    Case("models add w.pth --name HAT_SRx4", 2, ("w.pth", "HAT_SRx4")),
    Case("models add w.pth --name HAT_SRx4_ImageNet-pretrain", 2, ("w.pth", "checksum")),
    Case("models add page.pth", 2, ("page.pth", "web page"), files={"page.pth": PAGE}),
    Case("models convert w.pth w.pth", 2, ("w.pth", "--overwrite")),
    Case("models convert w.pth out.onnx", 2, ("out.onnx", ".safetensors")),
    Case("models convert w.pth out.safetensors --param_key ema", 2, ("w.pth", "ema", "params")),
    Case("models convert w.pth out.safetensors --dtype int8", 2, ("--dtype", "int8")),
    Case(
        "models convert big.pth out.safetensors --dtype fp16",
        2,
        ("big.pth", "bf16"),
        files={"big.pth": saved({"params": {"a": torch.full((2,), 1e6)}})},
    ),
    Case("models convert w.pth w.pth/x.pth", 2, ("w.pth", "no folder")),
    Case("models frobnicate", 2, ("frobnicate",)),
]
TABLE = [*FILES, *VERBS]
