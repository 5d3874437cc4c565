"""What tiles change in the result, on photographs, against their size and overlap."""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import common  # before basicsr, which can be imported since hat_arch has been

# isort: split
import numpy as np
import torch
from basicsr.metrics import calculate_psnr
from basicsr.utils import img2tensor, tensor2img
from common import DTYPES, Result, progress
from matplotlib.figure import Figure
from torch import Tensor

from hat_arch.archs.hat_arch import HAT
from hat_arch.data import demo
from hat_arch.data.images import Image, mod_crop
from hat_arch.degradations.resize import imresize
from hat_arch.inference.upscaler import Upscaler
from hat_arch.utils.errors import UserError
from hat_arch.utils.text_tables import aligned
from hat_arch.weights.load import load_network

FLAT = 1e-4
"""Mean step between neighbouring rows or columns below which it is not compared; values are 0 to 1."""


def measure(args: argparse.Namespace, device: torch.device) -> Iterator[tuple[str, Result]]:
    if min(args.overlap) < 0 or max(args.overlap) >= min(args.tile):
        raise UserError(f"--overlap: must be 0 to {min(args.tile) - 1}, less than the smallest --tile")
    if args.weights is None:
        progress("random weights, which say little about trained ones; pass --weights")
    network: Any = load_network(args.weights) if args.weights else common.build(common.network_options("HAT-S", 1))
    if not isinstance(network, HAT):
        raise UserError(f"--weights {args.weights}: must be those of a HAT")
    network = network.eval().to(device)
    pairs = photographs(args.gt_size, network.upscale)
    if max(max(lq.shape[:2]) for _, lq in pairs.values()) <= min(args.tile):
        raise UserError(f"--tile {min(args.tile)}: no input is larger")
    combinations = itertools.product(args.tile, args.overlap)
    cases: list[dict[str, Any]] = [{"tile": tile, "overlap": overlap, "images": {}} for tile, overlap in combinations]
    whole_psnr = {}
    for name, (gt, lq) in pairs.items():
        progress(f"{name}, whole and in {len(cases)} ways")
        image = img2tensor(lq.astype(np.float32) / 255)[None].to(device)
        whole = upscale(network, image, args, "whole", 0)
        whole_psnr[name] = psnr_y(whole, gt, network.upscale)
        for case in cases:
            tiled = upscale(network, image, args, case["tile"], case["overlap"])
            case["images"][name] = {
                "mse_to_whole": float((tiled - whole).double().square().mean()),
                "worst_step": worst_step(tiled, whole),
                "psnr_y": psnr_y(tiled, gt, network.upscale),
            }
    name = args.weights.stem if args.weights else "random"
    yield (
        f"tile_{name}_{args.precision}_{device.type}",
        {
            "suite": "tile",
            "network": name,
            "scale": network.upscale,
            "inputs": {name: list(lq.shape[:2]) for name, (_, lq) in pairs.items()},
            "whole_psnr_y": whole_psnr,
            "cases": [{**case, **over_images(case["images"], whole_psnr)} for case in cases],
        },
    )


def photographs(side: int, scale: int) -> dict[str, tuple[Image, Image]]:
    """Of the demo data set, those that are held out: name → GT, its centre of ``side`` pixels at the most, and LR."""
    pairs = {}
    for name in demo.HELD_OUT:
        image = demo.photograph(name)
        top, left = (max(0, (length - side) // 2) for length in image.shape[:2])
        gt = mod_crop(image[top : top + side, left : left + side], scale)
        pairs[name] = gt, imresize(gt, 1 / scale)
    return pairs


def upscale(network: HAT, image: Tensor, args: argparse.Namespace, tile: Any, overlap: int) -> Tensor:
    """``(1, 3, H, W)``, values clamped to 0…1."""
    size = network.window_size
    upscaler = Upscaler(network, network.upscale, multiple=size, tile=tile, overlap=overlap, precision=args.precision)
    return upscaler(image).clamp(0, 1)


def psnr_y(image: Tensor, gt: Image, scale: int) -> float:
    """PSNR-Y in dB without ``scale`` border pixels, of ``(1, 3, H, W)`` RGB, values 0 to 1, and uint8 BGR."""
    return float(calculate_psnr(tensor2img(image), gt, crop_border=scale, test_y_channel=True))


def worst_step(tiled: Tensor, whole: Tensor) -> float:
    """How visible borders of tiles are: 1 if they are not.

    The mean absolute step from one row (column) to the next, in the tiled image over the same in the whole image; the
    largest of all rows and columns. A border of tiles runs along a row or column, wherever it lies.

    Args:
        tiled: ``(B, C, H, W)``, values 0 to 1.
        whole: the same.
    """
    ratios = [torch.ones(1, device=tiled.device)]
    for dim, others in ((-2, (0, 1, 3)), (-1, (0, 1, 2))):
        there, expected = (image.diff(dim=dim).abs().mean(others) for image in (tiled, whole))
        ratios.append(there[expected > FLAT] / expected[expected > FLAT])
    return float(torch.cat(ratios).max())


def over_images(images: Mapping[str, Mapping[str, float]], whole: Mapping[str, float]) -> dict[str, float | None]:
    """What a table shows of a case: PSNR of the mean squared error (None: equal), worst step, mean loss of PSNR-Y."""
    mse = statistics.mean(image["mse_to_whole"] for image in images.values())
    return {
        "psnr_to_whole": -10 * math.log10(mse) if mse else None,
        "worst_step": max(image["worst_step"] for image in images.values()),
        "psnr_y_loss": statistics.mean(whole[name] - image["psnr_y"] for name, image in images.items()),
    }


def report(result: Result) -> str:
    rows = []
    for case in result["cases"]:
        to_whole = "equal" if case["psnr_to_whole"] is None else f"{case['psnr_to_whole']:.2f}"
        row = [str(case["tile"]), str(case["overlap"]), to_whole, f"{case['worst_step']:.3f}"]
        rows.append([*row, f"{-case['psnr_y_loss']:+.4f}"])
    header = ["tile", "overlap", "PSNR to whole, dB", "worst step, tiled/whole", "PSNR-Y against whole's, dB"]
    return f"{title(result)}\n{aligned(header, rows)}"


def title(result: Result) -> str:
    weights = result["network"] if result["weights"] else "random weights"
    return f"HAT ({weights}) ×{result['scale']}, {result['precision']}, tiles against the whole image"


def draw(result: Result) -> Figure:
    """Error and steps over the overlap, a line for each size of tiles."""
    figure = Figure((9, 3.4), layout="constrained")
    figure.suptitle(title(result), fontsize=11)
    error_axes, step_axes = figure.subplots(1, 2)
    for tile in sorted({case["tile"] for case in result["cases"]}):
        cases = sorted((case for case in result["cases"] if case["tile"] == tile), key=lambda case: case["overlap"])
        overlaps = [case["overlap"] for case in cases]
        decibels = [math.nan if case["psnr_to_whole"] is None else case["psnr_to_whole"] for case in cases]
        error_axes.plot(overlaps, decibels, "o-", label=f"tiles of {tile}")
        step_axes.plot(overlaps, [case["worst_step"] for case in cases], "o-", label=f"tiles of {tile}")
    error_axes.set_ylabel("PSNR of tiled to whole, dB")
    step_axes.set_ylabel("worst step, tiled/whole")
    step_axes.axhline(1, color=common.MUTED, linestyle="--")
    for axes in (error_axes, step_axes):
        axes.set_xticks(sorted({case["overlap"] for case in result["cases"]}))
        axes.set_xlabel("overlap, pixels of the input")
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def parser() -> argparse.ArgumentParser:
    made = common.options(__doc__)
    add = made.add_argument
    add("--weights", type=Path, metavar="FILE", help="of a HAT; without it, random ones of a small HAT")
    add(
        "--gt_size",
        type=common.positive,
        default=512,
        metavar="PX",
        help="of their centre; 512 by default",
    )
    add("--tile", nargs="+", type=common.positive, default=[64, 96], metavar="PX", help="64 and 96 by default")
    add("--overlap", nargs="+", type=int, default=[0, 16, 32], metavar="PX", help="0, 16, 32 by default")
    add("--precision", choices=list(DTYPES), default="fp32", help="fp32 by default")
    return made


if __name__ == "__main__":
    common.run(parser().parse_args(), measure, report, draw)
