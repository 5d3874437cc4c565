"""Fills our side of a table: every cell whose weights and images are there, by the papers' protocol.

LR images are 8 bits, MATLAB's bicubic; images go through a network whole, in fp32; its output is clamped and rounded to
8 bits; PSNR and SSIM are of luma, without as many border pixels as the scale (``evaluation_protocol`` in tables.yml).
The scores of an image are written once they are known, so that work that was stopped goes on.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from basicsr.utils import tensor2img
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from .. import __version__
from ..compat.plugins import in_one_line
from ..config.reading import ConfigError
from ..data.folders import peek
from ..data.images import DataError, ImageError, read_bytes
from ..data.resize import imresize
from ..inference.upscaler import UpscaleError, Upscaler
from ..training.checkpoints import checksum, write_bytes
from ..utils.errors import UserError
from ..utils.files import digest
from ..weights.files import WeightsError
from ..weights.load import OTHER, load_network
from . import trained
from .benchmarks import MissingError, Sample, load, samples
from .metrics import MetricError, measure, unavailable
from .networks import Options, scale_of
from .pair import to_tensor
from .tables import BICUBIC, SCALES, Scores, Table

Image = NDArray[np.uint8]
Tile = Literal["whole", "auto"] | int
Enlarge = Callable[[Image], Image]
"""LR to SR, uint8 ``(H, W, 3)`` BGR."""

BICUBIC_COST = 2**14  # bytes of weights that would cost as much


class EvaluationError(UserError):
    """A row cannot be measured; the message says why."""


@dataclass(frozen=True)
class Settings:
    """Where images and weights lie, and how networks are run."""

    data: Path
    """Folder of the sets."""
    cache: Path
    """Folder for the scores of single images."""
    weights: Path | None = None
    """See `Row.weights`."""
    tile: Tile = "whole"
    device: str = "cpu"
    wanted: Callable[[str, str], bool] = lambda row, set_name: True
    """Whether to measure a row on a set."""


@dataclass(frozen=True)
class Method:
    """What fills a row at a scale."""

    label: str
    scale: int
    identity: str
    """Changes whenever its outputs may."""
    cost: int
    """Of a pixel, in any unit: the size of its weights."""
    prepare: Callable[[], Enlarge]


@dataclass(frozen=True)
class ImageScore:
    """What was measured of one image."""

    scale: int
    row: str
    set_name: str
    image: str
    scores: dict[str, float]


@dataclass
class Results:
    """Our side of a table."""

    images: list[ImageScore] = field(default_factory=list)
    cells: dict[tuple[int, str], Scores] = field(default_factory=dict)
    """Scale and row → means over a set, of the sets of which every image was measured."""
    missing: list[str] = field(default_factory=list)
    """Files that would fill more cells."""
    problems: list[str] = field(default_factory=list)
    """What is there and cannot be used."""


@dataclass(frozen=True)
class _Job:
    """An image that a method is to be measured on."""

    method: Method
    set_name: str
    sample: Sample
    cached: Path
    cost: int

    @property
    def scale(self) -> int:
        return self.method.scale

    def __str__(self) -> str:
        return f"{self.method.label} ×{self.scale} {self.set_name}/{self.sample.name}"


def bicubic(scale: int) -> Method:
    """MATLAB's bicubic."""
    return Method(BICUBIC, scale, "MATLAB bicubic", BICUBIC_COST, lambda: partial(imresize, scale=scale))


def from_weights(label: str, options: Options, weights: Path, settings: Settings) -> Method:
    """The network of a ``network_g`` with weights in a file; it is built when the first image needs it."""

    def prepare() -> Enlarge:
        return enlarger(load_network(weights, None, options), options, settings, scale_of(options))

    identity = json.dumps([options, checksum(weights)], sort_keys=True)
    return Method(label, scale_of(options), identity, weights.stat().st_size, prepare)


def own(spec: str, plugins: Sequence[str], settings: Settings) -> Method:
    """A network that the papers do not have.

    Args:
        spec: ``LABEL=`` and an option file (see `hat_arch.paper.trained.load`) or weights of a HAT.
        plugins: files and modules that may define it.

    Raises:
        ConfigError: it is none of that.
        WeightsError: weights that are damaged, or do not fit.
    """
    label, _, file = spec.partition("=")
    if not label or not file:
        raise ConfigError(f"--network {spec}: must be LABEL=FILE, an option file or weights of a HAT")
    is_option_file = Path(file).suffix in (".yml", ".yaml")
    made = trained.load(spec, SCALES[-1]) if is_option_file else _hat(label, Path(file))
    weights = Path(made.weights)
    identity = json.dumps([made.options, checksum(weights), _sources(made.network, plugins)], sort_keys=True)
    prepare = partial(enlarger, made.network, made.options, settings, made.scale)
    return Method(label, made.scale, identity, weights.stat().st_size, prepare)


def _sources(network: nn.Module, plugins: Sequence[str]) -> list[str]:
    """Checksums of the code that is not PyTorch's: of plugins, and of all classes that a network is made of."""
    classes = {base for module in network.modules() for base in type(module).__mro__}
    names = {one.__module__ for one in classes} | set(plugins)
    modules = [sys.modules[name] for name in names if name in sys.modules and name.partition(".")[0] != "torch"]
    files = {Path(file) for module in modules if (file := getattr(module, "__file__", None))}
    files |= {Path(plugin) for plugin in plugins}
    return sorted(checksum(file) for file in files if file.is_file())


def _hat(label: str, weights: Path) -> trained.Trained:
    try:
        return trained.by_weights(label, weights)
    except WeightsError as error:
        raise WeightsError(str(error).replace(OTHER, f"{OTHER}: --network LABEL=FILE.yml")) from error


def enlarger(network: nn.Module, options: Options, settings: Settings, scale: int) -> Enlarge:
    """A network as a function of 8-bit images."""
    device, multiple = torch.device(settings.device), options.get("window_size", 1)
    upscaler = Upscaler(network.to(device), scale, multiple=multiple, tile=settings.tile, precision="fp32")

    def enlarge(lr: Image) -> Image:
        sr = upscaler(to_tensor(lr)[None].to(device))
        if not torch.isfinite(sr).all():
            raise EvaluationError("its output is not finite")
        return tensor2img(sr)

    return enlarge


def evaluate(table: Table, scales: Sequence[int], extra: Sequence[Method], settings: Settings) -> Results:
    """Measures all that can be measured, or takes it from the cache: bicubic, the table's rows, and ``extra``."""
    results = Results()
    reasons = {name: unavailable(name) for name in table.metrics}
    results.missing += [reason for reason in reasons.values() if reason]
    metrics = [name for name, reason in reasons.items() if not reason]
    jobs: list[_Job] = []
    for scale in scales:
        methods = _methods(table, scale, settings, results) + [method for method in extra if method.scale == scale]
        of_scale = [job for name in table.all_sets for job in _plan(table, name, methods, metrics, settings, results)]
        jobs += sorted(of_scale, key=lambda job: methods.index(job.method))  # each network is built once
    with _without_tf32():
        _run(jobs, metrics, results)
    results.problems = list(dict.fromkeys(results.problems))
    _mean(jobs, results)
    return results


@contextlib.contextmanager
def _without_tf32() -> Iterator[None]:
    """Computes fp32 as fp32 on CUDA inside."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def _methods(table: Table, scale: int, settings: Settings, results: Results) -> list[Method]:
    """Bicubic, and the table's rows whose weights are there; what is missing is noted."""
    methods = [bicubic(scale)]
    for row in table.rows:
        if row.network is None or not any(settings.wanted(row.label, name) for name in table.all_sets):
            continue
        candidates = row.weights(scale, settings.weights)
        weights = next((path for path in candidates if path.is_file()), None)
        if weights:
            methods.append(from_weights(row.label, row.options(scale), weights, settings))
        elif table.paper(row, scale):
            results.missing.append(f"{row.label} ×{scale}: weights {', or '.join(map(str, candidates))}")
    return methods


def _plan(
    table: Table,
    set_name: str,
    methods: Sequence[Method],
    metrics: Sequence[str],
    settings: Settings,
    results: Results,
) -> Iterator[_Job]:
    """The jobs of a set, for methods of one scale."""
    asked = [method for method in methods if settings.wanted(method.label, set_name)]
    if not asked:
        return
    scale = asked[0].scale
    try:
        found = samples(settings.data, set_name, scale, table.lr_folder, table.bicubic_lr)
        files = [(sample, _fingerprint(sample), math.prod(peek(sample.gt))) for sample in found]
    except MissingError as error:
        if set_name in table.sets:
            results.missing.append(f"{set_name} ×{scale}: {error}")
        return
    except DataError as error:
        results.problems.append(f"{set_name} ×{scale}: {error}")
        return
    for method in asked:
        tile = None if method.label == BICUBIC else settings.tile
        for sample, fingerprint, pixels in files:
            key = json.dumps([__version__, method.identity, fingerprint, scale, tile, metrics])
            cached = settings.cache / f"{digest(key.encode())}.json"
            yield _Job(method, set_name, sample, cached, method.cost * pixels // scale**2)


def _fingerprint(sample: Sample) -> str:
    return digest(read_bytes(sample.gt)) + (digest(read_bytes(sample.lr)) if sample.lr else "")


def _run(jobs: Sequence[_Job], metrics: Sequence[str], results: Results) -> None:
    """Measures what is not in the cache, with a bar that knows what images and networks cost."""
    known = {job: _read(job.cached, metrics) for job in jobs}
    todo = [job for job in jobs if known[job] is None]
    failed: set[Method] = set()
    enlarge: Enlarge | None = None
    current: Method | None = None
    terminal = sys.stderr.isatty()
    with tqdm(
        total=sum(job.cost for job in todo),
        disable=not todo,
        dynamic_ncols=terminal,
        mininterval=0.2 if terminal else 30,
        smoothing=0,
        bar_format="{percentage:3.0f}% |{bar}| {elapsed}<{remaining} {desc}",
    ) as bar:
        for n, job in enumerate(todo, 1):
            bar.set_description_str(f"{n}/{len(todo)} {job}", refresh=terminal)
            try:
                if job.method not in failed:
                    if current is not job.method:
                        current, enlarge = None, None  # frees the one before
                        current, enlarge = job.method, job.method.prepare()
                    assert enlarge is not None
                    known[job] = _measure(job, enlarge, metrics)
            except (ImageError, MetricError) as error:  # the same for all methods
                results.problems.append(f"{job.set_name}/{job.sample.name} ×{job.scale}: {error}")
            except (EvaluationError, WeightsError, UpscaleError) as error:
                results.problems.append(f"{job}: {error}")
                failed.add(job.method)
            bar.update(job.cost)
    for job in jobs:
        if scores := known[job]:
            results.images.append(ImageScore(job.scale, job.method.label, job.set_name, job.sample.name, scores))


def _read(path: Path, metrics: Sequence[str]) -> dict[str, float] | None:
    """Scores from the cache; None if they are not there, or the file is damaged."""
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))["scores"]
        return {name: float(scores[name]) for name in metrics}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _measure(job: _Job, enlarge: Enlarge, metrics: Sequence[str]) -> dict[str, float]:
    pair = load(job.sample, job.scale)
    try:
        sr = enlarge(pair.lr)
    except (EvaluationError, UpscaleError):
        raise
    except Exception as error:  # a network of the user's may raise anything
        raise EvaluationError(f"the network fails: {in_one_line(error)}") from error
    if sr.shape != pair.gt.shape:
        raise EvaluationError(f"makes {sr.shape[:2]} of {pair.lr.shape[:2]}, which is not ×{job.scale}")
    scores = measure(sr, pair.gt, job.scale, metrics)
    content = {"row": job.method.label, "set": job.set_name, "image": job.sample.name, "scale": job.scale}
    write_bytes(json.dumps({**content, "scores": scores}, ensure_ascii=False).encode(), job.cached)
    return scores


def _mean(jobs: Sequence[_Job], results: Results) -> None:
    """Means over the sets of which every image was measured."""
    asked: dict[tuple[int, str, str], int] = {}
    for job in jobs:
        key = (job.scale, job.method.label, job.set_name)
        asked[key] = asked.get(key, 0) + 1
    for key, count in asked.items():
        scores = [s.scores for s in results.images if (s.scale, s.row, s.set_name) == key]
        if len(scores) == count:
            means = {metric: float(np.mean([s[metric] for s in scores])) for metric in scores[0]}
            results.cells.setdefault(key[:2], {})[key[2]] = means
