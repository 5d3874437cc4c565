"""Arguments that verbs of ``basicsr paper`` share."""

from __future__ import annotations

import argparse
from collections.abc import Callable

ARCH = (
    "a network: NAME=WEIGHTS with a name of the papers (HAT-S, HAT, HAT-L, SwinIR, RCAN, EDSR, EDSR-baseline, RRDBNet, "
    "MSRResNet); the weights of a HAT alone; or [LABEL=]OPTIONS.yml, with its path: pretrain_network_g or what its own "
    "training left in experiments/; again for each network"
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
