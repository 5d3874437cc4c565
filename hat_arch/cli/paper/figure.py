"""``basicsr paper figure``: comparison strips, and PSNR against complexity."""

from __future__ import annotations

import argparse
from pathlib import Path

from ...config import ConfigError
from .options import FOLDER, add_networks, file_of, numbers, require_png, require_writable

BENCHMARKS = Path("experiments/benchmarks")


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "figure",
        help="comparison strips, and PSNR against parameters, multi-adds and latency",
        description="Draws pictures of the papers' kind.",
    )
    figures = parser.add_subparsers(metavar="FIGURE", required=True)
    _add_strip(figures)
    _add_tradeoff(figures)


def _add_strip(figures: argparse._SubParsersAction) -> None:
    parser = figures.add_parser(
        "strip",
        help="a marked patch: LR, bicubic, each network, ground truth",
        description="Marks a patch of IMAGE, an HR image, and shows it in LR (MATLAB's bicubic), enlarged by bicubic "
        "and by each network, and as it is, with PSNR and SSIM of the patch on luma; the best are bold. Costs a "
        "forward pass for each network.",
    )
    add = parser.add_argument
    add("image", type=Path, metavar="IMAGE", help="HR image")
    add("--at", type=numbers(4, "X,Y,W,H"), required=True, metavar="X,Y,W,H", help="the patch in IMAGE")
    add_networks(parser)
    add("--out", type=Path, metavar="FILE", help=f"PNG to write, by default in {FOLDER}")
    parser.set_defaults(run=_strip)


def _add_tradeoff(figures: argparse._SubParsersAction) -> None:
    parser = figures.add_parser(
        "tradeoff",
        help="the papers' PSNR against parameters, multi-adds, and measured latency",
        description="Plots the PSNR that the papers print against parameters and multi-adds of each network, and "
        "against the latency of those that experiments/benchmarks/inference.py has measured, two at the least. Takes "
        "seconds.",
    )
    add = parser.add_argument
    add("--dataset", default="Urban100", metavar="NAME", help="benchmark set of the papers, Urban100 by default")
    add("--scale", type=int, choices=(2, 3, 4), default=4, help="4 by default")
    add("--benchmarks", type=Path, default=BENCHMARKS, metavar="FOLDER", help=f"default: {BENCHMARKS}")
    add("--out", type=Path, metavar="FILE", help=f"PNG to write, by default in {FOLDER}")
    parser.set_defaults(run=_tradeoff)


def _strip(args: argparse.Namespace) -> int:
    from ...paper import figure, trained
    from ...paper.pair import check_inside, load_pair
    from ...utils.text_table import table

    require_png(args.out, args.image)
    gt, lr = load_pair(args.image, args.scale, "matlab")
    check_inside("--at", args.at, gt, args.image)
    networks = trained.load_all(args.arch, args.scale)
    labels = [network.label for network in networks]
    out = args.out or file_of("strip", args.image.stem, *args.at, f"x{args.scale}", *labels)
    require_writable(out)
    for network in networks:
        print(f"{network.label}: {network.weights}")
    found = figure.patches(gt, lr, args.at, networks)
    rows = [[p.name, f"{p.psnr:.2f}", f"{p.ssim:.4f}"] for p in found if p.psnr is not None]
    print(table(["of the patch, on luma", "PSNR", "SSIM"], rows))
    figure.draw_strip(args.image.stem, gt, args.at, found, out)
    print(out)
    return 0


def _tradeoff(args: argparse.Namespace) -> int:
    from ...paper import figure

    if args.benchmarks != BENCHMARKS and not args.benchmarks.is_dir():
        raise ConfigError(f"--benchmarks {args.benchmarks}: no such folder")
    require_png(args.out)
    out = args.out or file_of("tradeoff", args.dataset, f"x{args.scale}")
    latencies = figure.read_latencies(args.benchmarks, args.scale)
    points = figure.points(args.dataset, args.scale, latencies)
    if latencies is None:
        print(f"no latencies: {args.benchmarks} holds fewer than two networks of one setting (inference.py there)")
    figure.draw_tradeoff(points, args.dataset, args.scale, latencies, out)
    print(out)
    return 0
