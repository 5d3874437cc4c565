"""Suite ``data``: training samples a second and core, BasicSR's data set beside ours, and whether that is enough."""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.data import build_dataset
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from matplotlib.figure import Figure
from torch.utils.data import BatchSampler, DataLoader

from hat_arch.data import demo
from hat_arch.data.images import PNG_LEVEL, Image, encode
from hat_arch.data.lmdb_store import write_store
from hat_arch.data.parallel import cores
from hat_arch.data.resize import imresize
from hat_arch.data.sub_images import SubImages

from . import plot
from .measure import alternate, describe, environment, require_positive, settings_of_torch, summary, table, timed

GT, SCALE, PATCH = 480, 4, 256  # DF2K's sub-images, and the patches that HAT trains on
PHOTOGRAPHS = ("astronaut", "stereo_motorcycle", "immunohistochemistry")  # in colour, and large enough
HOW = SubImages(GT, 20, 0)
LOADER_SECONDS = 5.0


def run(
    runs: int = 5,
    samples: int = 60,
    batch: int = 4,
    iteration: float | None = None,
    workers: int | None = None,
    loader_seconds: float = LOADER_SECONDS,
) -> dict[str, Any]:
    """Measures on sub-images of 480×480 that it makes in a temporary folder.

    Args:
        runs: timed rounds of each case.
        samples: read in a round.
        batch: images of an iteration.
        iteration: seconds that one iteration of training takes; None: not compared.
        workers: of the loader; None: as many as the training rate needs, but no more than cores.
        loader_seconds: for which the loader is watched.

    Returns:
        What the JSON file holds: samples a second and core of each case, and the loader's rate.
    """
    require_positive(runs=runs, samples=samples, batch=batch, iteration=iteration, workers=workers)
    device = torch.device("cpu")
    with settings_of_torch(1), tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        stack.callback(cv2.setNumThreads, cv2.getNumThreads())
        cv2.setNumThreads(1)
        datasets = _datasets(Path(folder))
        calls = {name: _reads(dataset, samples) for name, dataset in datasets.items()}
        calls |= _decodes(samples)
        machine = environment(device, "basicsr", "opencv-python", "lmdb", "hat-arch")
        seconds = alternate({name: partial(timed, call, device) for name, call in calls.items()}, runs, 1)
        rates = {name: samples / summary(values)["median"] for name, values in seconds.items()}
        needed = None if iteration is None else batch / iteration
        per_core = rates["LMDB of PNG, ours"]
        workers = workers or min(cores(), max(1, math.ceil((needed or 0) / per_core)))
        loader = _loader_rate(datasets["LMDB of PNG, ours"], batch, workers, loader_seconds)
    return {
        "suite": "data",
        "gt": GT,
        "patch": PATCH,
        "scale": SCALE,
        "samples_per_second_and_core": rates,
        "seconds": {name: summary(values) for name, values in seconds.items()},
        "samples": samples,
        "runs": runs,
        "loader": {"workers": workers, "batch": batch, "samples_per_second": loader, "needed": needed},
        "environment": machine,
        "command": f"basicsr bench data --runs {runs} --samples {samples} --batch {batch} --workers {workers}"
        + (f" --iteration {iteration:g}" if iteration else ""),
    }


def _datasets(root: Path) -> dict[str, Any]:
    """The same pairs stored in four ways: names of cases → data sets."""
    images = {"gt": dict(_sub_images())}
    images["lq"] = {name: imresize(image, 1 / SCALE) for name, image in images["gt"].items()}
    for which, named in images.items():
        (root / which).mkdir()
        for name, image in named.items():
            (root / which / f"{name}.png").write_bytes(encode(image, level=PNG_LEVEL))
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            stock = str(root / f"stock_{which}.lmdb")
            make_lmdb_from_imgs(str(root / which), stock, [f"{name}.png" for name in named], list(named))
        for store in ("png", "bmp", "other_bmp"):  # a process can open a store but once
            write_store(root / f"{store}_{which}.lmdb", named.items(), f".{store[-3:]}")

    def dataset(kind: str, stored: str) -> Any:
        roots = {f"dataroot_{which}": str(root / stored.format(which)) for which in images}
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


def _sub_images() -> Iterator[tuple[str, Image]]:
    for name in PHOTOGRAPHS:
        photograph = demo.photograph(name)
        for n, (top, left) in enumerate(HOW.corners(photograph.shape[0], photograph.shape[1], name)):
            yield f"{name}_{n}", photograph[top : top + GT, left : left + GT]


def _reads(dataset: Any, samples: int) -> Callable[[], object]:
    return lambda: [dataset[n % len(dataset)] for n in range(samples)]


def _decodes(samples: int) -> dict[str, Callable[[], object]]:
    """Decoding GT images alone."""
    calls: dict[str, Callable[[], object]] = {}
    images = [image for _, image in _sub_images()]
    for label, suffix, level in (("PNG, level 1", ".png", 1), ("PNG, ours", ".png", None), ("BMP", ".bmp", None)):
        encoded = [np.frombuffer(encode(image, suffix, level), np.uint8) for image in images]
        calls[f"decoding {label}"] = partial(_decode_all, encoded, samples)
    return calls


def _decode_all(encoded: list[Any], samples: int) -> None:
    for n in range(samples):
        cv2.imdecode(encoded[n % len(encoded)], cv2.IMREAD_COLOR)


def _loader_rate(dataset: Any, batch: int, workers: int, seconds: float) -> float:
    """Samples a second that a DataLoader delivers, once its workers are running."""
    positions = range(10**9)  # every position of a training set is an item
    batches = BatchSampler(positions, batch, drop_last=True)
    loader = iter(DataLoader(dataset, batch_sampler=batches, num_workers=workers))
    for _ in range(2 * workers + 1):
        next(loader)
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        next(loader)
        count += batch
    return count / (time.perf_counter() - start)


def default_path(result: dict[str, Any]) -> Path:
    return Path("experiments/benchmarks/data_cpu.json")


def report(result: dict[str, Any]) -> str:
    """The result for the terminal."""
    rates, loader = result["samples_per_second_and_core"], result["loader"]
    rows = [[name, f"{rate:.0f}", f"{1000 / rate:.2f}"] for name, rate in rates.items()]
    lines = [
        f"training pairs of {GT}×{GT} and their LR ×{SCALE}, patches of {PATCH}, one core",
        table(["", "samples/s", "ms each"], rows),
        f"loader, {loader['workers']} workers, batches of {loader['batch']}, LMDB of PNG, ours: "
        f"{loader['samples_per_second']:.0f} samples/s",
    ]
    if loader["needed"]:
        enough = loader["samples_per_second"] >= loader["needed"]
        lines.append(
            f"training takes {loader['needed']:.0f} samples/s: "
            + ("the loader keeps up" if enough else "the loader is too slow: more workers, or prepare --format bmp")
        )
    return "\n".join([*lines, describe(result["environment"]), result["command"]])


def draw(result: dict[str, Any]) -> Figure:
    """Samples a second and core of every case."""
    rates = {
        name: tuple(result["samples"] / seconds[key] for key in ("median", "max", "min"))
        for name, seconds in result["seconds"].items()
    }
    figure, axes = plot.figure(f"training pairs of {result['gt']}×{result['gt']}, one core", 7, 3.4)
    plot.bars(axes[0], rates, "samples/s, median and range")
    return figure
