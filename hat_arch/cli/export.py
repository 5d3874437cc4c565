"""``basicsr export``: a network as an ONNX file, or one for PyTorch's own runtimes."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.errors import UserError
from .parser import add_plugin_option

if TYPE_CHECKING:
    from ..inference.exported_file import Facts
    from ..weights.load import Loaded


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "export",
        help="write a network as .onnx or .pt2",
        description="Writes a network as a file for other programs: .onnx, or .pt2 for PyTorch's own runtimes. It "
        "takes batches of images (B, C, H, W), float32 in 0..1, of every size, and says in its metadata (hat_arch, as "
        "JSON) what it is. It is run, and compared with the network, before it is written.",
        epilog="basicsr export hat-light-x4; basicsr export HAT_SRx4.pth -o hat.onnx --size 256x256",
    )
    add = parser.add_argument
    add("weights", metavar="NAME|FILE", help="a model of basicsr models, or a file of weights")
    add("-o", "--out", type=Path, metavar="FILE", help="ending in .onnx or .pt2; default: NAME.onnx")
    add("--size", type=image_size, metavar="HxW", help="for images of this size alone: a simpler graph")
    dtype = "of the weights in an .onnx file; computed is in fp32; default: fp32"
    add("--dtype", choices=["fp32", "fp16"], default="fp32", help=dtype)
    add("--param_key", metavar="KEY", help="which weights of a file; default: params_ema, else params")
    add("--arch_opt", type=Path, metavar="FILE", help="option file of a network that is no HAT")
    add("--overwrite", action="store_true", help="replace FILE")
    add_plugin_option(parser)
    parser.set_defaults(run=run)


def image_size(text: str) -> tuple[int, int]:
    """An argparse type: height and width in pixels, such as ``480x640``."""
    found = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no height and width, such as 480x640")
    return int(found[1]), int(found[2])


def run(args: argparse.Namespace) -> int:
    """Exports, and prints how far the file's results are from the network's."""
    from .. import config
    from ..inference import export
    from ..weights import named
    from ..weights.load import load

    out = args.out or Path(f"{Path(args.weights).stem}.onnx")
    if out.suffix not in export.SUFFIXES:
        raise UserError(f"{out}: is to end in {' or '.join(export.SUFFIXES)}")
    if args.dtype == "fp16" and out.suffix != ".onnx":
        raise UserError(f"--dtype fp16: is for .onnx, not {out.suffix}")
    if out.exists() and not args.overwrite:
        raise UserError(f"{out}: exists; --overwrite replaces it")
    source = named.find(args.weights)
    options = config.read_network(args.arch_opt) if args.arch_opt else None
    model = load(source, args.param_key, options)
    facts = _facts(model, source, args.size)
    for shape, difference in export.export(model.network, out, facts, args.dtype == "fp16"):
        print(f"{'x'.join(map(str, shape))}: max |difference| to PyTorch {difference:.1e}", flush=True)
    what = f"for images of {args.size[0]}x{args.size[1]}" if args.size else "for images of every size"
    print(f"{out}: {model.name}, x{model.scale}, {what}, {out.stat().st_size:,} bytes")
    return 0


def _facts(model: Loaded, source: Path, size: tuple[int, int] | None) -> Facts:
    from importlib.metadata import version

    from ..inference.exported_file import Facts
    from ..utils.files import sha256

    return Facts(
        scale=model.scale,
        window=model.multiple,
        channels=model.channels,
        size=size,
        source=source.name,
        sha256=sha256(source),
        version=version("hat-arch"),
    )
