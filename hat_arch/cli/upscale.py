"""``basicsr upscale``: image files to larger image files."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ..utils import extras
from ..utils.errors import UserError
from .parser import add_plugin_option

if TYPE_CHECKING:
    import torch

    from ..inference.sources import Plan
    from ..inference.upscaler import Upscaler
    from ..weights.load import Loaded

FORMATS = ("png", "jpg", "webp", "tif", "avif", "gif", "bmp")
DEFAULT_SCALE = 4
ENGINES = ("auto", *extras.ENGINES)
PIXELS = 178_956_970  # as many as Pillow allows


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "upscale",
        help="enlarge images, folders of images, animations, or clean them",
        usage="%(prog)s INPUT [INPUT …] [OUT | -o OUT] [options]",
        description="Enlarges images with all that they hold: 8 or 16 bits, grey, alpha, frames and pages, colour "
        "profile, EXIF, XMP, resolution. With -o, all that is named before is enlarged. Without it, the last of "
        "several names is the output, as in cp; a single input is enlarged beside itself, as NAME_x4.png. A model that "
        "removes noise or artefacts (x1) keeps the size, and makes NAME_restored.png. Stop it at any time: the same "
        "command goes on where it stopped. An image that cannot be used is named, the others are done, and the exit "
        "code is 1.",
        epilog="basicsr upscale photo.jpg; basicsr upscale photos/ large/ --model hat-light-x2; "
        "basicsr upscale *.png -o large/ --format webp; basicsr upscale noisy.png --model hat-light-denoise-25",
    )
    add = parser.add_argument
    add("inputs", nargs="+", metavar="INPUT", help="image, folder with folders in it, pattern, or - for standard input")
    add("-o", "--out", metavar="OUT", help="folder; image, for one image; or - for standard output")
    model = parser.add_argument_group("network")
    add = model.add_argument
    add(
        "--model",
        "--weights",
        metavar="NAME|FILE",
        help="basicsr models lists names; also .onnx; default: the one inside for it",
    )
    add("--scale", type=number, metavar="N", help=f"any; default: the model's, or {DEFAULT_SCALE}. Others by resizing")
    add("--denoise", type=float, metavar="0-1", help="how strongly a model for photographs cleans; default: 1, fully")
    add("--param_key", metavar="KEY", help="which weights of a file; default: params_ema, else params")
    add("--arch_opt", type=Path, metavar="FILE", help="option file of a network that is no HAT")
    add("--loader", choices=["spandrel"], help="let spandrel, if it is installed, recognise the network")
    add = parser.add_argument_group("computing").add_argument
    tile = "pixels of an input a side of a tile, overlaps included; whole: exact; auto (default): whole if it fits the "
    tile += "free memory, else the largest tile that does"
    add("--tile", type=tile_side, default="auto", metavar="auto|whole|N", help=tile)
    add("--overlap", type=int, default=32, metavar="N", help="pixels that tiles share; default: 32")
    add("--batch", type=int, default=1, metavar="N", help="tiles at a time; default: 1")
    precision = "auto (default): bf16 where the device is made for it, else fp32"
    add("--precision", choices=["auto", "fp32", "bf16", "fp16"], default="auto", help=precision)
    engine = "auto: the fastest that is installed, measured once; torch: PyTorch; default: $HAT_ARCH_ENGINE, else auto"
    add("--engine", choices=ENGINES, default=extras.default(), help=engine)
    add("--self_ensemble", action="store_true", help="mean over 8 flips and turns, in 8 times the time")
    add("--compile", action="store_true", help="compile the network first; pays for many images on CUDA")
    add("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:1, mps, xpu; default: the best there is")
    add("--gpus", type=int, metavar="N", help="share the images out among N GPUs")
    add("--max-pixels", type=int, default=PIXELS, metavar="N", help=f"an image may have; 0: any; default: {PIXELS:,}")
    add = parser.add_argument_group("output").add_argument
    add("--format", choices=FORMATS, help="default: png, and animations and pages as they are")
    add("--quality", type=int, metavar="1-100", help="of jpg (95), avif (90), webp (without: lossless)")
    add("--max-side", type=int, metavar="N", help="pixels of the longer side of an output at most; by resizing")
    add("--suffix", metavar="TEXT", help="added to names; default: none, or _x4 for what goes beside the originals")
    add("--overwrite", action="store_true", help="make again, and replace, what is there")
    add("--no-metadata", action="store_true", help="neither the original's EXIF, XMP and texts, nor what made it")
    add("--compare", action="store_true", help="also NAME_compare.png: beside bicubic, with a detail")
    add("--dry-run", "--dry_run", action="store_true", help="say what would be done, with time and memory, and end")
    add_plugin_option(parser)
    parser.set_defaults(run=run, after_stop="; the same command goes on after the images that are done")


def tile_side(text: str) -> Literal["auto", "whole"] | int:
    """An argparse type: ``auto``, ``whole``, or the side of a tile in pixels."""
    if text in ("auto", "whole"):
        return text  # type: ignore[return-value]
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not auto, whole, or 1 or more")
    return int(text)


def number(text: str) -> float:
    """An argparse type: a number above 0."""
    try:
        value = float(text.removeprefix("x"))
    except ValueError:
        value = 0
    if not 0 < value < 1000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def run(args: argparse.Namespace) -> int:
    """Upscales; returns 1 if some of the images could not be."""
    from ..inference import files, formats, metadata, pictures, sources

    _check(args)
    inputs, out = (args.inputs, args.out) if args.out or len(args.inputs) == 1 else (args.inputs[:-1], args.inputs[-1])
    pictures.limit_pixels(args.max_pixels or None)
    formats.check_quality(args.format or (out and formats.format_of(Path(out))), args.quality)
    model, scale = _load(args)
    beside = "_restored" if model.scale == 1 else f"_x{scale:g}"
    plan = sources.plan(inputs, out, args.format, args.suffix, beside)
    for line in plan.bad:
        files.say(line)
    if plan.passed_over:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in plan.passed_over.most_common(8))
        files.say(f"passed over, since they are no images: {kinds}")
    upscalers = _upscalers(args, model)
    wish = files.Wish(
        channels=model.channels,
        scale=None if scale == model.scale else scale,
        max_side=args.max_side,
        quality=args.quality,
        origin=None if args.no_metadata else metadata.origin(model.name, scale, args.denoise),
        overwrite=args.overwrite,
        compare=args.compare,
    )
    if args.dry_run:
        return _foretell(plan, upscalers[0], wish)
    outcome = files.upscale_files(upscalers, plan.jobs, wish)
    were = (
        "was there (--overwrite makes it again)"
        if outcome.there_already == 1
        else "were there (--overwrite makes them again)"
    )
    there = f", {outcome.there_already:,} {were}" if outcome.there_already else ""
    if there and not args.out and len(inputs) == 1 and out and Path(out).is_file():
        there += f"; to enlarge {out} itself too, name the output by -o"
    images = "image" if outcome.written == 1 else "images"
    how = f" by {model.name}, ×{model.scale}, and resized" if wish.scale else ""
    streams = any(job.standard_output for job in plan.jobs)
    done = f"restored by {model.name}" if model.scale == 1 else f"upscaled ×{scale:g}{how}"
    line = f"{outcome.written:,} {images} {done} to {plan.out}{there}"
    print(line, file=sys.stderr if streams else sys.stdout)
    bad = len(outcome.bad) + len(plan.bad)
    if bad:
        print(f"basicsr: {bad} of the images could not be upscaled", file=sys.stderr)
    return 1 if bad else 0


def _check(args: argparse.Namespace) -> None:
    """Raises a `UserError` for values that cannot be."""
    if args.engine not in ENGINES:  # the default, which is no choice of the option
        extras.check_default()
    if args.overlap < 0 or args.batch < 1:
        raise UserError(f"--overlap {args.overlap} --batch {args.batch}: must be 0 or more, and 1 or more")
    for name in ("gpus", "max_side"):
        value = getattr(args, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} {value}: must be 1 or more")
    if args.max_pixels < 0:
        raise UserError(f"--max-pixels {args.max_pixels}: must be 0 or more")
    if args.suffix and any(mark in args.suffix for mark in "/\\\0"):
        raise UserError(f"--suffix {args.suffix}: is added to names, and cannot have a / in it; -o names a folder")
    if args.denoise is not None and (args.param_key or args.arch_opt or args.loader):
        raise UserError("--denoise: is for models of the package, without --param_key, --arch_opt and --loader")
    if args.compare and "-" in (args.out, *args.inputs):
        raise UserError("--compare: needs files, not standard input or output")


def _load(args: argparse.Namespace) -> tuple[Loaded, float]:
    """The network, and by how much images are to become larger."""
    from .. import config
    from ..inference.exported import load
    from ..weights import named
    from ..weights.mixed import load_mixed

    name = args.model or named.default(args.scale or DEFAULT_SCALE).name
    options = config.read_network(args.arch_opt) if args.arch_opt else None
    if args.denoise is None:
        by_spandrel = args.loader == "spandrel"
        model = load(name, args.scale, param_key=args.param_key, options=options, by_spandrel=by_spandrel)
    else:
        model = load_mixed(name, args.denoise)
    wanted = args.scale or (model.scale if args.model else DEFAULT_SCALE)
    if model.scale == 1 and wanted != 1:
        raise UserError(
            f"--scale {wanted:g}: {model.name} is x1, it cleans and keeps the size; leave --scale out, then enlarge "
            "what it has made by another model"
        )
    return model, wanted


def _upscalers(args: argparse.Namespace, model: Loaded) -> list[Upscaler]:
    """One for each device."""
    import copy

    from ..inference import files
    from ..inference.upscaler import Upscaler

    names = ("tile", "overlap", "batch", "precision", "self_ensemble", "compile", "engine")
    how = {name: getattr(args, name) for name in names}
    devices = _devices(args)
    return [
        Upscaler(
            (copy.deepcopy(model.network) if i else model.network).to(device),
            model.scale,
            multiple=model.multiple,
            channels=model.channels,
            report=files.say if not i else lambda line: None,
            **how,
        )
        for i, device in enumerate(devices)
    ]


def _devices(args: argparse.Namespace) -> list[torch.device]:
    from ..utils.machine import pick_device

    if args.gpus is None:
        return [pick_device(args.device)]
    kind = "cuda" if args.device == "auto" else args.device
    try:
        return [pick_device(f"{kind}:{i}") for i in range(args.gpus)]
    except UserError as error:
        raise UserError(f"--gpus {args.gpus}: {error}") from error


def _foretell(plan: Plan, upscaler: Upscaler, wish: object) -> int:
    """Prints what would be done."""
    from ..inference.files import Wish
    from ..inference.forecast import forecast
    from ..utils.text_tables import aligned

    assert isinstance(wish, Wish)
    expected = forecast(upscaler, wish.channels)
    rows, total = [], 0.0
    for job in plan.jobs:
        there = job.target.is_file() and not wish.overwrite
        height, width = wish.size(job.height, job.width, upscaler.scale)
        size = f"{job.width}x{job.height}{f' ({job.frames})' if job.frames > 1 else ''}"
        seconds = 0 if there else job.pixels * expected.seconds_per_pixel
        need = expected.bytes(job.height, job.width)
        memory = "" if need is None or there else f"{need / 2**30:.2f}"
        known = [size, f"{width}x{height}", "there" if there else f"{seconds:.0f}", memory]
        rows.append([str(job.source), str(job.target), *(known if job.pixels else ["?"] * 4)])
        total += seconds
    print(aligned(["image", "would become", "pixels", "then", "seconds", "GiB"], rows, left=(0, 1)))
    print(
        f"{len(plan.jobs):,} images, about {total / 60:.1f} minutes on this machine as it is now; nothing was written"
    )
    return 1 if plan.bad else 0
