"""Arguments that verbs of ``basicsr paper`` share."""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ...utils.errors import UserError

FOLDER = Path("results/paper")

ARCH = (
    "a network: NAME=WEIGHTS with a name of the papers (HAT-S, HAT, HAT-L, HAT-light, SwinIR, RCAN, EDSR, "
    "EDSR-baseline, RRDBNet, MSRResNet); [LABEL=] and a HAT's weights, or the name of a model; or [LABEL=]OPTIONS.yml, "
    "with its path: pretrain_network_g or what its own training left in experiments/; again for each network"
)


def numbers(count: int, names: str) -> Callable[[str], tuple[int, ...]]:
    """An argparse type: ``count`` whole numbers with commas between them."""

    def parse(text: str) -> tuple[int, ...]:
        parts = text.split(",")
        if len(parts) != count or not all(re.fullmatch(r"\s*-?\d+\s*", part) for part in parts):
            raise argparse.ArgumentTypeError(f"{text}: must be {names} in pixels, such as {','.join(['40'] * count)}")
        return tuple(map(int, parts))

    return parse


def positive(text: str) -> int:
    """An argparse type: a whole number, at least 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number, at least 1")
    return int(text)


def add_networks(parser: argparse.ArgumentParser, scales: Sequence[int] = (2, 3, 4)) -> None:
    """``--arch``, ``--scale``, one of ``scales``, and ``--plugin``."""
    add = parser.add_argument
    add("--arch", action="append", default=[], metavar="NETWORK", help=ARCH)
    add("--scale", type=int, choices=scales, default=4, help="of the networks, 4 by default")
    add("--plugin", action="append", default=[], help="file or module to import first")


def picture_file(out: Path | None, words: Sequence[object], *read: Path | None) -> Path:
    """Where a picture goes: ``--out``, or by default a name made of ``words`` in `FOLDER`. To be asked before the work.

    ``read`` are images that it must not replace.

    Raises:
        UserError: ``out`` is no PNG, is an image that is read, or cannot be written.
    """
    file = out or FOLDER / re.sub(r"[^\w.,+-]+", "-", "_".join(map(str, words)) + ".png")
    if file.suffix != ".png":
        raise UserError(f"--out {file}: must end in .png")
    if file.exists() and any(image and file.samefile(image) for image in read):
        raise UserError(f"--out {file}: is the image that is read; name another file")
    try:
        if file.is_dir():
            raise IsADirectoryError(0, "is a folder")
        tempfile.TemporaryFile(dir=next(folder for folder in file.absolute().parents if folder.exists())).close()
    except OSError as error:
        raise UserError(f"--out {file}: cannot be written ({error.strerror}); name another file") from error
    return file
