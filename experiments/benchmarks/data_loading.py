"""Training samples a second and core: BasicSR's data set beside ours, from folders and LMDB stores."""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common  # before basicsr, which can be imported since hat_arch has been

# isort: split
import cv2
import numpy as np
import torch
from basicsr.data import build_dataset
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from common import Result, progress
from torch.utils.data import BatchSampler, DataLoader

from hat_arch.data import demo
from hat_arch.data.images import PNG_LEVEL, Image, encode
from hat_arch.data.lmdb_store import write_store
from hat_arch.data.sub_images import SubImages
from hat_arch.degradations.resize import imresize
from hat_arch.utils.machine import cores
from hat_arch.utils.text_tables import aligned

GT, SCALE, PATCH = 480, 4, 256  # pixels of DF2K's sub-images, and of the patches that HAT trains on
PHOTOGRAPHS = ("astronaut", "stereo_motorcycle", "immunohistochemistry")  # in colour, and large enough
LOADER_SECONDS = 5.0


def measure(args: argparse.Namespace, device: torch.device) -> Iterator[tuple[str, Result]]:
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        progress("making stores of sub-images")
        images = dict(sub_images())
        datasets = make_datasets(Path(folder), images)
        calls = {name: reading(dataset, args.samples) for name, dataset in datasets.items()}
        calls |= {name: decoding(images, suffix, level, args.samples) for name, suffix, level in ENCODINGS}
        progress(f"{args.rounds} rounds of {len(calls)} cases")
        clocks = {name: lambda call=call: common.seconds_of(call) for name, call in calls.items()}
        seconds = {name: common.summary(values) for name, values in common.in_turn(clocks, args.rounds).items()}
        rates = {name: args.samples / times["median"] for name, times in seconds.items()}
        needed = args.batch / args.iteration if args.iteration else None
        workers = args.workers or min(cores(), max(1, math.ceil((needed or 0) / rates["LMDB of PNG, ours"])))
        progress(f"a loader of {workers} workers")
        loader = loader_rate(datasets["LMDB of PNG, ours"], args.batch, workers)
    yield (
        f"data_{device.type}",
        {
            "suite": "data",
            "gt": GT,
            "patch": PATCH,
            "scale": SCALE,
            "samples_per_second_and_core": rates,
            "seconds": seconds,
            "loader": {"workers": workers, "batch": args.batch, "samples_per_second": loader, "needed": needed},
        },
    )


def sub_images() -> Iterator[tuple[str, Image]]:
    """Name and GT of squares of the photographs."""
    for name in PHOTOGRAPHS:
        photograph = demo.photograph(name)
        corners = SubImages(GT, 20, 0).corners(photograph.shape[0], photograph.shape[1], name)
        for n, (top, left) in enumerate(corners):
            yield f"{name}_{n}", photograph[top : top + GT, left : left + GT]


def make_datasets(root: Path, images: dict[str, Image]) -> dict[str, Any]:
    """The same pairs, stored in several ways below ``root``: names of cases → data sets."""
    pairs = {"gt": images, "lq": {name: imresize(image, 1 / SCALE) for name, image in images.items()}}
    for which, named in pairs.items():
        (root / which).mkdir()
        for name, image in named.items():
            (root / which / f"{name}.png").write_bytes(encode(image, level=PNG_LEVEL))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            stock = str(root / f"stock_{which}.lmdb")
            make_lmdb_from_imgs(str(root / which), stock, [f"{name}.png" for name in named], list(named))
        for store in ("png", "bmp", "other_bmp"):  # a process can open a store but once
            write_store(root / f"{store}_{which}.lmdb", named.items(), f".{store[-3:]}")

    def dataset(kind: str, stored: str) -> Any:
        roots = {f"dataroot_{which}": str(root / stored.format(which)) for which in pairs}
        opt = {"name": stored, "type": kind, "phase": "train", "scale": SCALE, "gt_size": PATCH, **roots}
        backend = {"type": "lmdb" if stored.endswith(".lmdb") else "disk"}
        return build_dataset({**opt, "io_backend": backend, "use_hflip": True, "use_rot": True})

    return {
        "folder of PNG, BasicSR": dataset("PairedImageDataset", "{}"),
        "folder of PNG, ours": dataset("SeededPairedDataset", "{}"),
        "LMDB of PNG, BasicSR": dataset("PairedImageDataset", "stock_{}.lmdb"),
        "LMDB of PNG, ours": dataset("SeededPairedDataset", "png_{}.lmdb"),
        "LMDB of BMP, BasicSR": dataset("PairedImageDataset", "other_bmp_{}.lmdb"),
        "LMDB of BMP, ours": dataset("SeededPairedDataset", "bmp_{}.lmdb"),
    }


def reading(dataset: Any, samples: int) -> Callable[[], object]:
    return lambda: [dataset[n % len(dataset)] for n in range(samples)]


ENCODINGS = (
    ("decoding PNG, level 1", ".png", 1),
    ("decoding PNG, ours", ".png", None),
    ("decoding BMP", ".bmp", None),
)
"""Cases in which GT images are decoded and nothing else: name, suffix, level of compression."""


def decoding(images: dict[str, Image], suffix: str, level: int | None, samples: int) -> Callable[[], object]:
    encoded = [np.frombuffer(encode(image, suffix, level), np.uint8) for image in images.values()]
    return lambda: [cv2.imdecode(encoded[n % len(encoded)], cv2.IMREAD_COLOR) is None for n in range(samples)]


def loader_rate(dataset: Any, batch: int, workers: int) -> float:
    """Samples a second that a DataLoader delivers, once its workers are running."""
    positions = range(10**9)  # every position of a training set is an item
    batches = BatchSampler(positions, batch, drop_last=True)
    loader = iter(DataLoader(dataset, batch_sampler=batches, num_workers=workers))
    for _ in range(2 * workers + 1):
        next(loader)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < LOADER_SECONDS:
        next(loader)
        count += batch
    return count / (time.perf_counter() - start)


def report(result: Result) -> str:
    rates, loader = result["samples_per_second_and_core"], result["loader"]
    rows = [[name, f"{rate:.0f}", f"{1000 / rate:.2f}"] for name, rate in rates.items()]
    lines = [
        f"training pairs of {result['gt']}×{result['gt']} and their LR ×{result['scale']}, "
        f"patches of {result['patch']}, one core",
        aligned(["", "samples/s", "ms each"], rows),
        f"loader, {loader['workers']} workers, batches of {loader['batch']}, LMDB of PNG, ours: "
        f"{loader['samples_per_second']:.0f} samples/s",
    ]
    if loader["needed"]:
        enough = loader["samples_per_second"] >= loader["needed"]
        verdict = "the loader keeps up" if enough else "too slow: more workers, or prepare --format bmp"
        lines.append(f"training takes {loader['needed']:.0f} samples/s: {verdict}")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    made = common.options(__doc__, rounds=5)
    made.set_defaults(threads=1)
    add = made.add_argument
    add("--samples", type=common.positive, default=60, metavar="N", help="read at a time; 60 by default")
    add("--batch", type=common.positive, default=4, metavar="N", help="images of an iteration; 4 by default")
    add(
        "--iteration", type=float, metavar="S", help="seconds of a training iteration: says whether the loader keeps up"
    )
    add("--workers", type=common.positive, metavar="N", help="of the loader; by default what --iteration needs")
    return made


if __name__ == "__main__":
    common.run(parser().parse_args(), measure, report)
