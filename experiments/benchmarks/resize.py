"""MATLAB's bicubic on an image of 2K: ours beside BasicSR's."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import common  # before basicsr, which can be imported since hat_arch has been

# isort: split
import numpy as np
import torch
from basicsr.utils.matlab_functions import imresize as basicsr_imresize
from common import PEER, Result
from numpy.typing import NDArray

from hat_arch.degradations.resize import imresize
from hat_arch.utils.text_tables import aligned

SIZE = (1356, 2040)  # of a typical image of DIV2K
OURS = "ours"


def measure(args: argparse.Namespace, device: torch.device) -> Iterator[tuple[str, Result]]:
    """Times both on a uint8 image, from and to uint8, and on its float32 version."""
    image = np.random.default_rng(0).integers(0, 256, (*args.size, 3), np.uint8)
    values = image.astype(np.float32) / 255
    cases = {}
    for scale in (2, 3, 4):
        cases[f"uint8, 1/{scale}"] = {
            PEER: lambda s=1 / scale: basicsr_on_uint8(image, s),
            OURS: lambda s=1 / scale: imresize(image, s, convention="uint8"),
        }
        cases[f"float32, 1/{scale}"] = {
            PEER: lambda s=1 / scale: basicsr_imresize(values, s),
            OURS: lambda s=1 / scale: imresize(values, s),
        }
    results = {}
    for name, calls in cases.items():
        clocks = {who: lambda call=call: common.seconds_of(call) for who, call in calls.items()}
        seconds = common.in_turn(clocks, args.rounds)
        results[name] = {
            "seconds": {who: common.summary(runs) for who, runs in seconds.items()},
            "ratio": common.ratios(seconds)[OURS]["median"],
        }
    height, width = args.size
    yield f"resize_{height}x{width}_{device.type}", {"suite": "resize", "size": list(args.size), "cases": results}


def basicsr_on_uint8(image: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """As BasicSR's users do."""
    resized = basicsr_imresize(image.astype(np.float32) / 255, scale)
    return (resized * 255).round().clip(0, 255).astype(np.uint8)


def report(result: Result) -> str:
    rows = []
    for name, case in result["cases"].items():
        peer, ours = (f"{1000 * case['seconds'][who]['median']:.1f}" for who in (PEER, OURS))
        rows.append([name, peer, ours, f"{1 / case['ratio']:.1f}"])
    header = ["", "basicsr ms", "ours ms", "times as fast"]
    return f"bicubic, antialiased, {common.show_size(result['size'])}\n{aligned(header, rows)}"


def parser() -> argparse.ArgumentParser:
    made = common.options(__doc__, rounds=7)
    size = "1356x2040 by default, as typical of DIV2K"
    made.add_argument("--size", type=common.image_size, default=SIZE, metavar="HxW", help=size)
    return made


if __name__ == "__main__":
    common.run(parser().parse_args(), measure, report)
