"""The papers' PSNR against what a network takes: parameters, multi-adds and, measured here, latency."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from torch.utils.benchmark import Timer

from ..compat.registration import build
from ..data.images import DataError
from ..inference.prepared import Prepared
from ..training.report import save
from .complexity import SIZE, count
from .drawing import FONT, MARK
from .networks import Options
from .published import look_up
from .tables import TABLES

OTHERS = "#4a6fa5"
PLACES = (
    *((6, 0, "left"), (-6, 0, "right"), (0, 9, "center"), (0, -9, "center")),
    *((5, 8, "left"), (5, -8, "left"), (-5, 8, "right"), (-5, -8, "right"), (0, 18, "center"), (0, -18, "center")),
)
"""Where a name may stand beside its point: right and up in points, and which side of it is there."""


@dataclass(frozen=True)
class Point:
    """A network among others."""

    name: str
    psnr: float
    """As the paper prints it."""
    pretrained: bool
    """On ImageNet."""
    parameters: float
    """In millions: of our network, else as printed."""
    multi_adds: float | None
    """In 10⁹, at 64 × 64; of our network."""
    milliseconds: float | None
    """Of a forward pass at 64 × 64; of our network."""


def points(dataset: str, scale: int, with_latency: bool = False) -> list[Point]:
    """The rows of the papers' main table of which parameters are known.

    ``with_latency`` measures forward passes, on the CPU in fp32, with fresh weights. Raises `DataError` if the table
    has no such data set.
    """
    table = TABLES["main"]
    if dataset not in table.sets:
        raise DataError(f"--dataset {dataset}: unknown; the papers have {', '.join(table.sets)}")
    found, times = [], dict[str, float]()
    for row in table.rows:
        name, psnr = row.label.rstrip("†"), table.paper(row, scale).get(dataset, {}).get("psnr")
        parameters = look_up(f"complexity/other_nets_params_M_x{scale}/values/{name}")
        multi_adds = None
        if row.network is not None and psnr is not None:
            cost = count(row.options(scale))
            parameters, multi_adds = cost.parameters / 1e6, cost.multi_adds / 1e9
            if with_latency and name not in times:
                times[name] = latency(row.options(scale))
        if psnr is not None and parameters is not None:
            found.append(Point(name, psnr, name != row.label, parameters, multi_adds, times.get(name)))
    return found


def latency(network_g: Options) -> float:
    """Milliseconds of a forward pass for an LR image of 64 × 64 on the CPU, the median of at least two seconds."""
    forward = Prepared(build(network_g).eval(), None)
    with torch.no_grad():
        timer = Timer("forward(image)", globals={"forward": forward, "image": torch.rand(1, 3, SIZE, SIZE)},
                      num_threads=torch.get_num_threads())  # fmt: skip
        return 1000 * timer.blocked_autorange(min_run_time=2).median


def draw_tradeoff(found: list[Point], dataset: str, scale: int, file: Path) -> None:
    """PSNR against parameters, multi-adds and, where it was measured, latency."""
    labels = {"parameters": "parameters, millions", "multi_adds": "multi-adds at 64×64, G"}
    if any(point.milliseconds for point in found):
        labels["milliseconds"] = f"ms at 64×64, CPU with {torch.get_num_threads()} threads"
    size = 4.4 * len(labels), 3.6
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, len(labels), sharey=True)
    for ax, (key, label) in zip(axes, labels.items()):
        _scatter(ax, [(point, getattr(point, key)) for point in found if getattr(point, key) is not None])
        ax.set_xlabel(label, fontsize=FONT)
    axes[0].set_ylabel(f"PSNR on {dataset} ×{scale}, dB", fontsize=FONT)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=FONT - 1)
    save(figure, file)


def _scatter(ax: Axes, values: list[tuple[Point, float]]) -> None:
    """Points over a logarithmic axis, hollow where the network was pre-trained, each with its name beside it."""
    for pretrained, label in ((False, "trained on DIV2K or DF2K"), (True, "† pre-trained on ImageNet")):
        some = [(point, x) for point, x in values if point.pretrained is pretrained]
        colors = [MARK if point.name.startswith("HAT") else OTHERS for point, _ in some]
        x, y = [x for _, x in some], [point.psnr for point, _ in some]
        ax.scatter(x, y, 30, "white" if pretrained else colors, edgecolors=colors, label=label, zorder=3)
    ax.set_xscale("log")
    ax.margins(x=0.16, y=0.12)
    ax.grid(alpha=0.3)
    ax.tick_params(labelsize=FONT - 1)
    ticks = [t for t in (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if ax.get_xlim()[0] <= t <= ax.get_xlim()[1]]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.set_xticks([], minor=True)
    _label(ax, [(point.name + "†" * point.pretrained, x, point.psnr) for point, x in values])


def _label(ax: Axes, labels: list[tuple[str, float, float]]) -> None:
    """Writes each name at the first place around its point where it covers neither a point nor another name."""
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]
    centres = ax.transData.transform([(x, y) for _, x, y in labels])
    taken = [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6) for x, y in centres]
    for text, x, y in labels:
        for place in PLACES:
            dx, dy, align = place
            note = ax.annotate(
                text, (x, y), (dx, dy), textcoords="offset points", ha=align, va="center", fontsize=FONT - 1
            )
            box = note.get_window_extent()
            inside = ax.bbox.xmin + 6 < box.xmin and box.xmax < ax.bbox.xmax - 6
            if place == PLACES[-1] or (inside and not any(box.overlaps(other) for other in taken)):
                break
            note.remove()
        taken.append(box)
