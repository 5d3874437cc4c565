"""The papers' tables: which rows and columns each has, where its numbers stand, and which weights fill our side.

Their contents are in ``table_layouts.yml``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from ..data.benchmark_sets import BENCHMARK_SETS
from ..weights import named
from .ablation import LATEST, option_files
from .networks import NETWORKS, RESTORERS, STUDIES, Options, at_scale
from .protocols import BICUBIC, INPUT, Protocol
from .published import conflict, look_up

SETS = tuple(benchmark.name for benchmark in BENCHMARK_SETS)
DIGITS = {"psnr": 2, "psnr_rgb": 2, "psnrb": 2, "ssim": 4, "lpips": 3, "dists": 3, "niqe": 2}
"""Digits after the point, as the papers print them."""
TITLES = {"psnr_rgb": "PSNR of RGB", "psnrb": "PSNR-B"}
"""Of metrics, where it is not the name in capitals."""

LAYOUTS = Path(__file__).with_name("table_layouts.yml")
EXPERIMENTS = Path("experiments")
PRETRAINED = EXPERIMENTS / "pretrained_models"

Scores = dict[str, dict[str, float]]
"""Set → metric → value."""


@dataclass(frozen=True)
class TableRow:
    """A method of a table."""

    label: str
    printed: str
    """Place of the paper's numbers in ``tables.yml``, with ``{scale}``."""
    network: Options | None = None
    """Its ``network_g``; None: none in the registry."""
    files: Mapping[int, str] = field(default_factory=dict)
    """Level → name of the released weights."""
    runs: Mapping[int, list[str]] = field(default_factory=dict)
    """Level → runs of our option files that train it."""
    in_paper: bool = True

    def weights(self, scale: int, folder: Path | None = None) -> list[Path]:
        """Where its weights are looked for, the first first.

        ``folder`` holds released weights and runs; by default ``experiments/pretrained_models``, where
        `hat_arch.weights.named` finds the model (in the package, or fetched), and ``experiments``.
        """
        released = [(folder or PRETRAINED) / self.files[scale]] if scale in self.files else []
        model = named.named(self.files[scale]) if released and folder is None else None
        if model and (found := model.path()) and found not in released:
            released.append(found)
        return released + [(folder or EXPERIMENTS) / run / LATEST for run in self.runs.get(scale, ())]

    def options(self, scale: int) -> Options:
        """Its ``network_g`` for a scale."""
        assert self.network is not None
        return at_scale(self.network, scale)


@dataclass(frozen=True)
class Table:
    """A table of the papers. Our side has a row for bicubic, or for the degraded input, besides."""

    name: str
    title: str
    source: str
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...]
    sets: tuple[str, ...] = SETS
    """Those that the paper prints; ours are measured on all of `SETS` that there are, if these are of them."""
    scales: tuple[int, ...] = (4,)
    """Its levels: scales, or noise levels σ, or JPEG qualities, as ``level`` says."""
    level: str = "×"
    """What stands before the number of a level."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """What degrades the images, where networks restore them at their size: ``type``, ``argument``, the option that is
    the level, and other options."""
    color: Literal["rgb", "y"] = "rgb"
    """``y``: grey images."""
    metrics: tuple[str, ...] = ("psnr", "ssim")
    lr_folder: str = "LRbicx{scale}"
    bicubic_lr: bool = True
    """Whether LR images are MATLAB's bicubic, and can be made."""

    @property
    def all_sets(self) -> tuple[str, ...]:
        return SETS if set(self.sets) <= set(SETS) else self.sets

    @property
    def baseline(self) -> str:
        """Label of the first row."""
        return INPUT if self.recipe else BICUBIC

    def protocol(self, level: int) -> Protocol:
        """How images are degraded and read at one of the levels."""
        title = f"{self.level}{level}"
        if not self.recipe:
            return Protocol(level, level, title)
        options = {key: value for key, value in self.recipe.items() if key != "argument"}
        return Protocol(level, 1, title, {**options, self.recipe["argument"]: level}, self.color == "y")

    def paper(self, row: TableRow, scale: int) -> Scores:
        """The verified numbers that the paper prints for a row at a level."""
        found = look_up(row.printed.format(scale=scale))
        if found is None:
            return {}
        if isinstance(found, dict):  # set → a cell for each level
            at = self.scales.index(scale)
            found = [found[name][at] for name in self.sets]
            found = [cell if isinstance(cell, list) else [cell] for cell in found]
        if not isinstance(found, list):  # PSNR on one set
            found = [found]
        cells = found if isinstance(found[0], list) else [found]
        return {
            name: {metric: value for metric, value in zip(self.metrics, cell) if value is not None}
            for name, cell in zip(self.sets, cells)
        }


def _read(name: str, title: str, source: str, printed: str, rows: Any, notes: list[str], **others: Any) -> Table:
    """A table of ``table_layouts.yml``."""
    made = []
    for label, row in rows.items():
        place = printed.replace("{row}", row.get("printed", label))
        network, runs = {**NETWORKS, **RESTORERS}.get(row.get("network")), row.get("runs", {})
        if name in STUDIES:
            network = {**NETWORKS["HAT"], **STUDIES[name].variants[label]}
            runs = {4: [option_files(name)[label][-1]]}
        made.append(TableRow(label, place, network, row.get("files", {}), runs, not row.get("ours")))
    lists: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in others.items()}
    return Table(name, title, source, tuple(made), tuple(map(_filled, notes)), **lists)


def _filled(note: str) -> str:
    """A note in which the places in braces are replaced by what stands there."""

    def value(place: re.Match[str]) -> str:
        found = conflict(int(place[1][1:])) if re.fullmatch(r"C\d+", place[1]) else look_up(place[1])
        return str(found).replace("_dagger", "†").rstrip(".")

    return f"{re.sub('{(.+?)}', value, note).rstrip('.')}."


TABLES: dict[str, Table] = {
    name: _read(name, **layout) for name, layout in yaml.safe_load(LAYOUTS.read_text(encoding="utf-8")).items()
}
ALIASES = {"ocab": "ocab_cab", "cab": "cab_weight"}
"""Short names of tables."""
