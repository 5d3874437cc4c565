"""Real-ESRGAN's degradation on the CPU: BasicSR's data set and model beside our recipe, image by image."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from functools import partial
from typing import Any

import common  # before basicsr, which can be imported since hat_arch has been

# isort: split
import cv2
import numpy as np
import torch
from basicsr.data.realesrgan_dataset import RealESRGANDataset
from basicsr.models.realesrgan_model import RealESRGANModel
from basicsr.utils import DiffJPEG, USMSharp
from common import PEER, Result, progress
from torch import Tensor

from hat_arch.data import demo
from hat_arch.data.images import encode
from hat_arch.data.patches import from_pixels
from hat_arch.degradations import option_keys, recipe_named
from hat_arch.degradations.operations import usm_sharpened
from hat_arch.utils.text_tables import aligned

SIDE, SCALE, PATCH = 400, 4, 256  # pixels of the GT that is degraded, as BasicSR has it, and of its patch
PHOTOGRAPHS = ("astronaut", "stereo_motorcycle", "immunohistochemistry", "coffee")
OURS = "ours"
CASES = {"degradation": False, "degradation and sharpening": True}
"""Name → whether the GT is sharpened too, before it is degraded and again after its patch was cut, as BasicSR does."""


def photographs() -> list[bytes]:
    """Squares of photographs, as files that take no time to decode."""
    whole = [demo.photograph(name) for name in PHOTOGRAPHS]
    return [encode(np.ascontiguousarray(image[:SIDE, :SIDE]), ".bmp") for image in whole]


class Peer(RealESRGANModel):
    """BasicSR's model as far as it degrades, behind BasicSR's data set as far as it draws the kernels."""

    def __init__(self, opt: dict[str, Any], files: list[bytes], batch: int, sharpens: bool) -> None:
        self.opt, self.device, self.is_train = opt, torch.device("cpu"), True
        self.jpeg = DiffJPEG(differentiable=False)
        self.usm_sharpener = USMSharp() if sharpens else lambda image: image
        self.files, self.batch = files, batch
        self.dataset = RealESRGANDataset.__new__(RealESRGANDataset)
        with_folder = {"dataroot_gt": "", "io_backend": {"type": "disk"}, "meta_info": "/dev/null"}
        self.dataset.__init__({**opt, **with_folder})
        self.dataset.paths, self.dataset.file_client = list(range(len(files))), self

    def get(self, path: int, _: str) -> bytes:
        """In the place of BasicSR's file client."""
        return self.files[path]

    def jpeger(self, image: Tensor, quality: Tensor) -> Tensor:
        """In one piece: on a CPU, BasicSR's next filter refuses what its JPEG leaves."""
        return self.jpeg(image, quality=quality).contiguous()

    def _dequeue_and_enqueue(self) -> None:
        """Not measured: the pool that mixes the pairs of several batches."""

    def degrade(self, count: int) -> Tensor:
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        for first in range(0, count, self.batch):
            items = [self.dataset[n % len(self.files)] for n in range(first, first + self.batch)]
            keys = ("gt", "kernel1", "kernel2", "sinc_kernel")
            # in one piece, as a loader's workers hand it over
            self.feed_data({key: torch.stack([item[key] for item in items]).contiguous() for key in keys})
        return self.lq


class Ours:
    """The recipe, image by image."""

    def __init__(self, opt: dict[str, Any], files: list[bytes], batch: int, sharpens: bool) -> None:
        self.recipe = recipe_named(
            {"type": "realesrgan", **{key: opt[key] for key in option_keys("realesrgan")}}, SCALE
        )
        self.files, self.batch, self.sharpens = files, batch, sharpens

    def pair(self, number: int) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng((0, 0, number))
        data = np.frombuffer(self.files[number % len(self.files)], np.uint8)
        gt = from_pixels(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)))
        lq = self.recipe(usm_sharpened(gt) if self.sharpens else gt, rng)
        size = PATCH // SCALE
        top, left = rng.integers(lq.shape[1] - size, size=2, endpoint=True).tolist()
        gt = gt[:, top * SCALE :, left * SCALE :][:, :PATCH, :PATCH]
        return lq[:, top : top + size, left : left + size], usm_sharpened(gt) if self.sharpens else gt

    def degrade(self, count: int) -> Tensor:
        for first in range(0, count, self.batch):
            pairs = [self.pair(n) for n in range(first, first + self.batch)]
            lq, _ = (torch.stack(images) for images in zip(*pairs))
        return lq


class Candidate:
    """One of the two, in a process of its own."""

    def __init__(self, name: str, args: argparse.Namespace) -> None:
        common.settle(args.threads, ours=name != PEER)
        cv2.setNumThreads(args.threads)
        self.count = args.samples // args.batch * args.batch
        made = (Peer if name == PEER else Ours, options(), photographs(), args.batch)
        self.candidates = {case: made[0](*made[1:], sharpens) for case, sharpens in CASES.items()}

    def shape(self) -> tuple[int, ...]:
        """Of the LR of a batch."""
        return tuple(self.candidates["degradation"].degrade(self.count).shape)

    def degradation(self) -> float:
        return self._seconds("degradation")

    def sharpened(self) -> float:
        return self._seconds("degradation and sharpening")

    def _seconds(self, case: str) -> float:
        return common.seconds_of(partial(self.candidates[case].degrade, self.count))


def options() -> dict[str, Any]:
    """What both read: our defaults, which are the official HAT's."""
    keys = option_keys("realesrgan")
    recipe: Any = recipe_named("realesrgan", SCALE)
    values = {key: getattr(recipe, key) for key in keys}
    return {**values, "scale": SCALE, "gt_size": PATCH, "use_hflip": False, "use_rot": False}


def measure(args: argparse.Namespace, device: torch.device) -> Iterator[tuple[str, Result]]:
    args.threads = args.threads or 1
    progress(f"{args.rounds} rounds of {args.samples} images in batches of {args.batch}, {args.threads} threads")
    cases = {}
    with common.workers(Candidate, [PEER, OURS], args) as workers:
        shapes = {name: worker.call("shape") for name, worker in workers.items()}
        assert shapes[PEER] == shapes[OURS], shapes
        for case, sharpens in CASES.items():
            method = "sharpened" if sharpens else "degradation"
            clocks = {name: partial(worker.call, method) for name, worker in workers.items()}
            seconds = common.in_turn(clocks, args.rounds)
            cases[case] = {
                "seconds": {name: common.summary(values) for name, values in seconds.items()},
                "time_ratio": common.ratios(seconds)[OURS],
            }
    yield f"degradation_{args.batch}x{SIDE}_{device.type}", {"suite": "degradation", "side": SIDE, "cases": cases}


def report(result: Result) -> str:
    count = result["samples"] // result["batch"] * result["batch"]
    rows = []
    for case, found in result["cases"].items():
        peer, ours = (f"{1000 * found['seconds'][name]['median'] / count:.1f}" for name in (PEER, OURS))
        ratio = found["time_ratio"]
        spread = f"{1 / ratio['max']:.2f} to {1 / ratio['min']:.2f}"
        rows.append([case, peer, ours, f"{1 / ratio['median']:.2f}", spread])
    title = f"Real-ESRGAN's degradation ×{SCALE} of {result['side']}×{result['side']}, batch {result['batch']}"
    header = ["", "BasicSR, ms an image", "ours", "times as fast", "in the rounds"]
    return f"{title}, threads: {result['threads']}\n{aligned(header, rows)}"


def parser() -> argparse.ArgumentParser:
    made = common.options(__doc__, rounds=5)
    made.set_defaults(threads=1, device="cpu")
    add = made.add_argument
    add("--samples", type=common.positive, default=60, metavar="N", help="images degraded at a time; 60 by default")
    add("--batch", type=common.positive, default=4, metavar="N", help="images that BasicSR degrades together; 4")
    return made


if __name__ == "__main__":
    common.run(parser().parse_args(), measure, report)
