"""``basicsr paper figure``: comparison strips, and PSNR against complexity."""

from __future__ import annotations

import argparse
from pathlib import Path

from .options import FOLDER, add_networks, numbers, picture_file


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "figure",
        help="comparison strips, and PSNR against parameters, multi-adds and latency",
        description="Draws pictures of the papers' kind.",
    )
    figures = parser.add_subparsers(metavar="FIGURE", required=True)
    strip = figures.add_parser(
        "strip",
        help="a marked patch: LR, bicubic, each network, ground truth",
        description="Marks a patch of IMAGE, an HR image, and shows it in LR (MATLAB's bicubic, or --lr), enlarged by "
        "bicubic and by each network, and as it is, with PSNR and SSIM of the patch on luma; the best are bold. Costs "
        "a forward pass for each network.",
    )
    strip.add_argument("image", type=Path, metavar="IMAGE", help="HR image")
    strip.add_argument("--at", type=numbers(4, "X,Y,W,H"), required=True, metavar="X,Y,W,H", help="the patch in IMAGE")
    help = "the LR image, such as of basicsr data degrade; of the same size with --scale 1"
    strip.add_argument("--lr", type=Path, metavar="FILE", help=help)
    add_networks(strip, scales=(1, 2, 3, 4))
    strip.set_defaults(run=_strip)
    tradeoff = figures.add_parser(
        "tradeoff",
        help="the papers' PSNR against parameters, multi-adds, and measured latency",
        description="Plots the PSNR that the papers print against parameters and multi-adds of each network. Seconds.",
    )
    add = tradeoff.add_argument
    add("--dataset", default="Urban100", metavar="NAME", help="benchmark set of the papers, Urban100 by default")
    add("--scale", type=int, choices=(2, 3, 4), default=4, help="4 by default")
    add("--latency", action="store_true", help="also against the time of a forward pass on this CPU; minutes")
    tradeoff.set_defaults(run=_tradeoff)
    for one in (strip, tradeoff):
        one.add_argument("--out", type=Path, metavar="FILE", help=f"PNG to write, by default in {FOLDER}")


def _strip(args: argparse.Namespace) -> int:
    from ...paper import comparison_strip, trained_networks
    from ...paper.evaluation_images import read_hr, read_pair, require_inside
    from ...utils.errors import UserError
    from ...utils.text_tables import aligned

    if args.scale == 1 and args.lr is None:
        raise UserError("--scale 1: needs --lr, the image that the networks get")
    gt, lr = read_pair(args.image, args.lr, args.scale) if args.lr else read_hr(args.image, args.scale)
    require_inside("--at", args.at, gt, args.image)
    networks = trained_networks.load_all(args.arch, args.scale)
    words = [
        "strip",
        (args.lr or args.image).stem,
        *args.at,
        f"x{args.scale}",
        *(network.label for network in networks),
    ]
    out = picture_file(args.out, words, args.image, args.lr)
    for network in networks:
        print(f"{network.label}: {network.weights}")
    patches = comparison_strip.patches(gt, lr, args.at, networks)
    scored = [[p.name, f"{p.psnr:.2f}", f"{p.ssim:.4f}"] for p in patches if p.psnr is not None]
    print(aligned(["of the patch, on luma", "PSNR", "SSIM"], scored))
    comparison_strip.draw_strip(args.image.stem, gt, args.at, patches, out)
    print(out)
    return 0


def _tradeoff(args: argparse.Namespace) -> int:
    from ...paper import tradeoff

    out = picture_file(args.out, ["tradeoff", args.dataset, f"x{args.scale}"])
    points = tradeoff.points(args.dataset, args.scale, args.latency)
    tradeoff.draw_tradeoff(points, args.dataset, args.scale, out)
    print(out)
    return 0
