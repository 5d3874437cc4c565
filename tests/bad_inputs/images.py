"""Images, outputs and networks of ``basicsr upscale``: what can be done is done, the rest is named."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image as PillowImage

from .case import Case
from .world import image, saved

UPSCALE = "upscale photos large --weights w.pth --precision fp32"
DONE = ("large/a.png", "large/b.png")


def bad(name: str, content: Any, *says: str, **more: Any) -> Case:
    """A bad image among good ones."""
    return Case(UPSCALE, 1, (f"photos/{name}", *says), files={f"photos/{name}": content}, lines=2, makes=DONE, **more)


def refused(args: str, *says: str, **more: Any) -> Case:
    """Words that are refused before anything is done."""
    return Case(f"upscale {args} --weights w.pth --precision fp32", 2, says, **more)


def bomb(width: int, height: int) -> bytes:
    """A PNG of few bytes that says it is large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def animation() -> bytes:
    """A GIF whose second frame is cut off."""
    file = io.BytesIO()
    frames = [PillowImage.fromarray(image(32, 32, seed=seed)) for seed in (0, 1)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=50)
    return file.getvalue()[:-300]


def rrdbnet(folder: Path) -> bytes:
    """Weights of a network that takes images of even sides alone."""
    from basicsr.archs.rrdbnet_arch import RRDBNet

    file = io.BytesIO()
    torch.save({"params": RRDBNet(3, 3, scale=2, num_feat=8, num_block=1, num_grow_ch=4).state_dict()}, file)
    return file.getvalue()


RRDBNET = """scale: 2
network_g: {type: RRDBNet, num_in_ch: 3, num_out_ch: 3, scale: 2, num_feat: 8, num_block: 1, num_grow_ch: 4}
"""
FLOAT = cv2.imencode(".tiff", np.zeros((8, 8, 3), np.float32))[1].tobytes()
REFUSING = """
import torch
from basicsr.utils.registry import ARCH_REGISTRY


@ARCH_REGISTRY.register()
class Refusing(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Conv2d(3, 3, 1)

    def forward(self, x):
        assert x.shape[-1] != 10, "not ten"
        return torch.nn.functional.interpolate(self.body(x), scale_factor=4)
"""


def refusing(folder: Path) -> bytes:
    file = io.BytesIO()
    torch.save(torch.nn.Module.state_dict(torch.nn.ModuleDict({"body": torch.nn.Conv2d(3, 3, 1)})), file)
    return file.getvalue()


IMAGES = [
    bad("empty.png", b"", "empty"),
    bad("cut.png", saved(".png", 40, 40)[:-30], "damaged"),
    bad("cut.jpg", saved(".jpg", 40, 40)[:-60], "damaged"),
    bad("cut.gif", animation(), "damaged"),
    bad("page.png", "<!DOCTYPE html>", "not an image"),
    bad("text.jpg", "hello", "not an image"),
    bad("float.tif", FLOAT, "floating"),
    bad("bomb.png", bomb(60_000, 60_000), "--max-pixels"),
    bad("raw.nef", b"raw", ".nef"),
    bad("head.png", saved(".png", 40, 40)[:20], "damaged"),
    Case(UPSCALE, 1, ("photos/loop.png",), links={"photos/loop.png": "loop.png"}, lines=2, makes=DONE),
    Case(
        UPSCALE, 1, ("photos/gone.png", "No such file"), links={"photos/gone.png": "nowhere.png"}, lines=2, makes=DONE
    ),
    # none of them is bad, whatever their shape
    *(
        Case(UPSCALE, 0, (), files={f"photos/{n}.{s}": saved(f".{s}", *size)}, lines=0, makes=(*DONE, f"large/{n}.png"))
        for n, s, size in (("small", "jpg", (7, 20)), ("dot", "png", (1, 1)), ("line", "png", (3, 400)))
    ),
    Case(
        UPSCALE, 0, (), links={"photos/more": "../d/LR", "photos/back": "."}, lines=0, makes=(*DONE, "large/more/*.png")
    ),
    Case(
        UPSCALE,
        0,
        (),
        files={"photos/a.jpg": saved(".jpg", 8, 8)},
        lines=0,
        makes=("large/a.png.png", "large/a.jpg.png", "large/b.png"),
    ),
    Case(UPSCALE, 0, ("passed over", "1 .txt"), files={"photos/notes.txt": "none"}, makes=DONE),
]
OUTPUTS = [
    Case(UPSCALE, 0, (), files={"large/a.png": b"mine"}, lines=0, makes=("large/b.png",), notes="1 was there"),
    Case(UPSCALE, 1, ("large/b.png", "folder"), files={"large/b.png/x": b""}, lines=2, makes=("large/a.png",)),
    refused("photos photos", "photos", "inside"),
    refused("photos photos/large", "inside"),
    refused("photos/a.png photos/a.png", "photos/a.png", "overwritten"),
    refused("photos/a.png photos/a.png --overwrite", "photos/a.png", "overwritten"),
    refused("photos/a.png z.xyz", "z.xyz", "formats"),
    refused("photos out.png", "out.png", "folder"),
    refused("photos/a.png photos/b.jpg -o w.pth", "w.pth", "not a folder"),
    refused("photos/a.png -o w.pth/x.png", "w.pth", "cannot be written to"),
    refused("photos/a.png out.jpg --format png", "out.jpg", "--format png"),
    refused("gone.png out.png", "gone.png", "no such file"),
    refused("*.gif -o out", "*.gif", "no file fits"),
    refused("d/gone out", "d/gone", "no such file"),
    Case("upscale none out --weights w.pth", 2, ("none", "holds no image"), files={"none/x.txt": "text"}),
    Case(
        "upscale d/GT photos -o out --weights w.pth --precision fp32",
        1,
        ("d/GT/1.png", "damaged"),
        cut={"d/GT/1.png": 90},
        lines=2,
        makes=("out/GT/*.png", "out/photos/*.png"),
    ),
    Case("upscale - -o out.png --weights w.pth --precision fp32", 1, ("standard input", "empty"), lines=2),
    Case(
        "upscale - -o out.png --weights w.pth --precision fp32",
        1,
        ("standard input", "not an image"),
        stdin=b"text",
        lines=2,
    ),
    refused("- out/", "standard input", "-o FILE"),
    refused("photos -o -", "standard output", "one image"),
    refused("photos large --quality 0 --format jpg", "--quality 0", "100"),
    refused("photos large --quality 50", "--quality 50", "webp"),
    refused("photos large --max-side 0", "--max-side 0", "1"),
    refused("photos large --overlap -1", "--overlap -1"),
    refused("photos large --batch 0", "--batch 0"),
    refused("photos large --tile 0", "--tile", "0"),
    refused("photos large --scale 0", "--scale", "0"),
    refused("photos large --scale x", "--scale", "x"),
    refused("photos large --scale nan", "--scale", "nan"),
    refused("photos large --device cuda", "--device cuda", "sees no CUDA"),
    refused("photos large --device tpu", "--device tpu"),
    refused("photos large --gpus 2", "--gpus 2", "sees no CUDA"),
    refused("photos large --gpus 0", "--gpus 0"),
    refused("photos large --suffix a/b", "--suffix"),
    refused("- -o - --compare", "--compare"),
    refused("photos large --param_key params_ema", "w.pth", "params_ema", "params"),
]
VIDEOS = [
    Case(
        "upscale photos/film.mp4 out.mp4 --weights w.pth --precision fp32",
        1,
        ("photos/film.mp4",),
        files={"photos/film.mp4": b"no film"},
        lines=2,
    ),
    Case(
        "upscale photos/film.mp4 out.mp4 --weights w.pth --precision fp32",
        1,
        ("photos/film.mp4", "hat-arch[video]"),
        files={"photos/film.mp4": b"no film"},
        before="import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name == 'av' else find(name, *a)",
        lines=2,
    ),
    refused("photos/a.png out.mp4", "out.mp4", "formats"),
]
NETWORKS = [
    Case(
        "upscale photos large --weights w2.pth --arch_opt rr.yml --precision fp32",
        0,
        (),
        lines=0,
        makes=DONE,
        files={"w2.pth": rrdbnet, "rr.yml": RRDBNET, "photos/a.png": saved(".png", 7, 13)},
    ),
    Case(
        "upscale photos large --weights w2.pth --precision fp32",
        2,
        ("w2.pth", "ESRGAN", "--arch_opt"),
        files={"w2.pth": rrdbnet},
    ),
    Case(
        "upscale photos large --weights w2.pth --arch_opt it.yml --plugin own.py --precision fp32",
        1,
        ("photos/b.jpg", "not ten"),
        files={"w2.pth": refusing, "own.py": REFUSING, "it.yml": "scale: 4\nnetwork_g: {type: Refusing}\n"},
        lines=2,
        makes=("large/a.png",),
    ),
    Case(
        "upscale photos large --weights w.pth --arch_opt rr.yml",
        2,
        ("w.pth", "do not fit RRDBNet"),
        files={"rr.yml": RRDBNET},
    ),
    Case(
        "upscale photos large --weights w.pth --arch_opt rr.yml",
        2,
        ("rr.yml", "network_g", "missing"),
        files={"rr.yml": "scale: 2\n"},
    ),
    Case("upscale photos large --weights w.pth --arch_opt gone.yml", 2, ("gone.yml", "No such file")),
]
TABLE = [*IMAGES, *OUTPUTS, *VIDEOS, *NETWORKS]
