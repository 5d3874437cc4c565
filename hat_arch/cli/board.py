"""``basicsr board``: a page in the browser that shows trainings."""

from __future__ import annotations

import argparse
import sys

from .serve import add_address_options, announce, require_web

PORT = 8766


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "board",
        help="a page in the browser that shows runs while they train",
        description="Serves a page with the curves of runs (losses, metrics, learning rate, samples/s), their "
        "validation pictures with a slider through the iterations, option files and logs, and in what they differ. It "
        "goes on as they do, and only reads: experiments/NAME and tb_logger/NAME. Only this machine can reach it, "
        "unless --host says otherwise: then visitors need the address with the token that is printed.",
        epilog="basicsr board train_HAT_demo_SRx4; basicsr board experiments/*",
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder in experiments/, or its name")
    add_address_options(parser, PORT)
    parser.set_defaults(run=run, needs_library=False)


def run(args: argparse.Namespace) -> int:
    """Serves until Ctrl-C."""
    require_web("board")
    from ..web import runs, serving
    from ..web.board_page import BoardPage
    from ..web.limits import Limits

    limits = Limits()
    folders, others = runs.find_all(args.runs)
    if others:
        print(f"basicsr: passed over, since they are no runs: {', '.join(others)}", file=sys.stderr)
    shown = [runs.Run(folder) for folder in folders]
    listening = serving.listen(args.host, args.port)
    token = serving.token_for(args.host, args.name)
    announce(serving.address(listening, args.host, token), args.open)
    serving.run(serving.server(BoardPage(shown, limits, token).app, limits, args.host, args.name), listening)
    return 0
