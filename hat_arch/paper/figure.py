"""Pictures of the papers' kind: comparison strips, and PSNR against what a network takes."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import tensor2img
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox

from ..data.images import DataError
from ..data.resize import imresize
from ..training import report
from .complexity import count
from .facts import look_up
from .networks import NETWORKS, network_options
from .pair import Image, to_tensor
from .trained import Trained

MARK = "#e8112d"
OURS, OTHERS = MARK, "#4a6fa5"
FONT = 10
PLACES = (
    *((6, 0, "left"), (-6, 0, "right"), (0, 9, "center"), (0, -9, "center")),
    *((5, 8, "left"), (5, -8, "left"), (-5, 8, "right"), (-5, -8, "right"), (0, 18, "center"), (0, -18, "center")),
)
"""Where a name may stand beside its point: right and up in points, and which side of it is there."""
SSIM_WINDOW = 11
"""Side of the smallest patch that has an SSIM."""


@dataclass(frozen=True)
class Patch:
    """The marked part of one version of an image."""

    name: str
    image: Image
    """``(h, w, 3)`` BGR."""
    psnr: float | None = None
    ssim: float | None = None
    """Of the patch, on luma; None for LR and GT."""


def patches(gt: Image, lr: Image, box: tuple[int, int, int, int], networks: list[Trained]) -> list[Patch]:
    """LR (pixels repeated), bicubic (MATLAB's), each network, and GT, at a patch.

    The whole LR image is upscaled. PSNR and SSIM are those of the patch, on the Y channel, without a border.

    Args:
        box: left, top, width and height of the patch in ``gt``.

    Raises:
        DataError: the patch is too small for SSIM.
    """
    x, y, width, height = box
    if min(width, height) < SSIM_WINDOW:
        raise DataError(f"--at: a patch of {width}x{height} is too small; SSIM needs {SSIM_WINDOW}x{SSIM_WINDOW}")
    scale = gt.shape[0] // lr.shape[0]

    def part(image: Image) -> Image:
        return np.ascontiguousarray(image[y : y + height, x : x + width])

    def scored(name: str, image: Image) -> Patch:
        images = part(image), part(gt)
        psnr, ssim = (
            float(metric(*images, crop_border=0, test_y_channel=True)) for metric in (calculate_psnr, calculate_ssim)
        )
        return Patch(name, images[0], psnr, ssim)

    found = [Patch("LR", part(lr.repeat(scale, 0).repeat(scale, 1))), scored("bicubic", imresize(lr, scale))]
    for network in networks:
        with torch.no_grad(), network.explaining("take a smaller image"):
            sr = network(to_tensor(lr)[None])
            if not sr.isfinite().all():
                raise DataError(f"its output is not finite; {network.weights} may be damaged")
        found.append(scored(network.label, tensor2img(sr)))
    return [*found, Patch("GT", part(gt))]


def draw_strip(name: str, gt: Image, box: tuple[int, int, int, int], found: list[Patch], file: Path) -> None:
    """The image with the patch marked, then all patches in one or two rows; the best numbers in bold."""
    x, y, width, height = box
    rows = 1 if len(found) <= 5 else 2
    columns = math.ceil(len(found) / rows)
    patch = 1.9  # width in inches
    tall = patch * height / width
    caption = 0.45
    total = rows * (tall + caption)
    whole = min((total - caption) * gt.shape[1] / gt.shape[0], 2.5 * patch)
    figure = plt.figure(figsize=(whole + columns * patch + 0.3, total + 0.1), layout="constrained")
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=[whole, *[patch] * columns])
    overview = figure.add_subplot(grid[:, 0])
    _show(overview, gt, report.plain(name))
    overview.add_patch(Rectangle((x - 0.5, y - 0.5), width, height, fill=False, edgecolor=MARK, linewidth=1.5))
    scored = [p for p in found if p.psnr is not None]
    best = {key: max(getattr(p, key) for p in scored) for key in ("psnr", "ssim")} if len(scored) > 1 else {}
    for i, p in enumerate(found):
        ax = figure.add_subplot(grid[i // columns, 1 + i % columns])
        _show(ax, p.image, f"{report.plain(p.name)}\n{_numbers(p, best)}")
    report.save(figure, file)


def _numbers(patch: Patch, best: dict[str, float]) -> str:
    """PSNR and SSIM as matplotlib's mathtext, bold where they are the best as printed."""
    if patch.psnr is None or patch.ssim is None:
        return "PSNR / SSIM" if patch.name == "GT" else ""
    texts = []
    for key, value, digits in (("psnr", patch.psnr, 2), ("ssim", patch.ssim, 4)):
        text = f"{value:.{digits}f}"
        texts.append(rf"$\mathbf{{{text}}}$" if key in best and text == f"{best[key]:.{digits}f}" else text)
    return " / ".join(texts)


def _show(ax: Axes, image: Image, caption: str) -> None:
    ax.imshow(image[..., ::-1], interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([])
    ax.set_xlabel(caption, fontsize=FONT, labelpad=3)
    for spine in ax.spines.values():
        spine.set(linewidth=0.5, color="gray")


@dataclass(frozen=True)
class Point:
    """A network among others."""

    name: str
    psnr: float
    """As the paper prints it."""
    pretrained: bool
    """On ImageNet."""
    parameters: float | None
    """In millions: of our network, else as printed."""
    multi_adds: float | None
    """In 10⁹, at 64 × 64; of our network."""
    milliseconds: float | None
    """Of a forward pass, from a benchmark file."""


ALIASES = {"RRDB": "RRDBNet"}
"""Rows of the main table whose network has another name in `NETWORKS`."""


@dataclass(frozen=True)
class Latencies:
    """Measured times of forward passes in one setting."""

    setting: str
    milliseconds: dict[str, float]


def points(dataset: str, scale: int, latencies: Latencies | None) -> list[Point]:
    """The rows of the papers' main table of which parameters are known.

    Raises:
        DataError: the table has no such data set.
    """
    columns = look_up("main_table/columns")
    if dataset not in columns:
        raise DataError(f"--dataset {dataset}: unknown; the papers have {', '.join(columns)}")
    found = []
    for row, cells in look_up(f"main_table/x{scale}").items():
        name, _, dagger = row.partition("_")
        psnr = cells[columns.index(dataset)][0]
        ours = ALIASES.get(name, name)
        cost = count(network_options(ours, scale)) if ours in NETWORKS else None
        parameters = (
            cost.parameters / 1e6 if cost else look_up(f"complexity/other_nets_params_M_x{scale}/values/{name}")
        )
        if psnr is not None and parameters is not None:
            multi_adds = cost.multi_adds / 1e9 if cost else None
            time = latencies.milliseconds.get(ours) if latencies else None
            found.append(Point(name, psnr, bool(dagger), parameters, multi_adds, time))
    return found


def read_latencies(folder: Path, scale: int) -> Latencies | None:
    """Median times of our networks in fp32, by ``experiments/benchmarks/inference.py``.

    Those of the setting with most networks; None below two.

    Raises:
        DataError: a file there is no benchmark.
    """
    settings: dict[str, dict[str, float]] = {}
    for file in sorted(folder.glob("*.json")):
        try:
            result = json.loads(file.read_text(encoding="utf-8"))
            if result["suite"] != "infer" or result["precision"] != "fp32" or result["config"]["upscale"] != scale:
                continue
            setting = f"{'×'.join(map(str, result['size']))}, {result['environment']['device_name']}"
            fastest = min(s["median"] for name, s in result["seconds"].items() if name != "peer")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{file}: is no result of a benchmark ({error})") from error
        settings.setdefault(setting, {})[result["network"]] = 1000 * fastest
    setting, times = max(settings.items(), key=lambda item: len(item[1]), default=("", {}))
    return Latencies(setting, times) if len(times) > 1 else None


def draw_tradeoff(found: list[Point], dataset: str, scale: int, latencies: Latencies | None, file: Path) -> None:
    """PSNR against parameters, multi-adds and, where it was measured, latency."""
    axes_of = [("parameters", "parameters, millions"), ("multi_adds", "multi-adds at 64×64, G")]
    if latencies:
        axes_of.append(("milliseconds", f"ms, {latencies.setting}"))
    figure, axes = plt.subplots(
        1, len(axes_of), figsize=(4.4 * len(axes_of), 3.6), sharey=True, layout="constrained", squeeze=False
    )
    for ax, (key, label) in zip(axes[0], axes_of):
        _scatter(ax, [(p, getattr(p, key)) for p in found if getattr(p, key) is not None])
        ax.set_xlabel(label, fontsize=FONT)
    axes[0, 0].set_ylabel(f"PSNR on {dataset} ×{scale}, dB", fontsize=FONT)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=FONT - 1)
    report.save(figure, file)


def _scatter(ax: Axes, values: list[tuple[Point, float]]) -> None:
    """Points over a logarithmic axis, hollow where the network was pre-trained, each with its name beside it."""
    for pretrained, label in ((False, "trained on DIV2K or DF2K"), (True, "† pre-trained on ImageNet")):
        some = [(p, x) for p, x in values if p.pretrained is pretrained]
        colors = [OURS if p.name.startswith("HAT") else OTHERS for p, _ in some]
        faces = ["white"] * len(some) if pretrained else colors
        ax.scatter([x for _, x in some], [p.psnr for p, _ in some], 30, faces, edgecolors=colors, label=label, zorder=3)
    ax.set_xscale("log")
    ax.margins(x=0.16, y=0.12)
    ax.grid(alpha=0.3)
    ax.tick_params(labelsize=FONT - 1)
    ticks = [t for t in (5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if ax.get_xlim()[0] <= t <= ax.get_xlim()[1]]
    ax.set_xticks(ticks, [str(t) for t in ticks])
    ax.set_xticks([], minor=True)
    _label(ax, [(p.name + "†" * p.pretrained, x, p.psnr) for p, x in values])


def _label(ax: Axes, labels: list[tuple[str, float, float]]) -> None:
    """Writes each name at the first place around its point where it covers neither a point nor another name."""
    ax.figure.draw_without_rendering()  # type: ignore[union-attr]
    centres = ax.transData.transform([(x, y) for _, x, y in labels])
    taken = [Bbox.from_extents(x - 6, y - 6, x + 6, y + 6) for x, y in centres]
    for text, x, y in labels:
        for dx, dy, align in PLACES:
            note = ax.annotate(
                text, (x, y), (dx, dy), textcoords="offset points", ha=align, va="center", fontsize=FONT - 1
            )
            box = note.get_window_extent()
            inside = ax.bbox.xmin + 6 < box.xmin and box.xmax < ax.bbox.xmax - 6
            if inside and not any(box.overlaps(other) for other in taken):
                break
            if (dx, dy, align) != PLACES[-1]:
                note.remove()
        taken.append(box)
