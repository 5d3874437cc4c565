"""Fills our side of a table: every cell whose weights and images are there, by the papers' protocol.

LR images are 8 bits, MATLAB's bicubic, or as the table's `Protocol` says; images go through a network whole, in fp32;
its output is clamped and rounded to 8 bits; PSNR and SSIM are of luma, without as many border pixels as the scale
(``evaluation_protocol`` in tables.yml); of restored images, of all channels and pixels.
The scores of an image are written to the cache once they are known, so that work that was stopped goes on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from ..data.images import DataError, ImageError, read_bytes
from ..utils.errors import UserError
from ..utils.files import checksum, digest, write_file
from ..weights import named
from ..weights.files import WeightsError
from ..weights.load import load_network
from . import trained_networks
from .evaluation_images import ImageFiles, MissingError, find_images
from .metrics import MetricError, measure, unavailable
from .networks import Options, scale_of
from .protocols import Protocol
from .tables import Scores, Table
from .trained_networks import Enlarge, NetworkError, TrainedNetwork, naming_failures

BASELINE_COST = 2**14  # bytes of weights that would cost as much


@dataclass(frozen=True)
class Settings:
    """Where images and weights lie, and how networks are run."""

    data: Path
    """Folder of the sets."""
    cache: Path
    """Folder for the scores of single images."""
    weights: Path | None = None
    """See `TableRow.weights`."""
    tile: Literal["whole", "auto"] | int = "whole"
    device: str = "cpu"
    only: frozenset[str] = frozenset()
    """Rows and sets to measure, by name; of what is not named at all (rows, sets), everything."""


@dataclass(frozen=True)
class Method:
    """What fills a row of a table at one of its levels."""

    label: str
    scale: int
    """By which it enlarges."""
    identity: str
    """Changes whenever the output may: a part of the key of cached scores."""
    cost: int
    """Bytes of the weights: the time for an image is about proportional to them."""
    build: Callable[[], Enlarge]


@dataclass
class Measurement:
    """One image that one method is measured on."""

    method: Method
    protocol: Protocol
    set_name: str
    files: ImageFiles
    cached: Path
    """Where its scores are kept."""
    cost: int
    """For the progress bar: `Method.cost` times the size of the LR image, about."""
    scores: dict[str, float] | None = None
    """By metric; None until it is measured."""

    def __str__(self) -> str:
        return f"{self.method.label} {self.protocol.title} {self.set_name}/{self.files.name}"


@dataclass
class Results:
    """Our side of a table."""

    images: list[Measurement] = field(default_factory=list)
    """Those with scores."""
    cells: dict[tuple[int, str], Scores] = field(default_factory=dict)
    """Level and row → means over a set, of the sets of which every image was measured."""
    missing: list[str] = field(default_factory=list)
    """Files that would fill more cells."""
    problems: list[str] = field(default_factory=list)
    """What is there and cannot be used."""


def released(label: str, options: Options, weights: Path, settings: Settings) -> Method:
    """The network of a ``network_g`` with weights in a file; it is built when the first image needs it."""

    def build() -> Enlarge:
        network = load_network(weights, None, options)
        loaded = TrainedNetwork(label, network, options, scale_of(options), str(weights))
        return loaded.enlarger(settings.tile, settings.device)

    identity = json.dumps([options, checksum(weights)], sort_keys=True)
    return Method(label, scale_of(options), identity, weights.stat().st_size, build)


def own(spec: str, plugins: Sequence[str], settings: Settings) -> Method:
    """A network that the papers do not have, ``LABEL=FILE``; errors as of `hat_arch.paper.trained_networks.load`.

    ``plugins`` are the files and modules that may define it: if one changes, cached scores no longer count.
    """
    if not all(spec.partition("=")):
        raise UserError(f"--network {spec}: must be LABEL=FILE: an option file, weights of a HAT, or a model's name")
    made = trained_networks.load(spec, option="--network")
    weights = Path(made.weights)
    identity = json.dumps([made.options, checksum(weights), _sources(made.network, plugins)], sort_keys=True)
    build = partial(made.enlarger, settings.tile, settings.device)
    return Method(made.label, made.scale, identity, weights.stat().st_size, build)


def _sources(network: nn.Module, plugins: Sequence[str]) -> list[str]:
    """Checksums of the code that is not PyTorch's: of plugins, and of all classes that a network is made of."""
    classes = {base for module in network.modules() for base in type(module).__mro__}
    names = {one.__module__ for one in classes} | set(plugins)
    modules = [sys.modules[name] for name in names if name in sys.modules and name.partition(".")[0] != "torch"]
    files = {Path(file) for module in modules if (file := getattr(module, "__file__", None))}
    files |= {Path(plugin) for plugin in plugins}
    return sorted(checksum(file) for file in files if file.is_file())


def evaluate(table: Table, scales: Sequence[int], extra: Sequence[Method], settings: Settings) -> Results:
    """Measures all that can be measured, or takes it from the cache.

    At each of the table's levels in ``scales`` that is bicubic or the degraded input, the table's rows, and ``extra``.
    """
    results = Results()
    reasons = {name: unavailable(name) for name in table.metrics}
    results.missing += [reason for reason in reasons.values() if reason]
    metrics = [name for name, reason in reasons.items() if not reason]
    planned: list[Measurement] = []
    for protocol in map(table.protocol, scales):
        methods = _methods(table, protocol, extra, settings, results)
        planned += _plan(table, protocol, methods, metrics, settings, results)
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # of matrix products, TF32 is off by default
        _run(planned, metrics, results)
    results.problems = list(dict.fromkeys(results.problems))
    results.images = [one for one in planned if one.scores]
    for (level, method, set_name), group in groupby(
        planned, key=lambda one: (one.protocol.level, one.method, one.set_name)
    ):
        images = [*group]
        scores = [one.scores for one in images if one.scores]
        if len(scores) == len(images):
            means = {metric: float(np.mean([score[metric] for score in scores])) for metric in metrics}
            results.cells.setdefault((level, method.label), {})[set_name] = means
    return results


def _methods(
    table: Table, protocol: Protocol, extra: Sequence[Method], settings: Settings, results: Results
) -> list[Method]:
    """The baseline, the table's rows whose weights are there, and ``extra``; what is missing is noted."""
    level, scale = protocol.level, protocol.scale
    labels = {table.baseline, *(row.label for row in table.rows), *(method.label for method in extra)}
    wanted = labels & settings.only or labels
    identity = "as it is" if table.recipe else "MATLAB bicubic"
    methods = [Method(table.baseline, scale, identity, BASELINE_COST, protocol.plain)]
    methods += [method for method in extra if method.scale == scale]
    for row in table.rows:
        if row.network is None or row.label not in wanted:
            continue
        candidates = row.weights(level, settings.weights)
        weights = next((path for path in candidates if path.is_file()), None)
        if weights:
            methods.append(released(row.label, row.options(scale), weights, settings))
        elif candidates and (level in row.files or table.recipe or table.paper(row, level)):
            model = None if settings.weights else named.named(row.files.get(level, ""))
            remedy = f"; to have them: basicsr models get {model.name}" if model and not model.inside else ""
            places = ", or ".join(map(str, candidates))
            results.missing.append(f"{row.label} {protocol.title}: weights {places}{remedy}")
    return [method for method in methods if method.label in wanted]


def _plan(
    table: Table,
    protocol: Protocol,
    methods: Sequence[Method],
    metrics: Sequence[str],
    settings: Settings,
    results: Results,
) -> Iterator[Measurement]:
    """What is to be measured at one level, method by method."""
    sets = [name for name in table.all_sets if name in (settings.only & {*table.all_sets} or table.all_sets)]
    images = {name: _images(table, name, protocol, settings, results) for name in (sets if methods else ())}
    for method in methods:
        tile = None if method.label == table.baseline else settings.tile
        for name, found in images.items():
            for files, checksums, size in found:
                key = json.dumps([version("hat-arch"), method.identity, checksums, protocol.key, tile, metrics])
                cached = settings.cache / f"{digest(key.encode())}.json"
                cost = method.cost * size // protocol.scale**2
                yield Measurement(method, protocol, name, files, cached, cost, _read(cached, metrics))


def _images(
    table: Table, set_name: str, protocol: Protocol, settings: Settings, results: Results
) -> list[tuple[ImageFiles, str, int]]:
    """Files, checksums and bytes of each image of a set; none, and a note, if it cannot be used."""
    try:
        found = find_images(settings.data, set_name, protocol.scale, table.lr_folder, table.bicubic_lr)
        return [
            (files, "".join(digest(read_bytes(file)) for file in (files.gt, files.lr) if file), files.gt.stat().st_size)
            for files in found
        ]
    except MissingError as error:
        if set_name in table.sets:
            results.missing.append(f"{set_name} {protocol.title}: {error}")
    except DataError as error:
        results.problems.append(f"{set_name} {protocol.title}: {error}")
    return []


def _read(path: Path, metrics: Sequence[str]) -> dict[str, float] | None:
    """Scores from the cache; None if they are not there, or the file is damaged."""
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))["scores"]
        return {name: float(scores[name]) for name in metrics}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _run(planned: Sequence[Measurement], metrics: Sequence[str], results: Results) -> None:
    """Measures what has no scores yet, with a bar that knows what images and networks cost."""
    todo = [one for one in planned if one.scores is None]
    terminal = sys.stderr.isatty()
    with tqdm(
        total=sum(one.cost for one in todo),
        disable=not todo,
        dynamic_ncols=terminal,
        mininterval=0.2 if terminal else 30,
        smoothing=0,
        bar_format="{percentage:3.0f}% |{bar}| {elapsed}<{remaining} {desc}",
    ) as bar:
        for method, images in groupby(todo, key=lambda one: one.method):
            enlarge: Enlarge | None = None  # frees the network before
            for one in images:
                bar.set_description_str(str(one), refresh=terminal)
                try:
                    enlarge = enlarge or method.build()
                    _measure(one, enlarge, metrics)
                except (ImageError, MetricError) as error:  # the same for all methods
                    results.problems.append(f"{one.set_name}/{one.files.name} {one.protocol.title}: {error}")
                except (NetworkError, WeightsError) as error:
                    results.problems.append(str(error))
                    break
                bar.update(one.cost)


def _measure(one: Measurement, enlarge: Enlarge, metrics: Sequence[str]) -> None:
    gt, lr = one.protocol.read(one.files)
    with naming_failures(str(one), "--tile auto takes less memory, and changes the numbers"):
        sr = enlarge(lr)
    one.scores = measure(sr, gt, one.protocol.border, metrics)
    content = {"row": one.method.label, "set": one.set_name, "image": one.files.name, "scale": one.protocol.level}
    write_file(one.cached, json.dumps({**content, "scores": one.scores}, ensure_ascii=False).encode(), durable=True)
