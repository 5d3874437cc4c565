"""The ``basicsr`` command. Each verb is a small module here that parses, calls the library and prints."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Sequence

from .. import __version__
from ..compat import plugins
from ..utils import allocator
from ..utils.errors import UserError
from ..utils.files import FULL
from . import bench, data, info, options, paper, report, run, upscale

USER_ERROR = 2


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="basicsr",
        description="Train, test and benchmark super-resolution networks with BasicSR; HAT is built in.",
        epilog="Start with: make demo. Each command explains itself: basicsr train --help",
    )
    parser.add_argument("--version", action="version", version=f"hat_arch {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (run, upscale, report, data, options, paper, info, bench):
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        Exit code: 0 done, 1 something is wrong (``doctor``) or not all could be done, 2 the user can mend it and was
        told how, 130 stopped by Ctrl-C, 141 the reader of its output (``| head``) has gone.
    """
    args = build_parser().parse_args(argv)
    try:
        allocator.keep()
        args.installed_plugins, broken = plugins.load_installed()
        for line in broken:
            print(f"basicsr: {line}", file=sys.stderr)
        plugins.load_local(getattr(args, "plugin", ()))
        code = args.run(args)
        sys.stdout.flush()
        return code
    except UserError as error:
        print(f"basicsr: {error}", file=sys.stderr)
        return USER_ERROR
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 141
        if error.filename is not None:
            problem = f"{error.filename}: {error.strerror}"
        elif error.errno in FULL:
            problem = "no space left on the disk; make room and repeat the command"
        else:
            raise
        print(f"basicsr: {problem}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print(f"basicsr: stopped{getattr(args, 'after_stop', '')}", file=sys.stderr)
        return 130


def _nobody_reads() -> bool:
    """Whether the pipe that standard output goes to is broken; if so, what is left is thrown away in silence."""
    output, poll = sys.stdout.fileno(), select.poll()
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True
