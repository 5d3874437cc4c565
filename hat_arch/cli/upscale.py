"""``basicsr upscale``: image files to larger image files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..config import reading as config

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "upscale",
        help="upscale an image or a folder with a trained network",
        description="Reads images of 8 bits a channel, grey or RGB, and writes them enlarged. Stop it at any time: "
        "the same command goes on where it stopped. An image that cannot be used is named and passed over; then the "
        "exit code is 1.",
        epilog="basicsr upscale photos/ large/ --weights HAT_SRx4.pth",
    )
    parser.add_argument("source", type=Path, metavar="IN", help="image, or folder of images, with folders in it")
    parser.add_argument("out", type=Path, metavar="OUT", help="image, or folder")
    parser.add_argument(
        "--weights", type=Path, required=True, metavar="FILE", help=".pth or .safetensors; HAT is recognised by it"
    )
    parser.add_argument("--param_key", metavar="KEY", help="which weights of it; default: params_ema, else params")
    parser.add_argument("--arch_opt", type=Path, metavar="FILE", help="option file of a network that is no HAT")
    parser.add_argument(
        "--tile",
        type=tile_side,
        default="auto",
        metavar="auto|whole|N",
        help="pixels of IN a side of a tile, overlaps included; whole: exact; auto (default): whole if it fits the "
        "free memory, else the largest tile that does",
    )
    parser.add_argument("--overlap", type=int, default=32, metavar="N", help="pixels that tiles share; default: 32")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="tiles at a time; default: 1")
    parser.add_argument(
        "--precision",
        choices=["auto", "fp32", "bf16", "fp16"],
        default="auto",
        help="auto (default): bf16 where the device is made for it, else fp32",
    )
    parser.add_argument("--self_ensemble", action="store_true", help="mean over 8 flips and turns, in 8 times the time")
    parser.add_argument(
        "--compile", action="store_true", help="compile the network first; pays for many images on CUDA"
    )
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto", help="default: CUDA if there is")
    parser.add_argument(
        "--format", choices=["png", "jpg", "webp"], help="of OUT (jpg: quality 95; webp: lossless); default: png"
    )
    parser.add_argument("--overwrite", action="store_true", help="make again, and replace, what is there")
    parser.add_argument("--plugin", action="append", default=[], help="file or module to import first")
    parser.set_defaults(run=run, after_stop="; the same command goes on from there")


def tile_side(text: str) -> Literal["auto", "whole"] | int:
    """An argparse type: ``auto``, ``whole``, or the side of a tile in pixels."""
    if text in ("auto", "whole"):
        return text  # type: ignore[return-value]
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, whole, or 1 or more")
    return int(text)


def run(args: argparse.Namespace) -> int:
    from ..inference import files

    if args.overlap < 0 or args.batch < 1:
        raise config.ConfigError(f"--overlap {args.overlap} --batch {args.batch}: must be 0 or more, and 1 or more")
    made = files.targets(args.source, args.out, args.format)
    upscaler, channels = _upscaler(args)
    outcome = files.upscale_files(upscaler, made, channels, args.overwrite)
    there = f", {outcome.there_already:,} were there (--overwrite makes them again)" if outcome.there_already else ""
    images = "image" if outcome.written == 1 else "images"
    print(f"{outcome.written:,} {images} upscaled ×{upscaler.scale} to {args.out}{there}")
    if outcome.bad:
        print(f"basicsr: {len(outcome.bad)} of the images could not be upscaled", file=sys.stderr)
    return 1 if outcome.bad else 0


def _upscaler(args: argparse.Namespace) -> tuple[Upscaler, int]:
    """What upscales, and how many channels it takes."""
    import torch

    from ..inference.files import say
    from ..inference.upscaler import Upscaler
    from ..weights.load import load_network

    if args.device == "cuda" and not torch.cuda.is_available():
        raise config.ConfigError("--device cuda: PyTorch sees no CUDA device here")
    cuda = args.device != "cpu" and torch.cuda.is_available()
    if args.arch_opt:
        options, scale = _network(args.arch_opt)
        network: Any = load_network(args.weights, args.param_key, options)
        multiple = options.get("window_size", 1)
        channels = options.get("in_chans", options.get("num_in_ch", 3))
    else:
        network = load_network(args.weights, args.param_key)
        multiple, scale, channels = network.window_size, network.upscale, network.in_chans
    upscaler = Upscaler(
        network.to("cuda" if cuda else "cpu"),
        scale,
        multiple=multiple,
        tile=args.tile,
        overlap=args.overlap,
        batch=args.batch,
        precision=args.precision,
        self_ensemble=args.self_ensemble,
        compile=args.compile,
        report=say,
    )
    return upscaler, channels


def _network(file: Path) -> tuple[dict[str, Any], int]:
    """``network_g`` and ``scale`` of an option file."""
    from ..config import checks

    opt, lines = config.read(file)
    report = config.Report(file, lines)
    network, scale = opt.get("network_g"), opt.get("scale")
    if not isinstance(network, dict):
        report.add(("network_g",), "is missing")
    else:
        checks.registered(checks.registry.ARCH_REGISTRY, ("network_g", "type"), network.get("type"), report)
    if not isinstance(scale, int) or scale < 1:
        report.add(("scale",), f"is {scale!r}; it must be a whole number, by how much the network enlarges")
    report.raise_if_any()
    return network, scale  # type: ignore[return-value]
