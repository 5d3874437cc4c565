"""The VGG networks of perceptual losses: BasicSR takes their weights from a file, or downloads them."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torchvision
from basicsr.archs import vgg_arch
from torch import nn

from ..utils.errors import in_one_line
from .problems import Key, Problems

PATIENCE = 20  # seconds without an answer after which a download is given up


class _Untrained:
    """Stands for ``torchvision.models.vgg``: its networks have random weights."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        def features(pretrained: bool) -> SimpleNamespace:
            self.asked.add(name)
            with torch.device("meta"):
                layers = getattr(torchvision.models.vgg, name)(weights=None, init_weights=False).features
            layers.to_empty(device="cpu")
            for weights in layers.parameters():
                nn.init.normal_(weights, std=0.05)
            return SimpleNamespace(features=layers)

        return features


@contextlib.contextmanager
def untrained_vgg() -> Iterator[set[str]]:
    """While it lasts, perceptual losses are built without weights; gives the names of the networks they ask for."""
    stand_in, before = _Untrained(), (vgg_arch.vgg, vgg_arch.VGG_PRETRAIN_PATH)
    vgg_arch.vgg, vgg_arch.VGG_PRETRAIN_PATH = stand_in, ""
    try:
        yield stand_in.asked
    finally:
        vgg_arch.vgg, vgg_arch.VGG_PRETRAIN_PATH = before


def is_vgg(file: Path) -> bool:
    """Whether a file that is missing is one of those that `check_vgg` looks for."""
    return file.name.startswith("vgg") and file.suffix == ".pth"


def check_vgg(key: Key, network: str, problems: Problems) -> None:
    """The weights of a VGG must be where BasicSR looks for them; downloads them, unless files may be absent."""
    own = Path(vgg_arch.VGG_PRETRAIN_PATH)  # below the current folder, of VGG19
    url = torchvision.models.get_model_weights(network)["IMAGENET1K_V1"].url
    cached = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if own.is_file() and own.name != cached.name:
        problems.add(key, f"BasicSR would take '{own}' for the weights of {network}; move it to {cached.parent}")
        return
    if own.is_file() or cached.is_file():
        return
    place = own if own.name == cached.name else cached
    if problems.absent is not None:
        problems.absent.append(place)
        return
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE)
    try:
        if not cached.is_absolute():  # a folder ~ here
            raise FileNotFoundError("no home folder")
        cached.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(cached), hash_prefix=cached.stem.rpartition("-")[2])
    except (OSError, RuntimeError) as error:  # no network, or another file
        failed = f"the download failed: {in_one_line(error)}"
        problems.add(key, f"needs the weights of {network}: put {url} at {place} ({failed})")
    finally:
        socket.setdefaulttimeout(before)
