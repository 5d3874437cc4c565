"""Arguments that verbs of ``basicsr paper`` share."""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from ...config import ConfigError

FOLDER = Path("results/paper")

ARCH = (
    "a network: NAME=WEIGHTS with a name of the papers (HAT-S, HAT, HAT-L, SwinIR, RCAN, EDSR, EDSR-baseline, RRDBNet, "
    "MSRResNet); [LABEL=] and the weights of a HAT; or [LABEL=]OPTIONS.yml, with its path: pretrain_network_g or what "
    "its own training left in experiments/; again for each network"
)


def numbers(count: int, names: str) -> Callable[[str], tuple[int, ...]]:
    """An argparse type: ``count`` whole numbers with commas between them."""

    def parse(text: str) -> tuple[int, ...]:
        try:
            values = tuple(int(part) for part in text.split(","))
        except ValueError:
            values = ()
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"{text}: must be {names} in pixels, such as {','.join(['40'] * count)}")
        return values

    return parse


def add_networks(parser: argparse.ArgumentParser) -> None:
    """``--arch``, ``--scale`` and ``--plugin``."""
    add = parser.add_argument
    add("--arch", action="append", default=[], metavar="NETWORK", help=ARCH)
    add("--scale", type=int, choices=(2, 3, 4), default=4, help="of the networks, 4 by default")
    add("--plugin", action="append", default=[], help="file or module to import first")


def require_png(out: Path | None, image: Path | None = None) -> None:
    """Raises `ConfigError` where ``--out`` is no PNG, or the image that is read."""
    if out is None:
        return
    if out.suffix != ".png":
        raise ConfigError(f"--out {out}: must end in .png")
    if image and out.exists() and image.exists() and out.samefile(image):
        raise ConfigError(f"--out {out}: is the image that is read; name another file")


def file_of(*words: object) -> Path:
    """Where a picture of these goes without ``--out``."""
    name = re.sub(r"[^\w.,+-]+", "-", "_".join(map(str, words)))
    return FOLDER / f"{name}.png"


def require_writable(out: Path) -> None:
    """Raises `ConfigError` unless a file can be written there; to be asked before the work."""
    try:
        if out.is_dir():
            raise IsADirectoryError(0, "is a folder")
        tempfile.TemporaryFile(dir=next(folder for folder in out.absolute().parents if folder.exists())).close()
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written ({error.strerror}); name another file") from error
