"""Suite ``tile``: what tiles change in the result, on photographs, against their size and overlap."""

from __future__ import annotations

import math
import shlex
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.metrics import calculate_psnr
from basicsr.utils import img2tensor, tensor2img
from matplotlib.figure import Figure
from torch import Tensor, nn

from hat_arch.archs.hat_arch import HAT
from hat_arch.data import demo
from hat_arch.data.images import Image, find, mod_crop, read
from hat_arch.data.resize import imresize
from hat_arch.inference.upscaler import Upscaler
from hat_arch.weights.load import load_network

from . import NETWORKS, plot
from .measure import (
    BenchmarkError,
    describe,
    environment,
    pick_device,
    require_positive,
    settings_of_torch,
    table,
)

FLAT = 1e-4  # mean step between neighbouring rows or columns, below which it is not compared
RANDOM = "random weights: this says little about trained ones; pass --weights"


@dataclass(frozen=True)
class TileSettings:
    """What is compared.

    Raises:
        BenchmarkError: a value that makes no sense; the message names the option.
    """

    weights: Path | None = None
    """File of a HAT; None: ``network`` with random weights."""
    network: str = "HAT"
    """A key of `hat_arch.bench.NETWORKS`."""
    images: Path | None = None
    """Folder of ground truth; None: the held-out photographs of the demo data set."""
    gt_size: int = 512
    """Largest side of the centre of each image that is used, in pixels of the ground truth."""
    tiles: tuple[int, ...] = (64, 96)
    """Sides of tiles, in pixels of the input."""
    overlaps: tuple[int, ...] = (0, 16, 32)
    blend: bool = True
    precision: str = "fp32"
    device: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        require_positive(gt_size=self.gt_size, threads=self.threads)
        for tile in self.tiles:
            require_positive(tile=tile)
        if min(self.overlaps) < 0 or max(self.overlaps) >= min(self.tiles):
            raise BenchmarkError(f"--overlap: must be 0 to {min(self.tiles) - 1}, less than the smallest --tile")

    def command(self) -> str:
        """The command line that measures this."""
        words = ["basicsr", "bench", "tile"]
        words += ["--weights", str(self.weights)] if self.weights else ["--network", self.network]
        words += ["--images", str(self.images)] if self.images else []
        words += ["--gt_size", str(self.gt_size), "--tile", *map(str, self.tiles), "--overlap"]
        words += [*map(str, self.overlaps), *([] if self.blend else ["--crop"]), "--precision", self.precision]
        words += ["--device", self.device] + ([] if self.threads is None else ["--threads", str(self.threads)])
        return shlex.join(words)


def run(
    settings: TileSettings,
    config: Mapping[str, Any] | None = None,
    progress: Callable[[str], object] = lambda message: None,
) -> dict[str, Any]:
    """Upscales every image whole and in tiles.

    Args:
        settings: what to compare.
        config: arguments of the network without weights; None for those of ``NETWORKS[settings.network]``.
        progress: is told what is being done.

    Returns:
        What the JSON file holds: decibels, and ratios of steps (`worst_step`).

    Raises:
        DataError, WeightsError: an image or the weights cannot be read.
        BenchmarkError: no image is larger than the tiles.
    """
    device = pick_device(settings.device)
    if settings.weights is None:
        progress(RANDOM)
    network = _network(settings, config).to(device)
    scale, window = int(network.upscale), int(network.window_size)  # type: ignore[arg-type]
    pairs = _pairs(settings, scale)
    if max(max(lq.shape[:2]) for _, lq in pairs.values()) <= min(settings.tiles):
        raise BenchmarkError(f"--tile {min(settings.tiles)}: no input is larger; pass a larger --gt_size or images")

    def upscaler(tile: Any, overlap: int) -> Upscaler:
        precision: Any = settings.precision
        return Upscaler(
            network, scale, multiple=window, tile=tile, overlap=overlap, blend=settings.blend, precision=precision
        )

    whole_psnr: dict[str, float] = {}
    combinations = product(settings.tiles, settings.overlaps)
    cases: list[dict[str, Any]] = [{"tile": side, "overlap": overlap, "images": {}} for side, overlap in combinations]
    with settings_of_torch(settings.threads):
        machine = environment(device, "basicsr", "hat-arch")
        for name, (gt, lq) in pairs.items():
            image = img2tensor(lq.astype(np.float32) / 255)[None].to(device)
            progress(f"{name}, {lq.shape[1]}×{lq.shape[0]}, whole and in {len(cases)} ways")
            whole = upscaler("whole", 0)(image).clamp(0, 1)
            whole_psnr[name] = psnr_y(whole, gt, scale)
            for case in cases:
                tiled = upscaler(case["tile"], case["overlap"])(image).clamp(0, 1)
                case["images"][name] = {
                    "mse_to_whole": float((tiled - whole).double().square().mean()),
                    "worst_step": worst_step(tiled, whole),
                    "psnr_y": psnr_y(tiled, gt, scale),
                }
    return {
        "suite": "tile",
        "network": settings.network if settings.weights is None else settings.weights.stem,
        "weights": None if settings.weights is None else str(settings.weights),
        "scale": scale,
        "blend": settings.blend,
        "precision": settings.precision,
        "inputs": {name: list(lq.shape[:2]) for name, (_, lq) in pairs.items()},
        "whole_psnr_y": whole_psnr,
        "cases": [{**case, **_over_images(case["images"], whole_psnr)} for case in cases],
        "environment": machine,
        "command": settings.command(),
    }


def _network(settings: TileSettings, config: Mapping[str, Any] | None) -> nn.Module:
    if settings.weights is not None:
        network = load_network(settings.weights)
        if not isinstance(network, HAT):
            raise BenchmarkError(f"--weights {settings.weights}: must be those of a HAT")
        return network.eval()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return HAT(**(NETWORKS[settings.network] if config is None else config)).eval()


def _pairs(settings: TileSettings, scale: int) -> dict[str, tuple[Image, Image]]:
    """Centres of the photographs, and what MATLAB's bicubic makes of them: name → GT, LR."""
    if settings.images is None:
        photographs = {name: demo.photograph(name) for name in demo.HELD_OUT}
    else:
        photographs = {str(path.relative_to(settings.images)): read(path) for path in find(settings.images)}
    pairs = {}
    for name, image in photographs.items():
        colour = image if image.ndim == 3 else np.repeat(image[..., None], 3, -1)
        gt = mod_crop(_centre(colour, settings.gt_size), scale)
        pairs[name] = gt, imresize(gt, 1 / scale)
    return pairs


def _centre(image: Image, side: int) -> Image:
    top, left = (max(0, (length - side) // 2) for length in image.shape[:2])
    return image[top : top + side, left : left + side]


def psnr_y(image: Tensor, gt: Image, scale: int) -> float:
    """PSNR-Y in dB without ``scale`` border pixels, of ``(1, 3, H, W)`` RGB, values 0 to 1, and uint8 BGR."""
    return float(calculate_psnr(tensor2img(image), gt, crop_border=scale, test_y_channel=True))


def worst_step(tiled: Tensor, whole: Tensor) -> float:
    """How visible borders of tiles are: 1 if they are not.

    The mean absolute step from one row (column) to the next, in the tiled image over the same in the whole image; the
    largest of all rows and columns. A border of tiles runs along a row or column, wherever it lies.

    Args:
        tiled, whole: ``(B, C, H, W)``, values 0 to 1.
    """
    ratios = [torch.ones(1, device=tiled.device)]
    for dim, others in ((-2, (0, 1, 3)), (-1, (0, 1, 2))):
        there, expected = (image.diff(dim=dim).abs().mean(others) for image in (tiled, whole))
        ratios.append(there[expected > FLAT] / expected[expected > FLAT])
    return float(torch.cat(ratios).max())


def _over_images(images: Mapping[str, Mapping[str, float]], whole: Mapping[str, float]) -> dict[str, float | None]:
    mse = statistics.mean(image["mse_to_whole"] for image in images.values())
    return {
        "psnr_to_whole": -10 * math.log10(mse) if mse else None,
        "worst_step": max(image["worst_step"] for image in images.values()),
        "psnr_y_loss": statistics.mean(whole[name] - image["psnr_y"] for name, image in images.items()),
    }


def default_path(result: Mapping[str, Any]) -> Path:
    parts = result["suite"], result["network"], result["precision"], result["environment"]["device"]
    return Path("experiments/benchmarks") / f"{'_'.join(parts)}.json"


def report(result: Mapping[str, Any]) -> str:
    """The result for the terminal."""
    header, rows = ["tile", "overlap", "PSNR to whole, dB", "worst step, tiled/whole"], []
    trained = result["weights"] is not None
    for case in result["cases"]:
        to_whole = "equal" if case["psnr_to_whole"] is None else f"{case['psnr_to_whole']:.2f}"
        row = [str(case["tile"]), str(case["overlap"]), to_whole, f"{case['worst_step']:.3f}"]
        rows.append(row + ([f"{-case['psnr_y_loss']:+.4f}"] if trained else []))
    mean = statistics.mean(result["whole_psnr_y"].values())
    return "\n".join(
        [
            f"{_title(result)}, {len(result['inputs'])} photographs",
            table(header + (["PSNR-Y against whole's, dB"] if trained else []), rows),
            f"whole: PSNR-Y {mean:.2f} dB on average" if trained else f"with {RANDOM}",
            describe(result["environment"]),
            result["command"],
        ]
    )


def _title(result: Mapping[str, Any]) -> str:
    how = "blended" if result["blend"] else "cut"
    return f"{result['network']} ×{result['scale']}, {result['precision']}, tiles {how} against the whole image"


def draw(result: Mapping[str, Any]) -> Figure:
    """Error and steps over the overlap, a line for each size of tiles."""
    random = "" if result["weights"] else " (random weights)"
    figure, axes = plot.figure(_title(result) + random, 9, 3.4, 2)
    for tile in sorted({case["tile"] for case in result["cases"]}):
        cases = sorted((case for case in result["cases"] if case["tile"] == tile), key=lambda case: case["overlap"])
        overlaps = [case["overlap"] for case in cases]
        decibels = [math.nan if case["psnr_to_whole"] is None else case["psnr_to_whole"] for case in cases]
        axes[0].plot(overlaps, decibels, "o-", label=f"tiles of {tile}")
        axes[1].plot(overlaps, [case["worst_step"] for case in cases], "o-", label=f"tiles of {tile}")
    axes[0].set_ylabel("PSNR of tiled to whole, dB")
    axes[1].set_ylabel("worst step, tiled/whole")
    axes[1].axhline(1, color=plot.MUTED, linestyle="--")
    for ax in axes:
        ax.set_xticks(sorted({case["overlap"] for case in result["cases"]}))
        ax.set_xlabel("overlap, pixels of the input")
        ax.grid(alpha=0.3)
        ax.legend()
    return figure
