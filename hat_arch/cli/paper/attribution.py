"""``basicsr paper attribution``: which pixels networks use, as Local Attribution Maps."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ...utils.errors import UserError
from .options import add_networks, numbers, picture_file, positive


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "attribution",
        help="which pixels networks use: Local Attribution Maps and diffusion index",
        description="Draws a Local Attribution Map (Gu and Dong, CVPR 2021) for each network: how much each pixel of "
        "the LR image contributes to a window of the SR image, by the protocol of HAT's authors. Reads an HR image, "
        "makes its LR image, writes FILE.png and .json. Costs 50 forward and backward passes for each network: on a "
        "CPU and for an LR image of 64x64 seconds with small networks, minutes with HAT; --quick takes a third.",
    )
    add = parser.add_argument
    add("image", type=Path, metavar="IMAGE", help="HR image; the papers' are 256x256")
    add("--at", type=numbers(2, "X,Y"), required=True, metavar="X,Y", help="left and top of the window in IMAGE")
    add("--window", type=positive, default=16, metavar="PX", help="side of the window in IMAGE, 16 by default")
    add("--crop", type=numbers(4, "X,Y,W,H"), metavar="X,Y,W,H", help="use this part of IMAGE alone")
    add_networks(parser)
    add("--untrained", action="store_true", help="let networks without weights begin with fresh ones")
    add("--downsample", choices=("pil", "matlab"), default="pil", help="how the LR image is made: pil as in the "
        "authors' demonstration (default), matlab as in their tables")  # fmt: skip
    add("--steps", type=positive, default=50, metavar="N", help="of the path; 50 by default, as the authors'")
    add("--quick", action="store_true", help="compute 17 of the gradients and interpolate the others; an approximation")
    add("--batch", type=positive, default=1, metavar="N", help="computed at once, 1 by default; takes as much memory")
    add("--out", type=Path, metavar="FILE", help="PNG to write, by default in results/paper")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    import torch

    from ...paper import attribution_figure, trained_networks
    from ...paper.attribution import AREA, QUICK, Window
    from ...paper.evaluation_images import read_hr, require_inside
    from ...utils.files import write_file
    from ...utils.text_tables import aligned

    if not args.arch:
        raise UserError(f"--arch is missing: {trained_networks.HOW}")
    gt, lr = read_hr(args.image, args.scale, args.downsample, args.crop)
    left, top = args.crop[:2] if args.crop else (0, 0)
    window = Window(args.at[0] - left, args.at[1] - top, args.window)
    require_inside("--at", (window.x, window.y, window.side, window.side), gt, args.image, (left, top))
    networks = trained_networks.load_all(args.arch, args.scale, args.untrained)
    if any(network.weights == trained_networks.UNTRAINED for network in networks):
        print("the maps of untrained networks mean nothing: they show how the network begins", file=sys.stderr)
    words = ["attribution", args.image.stem, *args.at, *(["crop", *args.crop] if args.crop else [])]
    words += [f"x{args.scale}", *(network.label for network in networks), *(["quick"] if args.quick else [])]
    out = picture_file(args.out, words, args.image)
    gradients = QUICK if args.quick else None

    explained = [
        attribution_figure.explain(network, gt, lr, window, args.steps, args.batch, gradients) for network in networks
    ]
    numbers_of = [one.numbers() for one in explained]
    how = attribution_figure.protocol(args.steps, gradients)
    x, y = args.at
    print(f"{args.image}: window of {args.window}x{args.window} at {x},{y}, LR {lr.shape[1]}x{lr.shape[0]}; {how}")
    lines = [
        [n["network"], f"{n['diffusion_index']:.2f}", f"{n['area_share']:.1%}", f"{n['psnr']:.2f}", f"{n['ssim']:.4f}",
         str(n["gradients"]), f"{n['seconds']:.1f}", n["weights"]]
        for n in numbers_of
    ]  # fmt: skip
    print(aligned(["", "DI", f"{AREA:.0%} in", "PSNR", "SSIM", "gradients", "seconds", "weights"], lines))
    settings = {key: getattr(args, key) for key in ("at", "window", "crop", "scale", "downsample", "steps", "quick")}
    content = {
        "image": args.image.name,
        "lr_size": lr.shape[:2],
        **settings,
        "torch": torch.__version__,
        "networks": numbers_of,
    }
    write_file(out.with_suffix(".json"), (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    attribution_figure.draw(explained, gt, lr, window, how, out)
    print(f"{out}, .json")
    return 0
