"""``basicsr serve``: a page in the browser that makes pictures larger."""

from __future__ import annotations

import argparse
import webbrowser
from pathlib import Path

from ..utils.errors import UserError
from .parser import add_plugin_option

PORT = 8765
MIB = 2**20


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "serve",
        help="a page in the browser that enlarges pictures",
        description="Serves a page that enlarges pictures as basicsr upscale does: several at once, with a slider "
        "between before and after, and all metadata. Only this machine can reach it, unless --host or --name say "
        "otherwise: then visitors need the address with the token that is printed. Pictures lie in a temporary folder, "
        "and are deleted when their visitor has gone, and at the end. Ctrl-C ends it.",
        epilog="basicsr serve; basicsr serve --open; basicsr serve --host 0.0.0.0 --port 8000 --max-mb 20",
    )
    add_address_options(parser, PORT)
    add = parser.add_argument_group("networks").add_argument
    add("--model", action="append", default=[], metavar="NAME|FILE", help="offer it; default: all on this machine")
    add("--arch_opt", type=Path, metavar="FILE", help="option file of a network that is no HAT")
    add("--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:1, mps, xpu; default: the best there is")
    add_plugin_option(parser)
    add = parser.add_argument_group("limits").add_argument
    add("--max-mb", type=float, default=64, metavar="N", help="MiB of an upload; default: 64")
    add(
        "--max-pixels",
        type=int,
        default=64_000_000,
        metavar="N",
        help="of a picture and its result; default: 64,000,000",
    )
    add("--queue", type=int, default=32, metavar="N", help="pictures of all visitors that wait; default: 32")
    add("--disk", type=float, default=8, metavar="N", help="GiB for the pictures of all visitors; default: 8")
    add("--keep", type=float, default=60, metavar="N", help="minutes for which pictures are kept; default: 60")
    parser.set_defaults(run=run)


def add_address_options(parser: argparse.ArgumentParser, port: int) -> None:
    """Adds where a page is to be had."""
    add = parser.add_argument_group("address").add_argument
    add("--host", default="127.0.0.1", metavar="ADDRESS", help="default: 127.0.0.1; 0.0.0.0: reachable by all")
    add("--port", type=int, default=port, metavar="N", help=f"default: {port}; 0: one that is free")
    add("--name", action="append", default=[], metavar="NAME", help="by which browsers call it through a proxy here")
    add("--open", action="store_true", help="open it in the browser")


def require_web(verb: str) -> None:
    """Raises a `UserError` if what the pages need is not installed."""
    from importlib.util import find_spec

    if not (find_spec("starlette") and find_spec("uvicorn")):
        raise UserError(f"{verb} needs starlette and uvicorn: pip install 'hat-arch[web]'")


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C."""
    require_web("serve")
    from .. import config
    from ..inference import pictures
    from ..utils.machine import pick_device
    from ..web import serving
    from ..web.limits import Limits
    from ..web.networks import Networks
    from ..web.upscale_page import UpscalePage

    for name in ("max_mb", "max_pixels", "queue", "disk", "keep"):
        if getattr(args, name) <= 0:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name):g}: must be above 0")
    disk = round(args.disk * 1024 * MIB)
    limits = Limits(
        upload_bytes=round(args.max_mb * MIB),
        pixels=args.max_pixels,
        waiting=args.queue,
        waiting_each=max(1, args.queue // 4),
        session_bytes=disk // 4,
        total_bytes=disk,
        keep_seconds=60 * args.keep,
    )
    pictures.limit_pixels(limits.pixels)
    options = config.read_network(args.arch_opt) if args.arch_opt else None
    networks = Networks(args.model, options, pick_device(args.device))
    listening = serving.listen(args.host, args.port)
    token = serving.token_for(args.host, args.name)
    with serving.temporary_folder() as folder:
        announce(serving.address(listening, args.host, token), args.open)
        page = UpscalePage(networks, limits, folder, token)
        serving.run(serving.server(page.app, limits, args.host, args.name), listening)
    print("stopped; all pictures are deleted")
    return 0


def announce(address: str, open_it: bool) -> None:
    """Says where the page is."""
    print(f"{address}\nCtrl-C ends it", flush=True)
    if open_it:
        webbrowser.open(address)
