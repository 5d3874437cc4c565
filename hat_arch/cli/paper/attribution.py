"""``basicsr paper attribution``: which pixels networks use, as Local Attribution Maps."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...config import ConfigError
from .options import add_networks, file_of, numbers, require_png, require_writable

UNTRAINED = "the maps of untrained networks mean nothing: they show how the network begins"
TOLERANCE = 0.05
HELP_TOLERANCE = (
    "largest change of a value of the map, 0 to 1, upon twice the gradients; then it stops. "
    f"{TOLERANCE} by default; 0 computes the gradient of every step, as the authors did"
)


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "attribution",
        help="which pixels networks use: Local Attribution Maps and diffusion index",
        description="Draws a Local Attribution Map (Gu and Dong, CVPR 2021) for each network: how much each pixel of "
        "the LR image contributes to a window of the SR image. Reads an HR image, makes its LR image, writes FILE.png, "
        ".json and .csv. Costs a forward and a backward pass for each gradient; it computes as many as the map needs, "
        "50 at most: on a CPU and for an LR image of 64x64 seconds with small networks, a minute or so with HAT.",
    )
    add = parser.add_argument
    add("image", type=Path, metavar="IMAGE", help="HR image; the papers' are 256x256")
    add("--at", type=numbers(2, "X,Y"), required=True, metavar="X,Y", help="left and top of the window in IMAGE")
    add("--window", type=int, default=16, metavar="PX", help="side of the window in IMAGE, 16 by default")
    add("--crop", type=numbers(4, "X,Y,W,H"), metavar="X,Y,W,H", help="use this part of IMAGE alone")
    add_networks(parser)
    add("--untrained", action="store_true", help="let networks without weights begin with fresh ones")
    add(
        "--downsample",
        choices=("pil", "matlab"),
        default="pil",
        help="how the LR image is made: pil as in the authors' demonstration (default), matlab as in their tables",
    )
    add("--steps", type=int, default=50, metavar="N", help="of the path; 50 by default, as the authors'")
    add("--tolerance", type=float, default=TOLERANCE, metavar="T", help=HELP_TOLERANCE)
    add("--batch", type=int, default=1, metavar="N", help="computed at once, 1 by default; takes as much memory")
    add("--out", type=Path, metavar="FILE", help="PNG to write, by default in results/paper")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from ...data.folders import write_file
    from ...paper import attribution_figure, trained
    from ...paper.attribution import Window
    from ...paper.pair import check_inside, load_pair

    for option in ("window", "steps", "batch"):
        if getattr(args, option) < 1:
            raise ConfigError(f"--{option} {getattr(args, option)}: must be at least 1")
    if not 0 <= args.tolerance < 1:
        raise ConfigError(f"--tolerance {args.tolerance}: must be 0 to 1, and not 1")
    if not args.arch:
        raise ConfigError(f"--arch is missing: {trained.HOW}")
    require_png(args.out, args.image)
    gt, lr = load_pair(args.image, args.scale, args.downsample, args.crop)
    left, top = args.crop[:2] if args.crop else (0, 0)
    window = Window(args.at[0] - left, args.at[1] - top, args.window)
    check_inside("--at", (window.x, window.y, window.side, window.side), gt, args.image, (left, top))
    networks = trained.load_all(args.arch, args.scale, args.untrained)
    if any(network.weights == "untrained" for network in networks):
        print(UNTRAINED, file=sys.stderr)
    part = ["crop", *args.crop] if args.crop else []
    labels = [network.label for network in networks]
    out = args.out or file_of("attribution", args.image.stem, *args.at, *part, f"x{args.scale}", *labels)
    require_writable(out)

    explained = []
    for network in networks:
        with _progress(network.label) as done:
            one = attribution_figure.explain(network, gt, lr, window, args.steps, args.batch, args.tolerance, done)
            explained.append(one)
    x, y = args.at
    print(f"{args.image}: window of {args.window}x{args.window} at {x},{y}, LR {lr.shape[1]}x{lr.shape[0]}")
    print(_table(explained))
    facts = _facts(args, lr)
    write_file(out.with_suffix(".json"), attribution_figure.as_json(explained, facts).encode())
    write_file(out.with_suffix(".csv"), attribution_figure.as_csv(explained).encode())
    attribution_figure.draw(explained, gt, lr, window, out)
    print(f"{out}, .json, .csv")
    return 0


@contextlib.contextmanager
def _progress(label: str) -> Iterator[Callable[[int, int], object]]:
    """A bar on a terminal; takes the number of gradients done, and of those needed."""
    from tqdm import tqdm

    with tqdm(desc=label, unit="gradient", leave=False, disable=None) as bar:

        def show(done: int, needed: int) -> None:
            bar.total = needed
            bar.update(done - bar.n)

        yield show


def _table(explained: list[Any]) -> str:
    from ...paper.attribution import AREA
    from ...utils.text_table import table

    rows = []
    for e in explained:
        n = e.numbers()
        texts = f"{n['diffusion_index']:.2f}", f"{n['area_share']:.1%}", f"{n['psnr']:.2f}", f"{n['ssim']:.4f}"
        change = f"{n['diffusion_index_change']:.2f}"
        rows.append([n["network"], *texts, str(n["gradients"]), change, f"{n['seconds']:.1f}", n["weights"]])
    return table(["", "DI", f"{AREA:.0%} in", "PSNR", "SSIM", "gradients", "change of DI", "seconds", "weights"], rows)


def _facts(args: argparse.Namespace, lr: Any) -> dict[str, Any]:
    """What the numbers hold for."""
    import torch

    from ...utils.machine import environment

    keys = ("at", "window", "crop", "scale", "downsample", "steps", "tolerance", "batch")
    values = {key: getattr(args, key) for key in keys}
    size = list(lr.shape[:2])
    return {"image": args.image.name, "lr_size": size, **values, "environment": environment(torch.device("cpu"))}
