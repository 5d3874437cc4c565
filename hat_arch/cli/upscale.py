"""``basicsr upscale``: image files to larger image files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, Literal

from .parser import add_plugin_option


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "upscale",
        help="upscale an image or a folder with a trained network",
        description="Reads images of 8 bits a channel, grey or RGB, and writes them enlarged. Stop it at any time: "
        "the same command goes on after the images that are done. An image that cannot be used is named and passed "
        "over; then the exit code is 1.",
        epilog="basicsr upscale photos/ large/ --weights HAT_SRx4.pth",
    )
    add = parser.add_argument
    add("source", type=Path, metavar="IN", help="image, or folder of images, with folders in it")
    add("out", type=Path, metavar="OUT", help="image, or folder")
    weights = ".pth or .safetensors; HAT is recognised by it"
    add("--weights", type=Path, required=True, metavar="FILE", help=weights)
    add("--param_key", metavar="KEY", help="which weights of it; default: params_ema, else params")
    add("--arch_opt", type=Path, metavar="FILE", help="option file of a network that is no HAT")
    tile = "pixels of IN a side of a tile, overlaps included; whole: exact; auto (default): whole if it fits the free "
    tile += "memory, else the largest tile that does"
    add("--tile", type=tile_side, default="auto", metavar="auto|whole|N", help=tile)
    add("--overlap", type=int, default=32, metavar="N", help="pixels that tiles share; default: 32")
    add("--batch", type=int, default=1, metavar="N", help="tiles at a time; default: 1")
    precision = "auto (default): bf16 where the device is made for it, else fp32"
    add("--precision", choices=["auto", "fp32", "bf16", "fp16"], default="auto", help=precision)
    add("--self_ensemble", action="store_true", help="mean over 8 flips and turns, in 8 times the time")
    add("--compile", action="store_true", help="compile the network first; pays for many images on CUDA")
    add("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: CUDA if there is")
    formats = "of OUT (jpg: quality 95; webp: lossless); default: png"
    add("--format", choices=["png", "jpg", "webp"], help=formats)
    add("--overwrite", action="store_true", help="make again, and replace, what is there")
    add_plugin_option(parser)
    parser.set_defaults(run=run, after_stop="; the same command goes on after the images that are done")


def tile_side(text: str) -> Literal["auto", "whole"] | int:
    """An argparse type: ``auto``, ``whole``, or the side of a tile in pixels."""
    if text in ("auto", "whole"):
        return text  # type: ignore[return-value]
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, whole, or 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """Upscales; returns 1 if some of the images could not be."""
    from .. import config
    from ..inference import files
    from ..inference.upscaler import Upscaler
    from ..utils.machine import pick_device
    from ..weights.load import load_network

    if args.overlap < 0 or args.batch < 1:
        raise config.ConfigError(f"--overlap {args.overlap} --batch {args.batch}: must be 0 or more, and 1 or more")
    targets = files.targets(args.source, args.out, args.format)
    device = pick_device(args.device)
    network: Any
    if args.arch_opt:
        section, scale = config.read_network(args.arch_opt)
        network = load_network(args.weights, args.param_key, section)
        multiple, channels = section.get("window_size", 1), section.get("in_chans", section.get("num_in_ch", 3))
    else:
        network = load_network(args.weights, args.param_key)
        multiple, scale, channels = network.window_size, network.upscale, network.in_chans
    names = ("tile", "overlap", "batch", "precision", "self_ensemble", "compile")
    how = {name: getattr(args, name) for name in names}
    upscaler = Upscaler(network.to(device), scale, multiple=multiple, report=files.say, **how)
    outcome = files.upscale_files(upscaler, targets, channels, args.overwrite)
    there = f", {outcome.there_already:,} were there (--overwrite makes them again)" if outcome.there_already else ""
    images = "image" if outcome.written == 1 else "images"
    print(f"{outcome.written:,} {images} upscaled ×{upscaler.scale} to {args.out}{there}")
    if outcome.bad:
        print(f"basicsr: {len(outcome.bad)} of the images could not be upscaled", file=sys.stderr)
    return 1 if outcome.bad else 0
