"""The ``basicsr`` command. Each command is a module here that parses, calls the library and prints.

The modules import no library at their top, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import select
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from ..utils import allocator
from ..utils.errors import UserError
from ..utils.files import FULL
from . import bench, board, completion, data, export, info, models, options, paper, report, run, serve, upscale
from .parser import Parser

USER_ERROR = 2


class Version(argparse.Action):
    """Prints the version, which is looked up only then."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"hat_arch {version('hat-arch')}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; ``args.run(args)`` then runs the chosen one and returns its exit code."""
    parser = Parser(
        prog="basicsr",
        description="Train, test and benchmark super-resolution networks with BasicSR; HAT is built in.",
        epilog="Start with: basicsr upscale photo.jpg. To train: basicsr data demo, and then: basicsr train -opt "
        "train_HAT_demo_SRx4_finetune. Each command explains itself: basicsr train --help",
    )
    parser.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (run, upscale, serve, models, export, report, board, data, options, paper, info, bench):
        module.add_parser(commands)
    completion.add_parser(commands, parser)
    return parser


def command(load_library: Callable[[], object] | None = None) -> NoReturn:
    """Runs the command of ``sys.argv`` as this process's program, and ends the process with its exit code."""
    code = main(load_library=load_library)
    if any(word.startswith("--launcher") for word in sys.argv):
        # One of several processes. Threads of Gloo, PyTorch's library for messages between them, may still run, and
        # abort the process (SIGABRT) while Python tears itself down. So that is left out once all output is written.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(argv: Sequence[str] | None = None, load_library: Callable[[], object] | None = None) -> int:
    """Runs one command.

    Args:
        argv: the words after ``basicsr``; by default those of this process.
        load_library: runs the ``__init__`` of `hat_arch`, if that was left out (see ``basicsr_command``); called only
            for a command that needs it.

    Returns:
        Exit code: 0 done, 1 something is wrong (``doctor``) or not all could be done, 2 the user can mend it and was
        told how, 130 stopped by Ctrl-C, 141 the reader of its output (``| head``) has gone.
    """
    after_stop = ""
    _open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # of what the terminal's encoding lacks, such as × in ASCII
    try:
        args = build_parser().parse_args(argv)
        after_stop = getattr(args, "after_stop", "")
        if getattr(args, "needs_library", True):
            if load_library is not None:
                load_library()
            _set_up_process()
            _load_plugins(args)
        code = args.run(args)
        sys.stdout.flush()
        return code
    except UserError as error:
        problem = str(error)
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _reader_has_gone():
            return 141
        if error.errno is None:  # of a library, about something else than the system
            raise
        problem = _what_failed(error)
    except KeyboardInterrupt:
        print(f"basicsr: stopped{after_stop}", file=sys.stderr)
        return 130
    print(f"basicsr: {problem}", file=sys.stderr)
    return USER_ERROR


def _set_up_process() -> None:
    """What concerns the whole process.

    Memory is kept, denormal numbers are zero, and OpenCV does not warn of damaged images, which the commands name
    themselves.
    """
    import cv2

    from ..utils import denormals

    allocator.keep()
    denormals.flush()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)


def _load_plugins(args: argparse.Namespace) -> None:
    """Imports the plugins of installed packages, listed in ``args.installed_plugins``, and those of ``--plugin``."""
    from ..compat import plugins

    args.installed_plugins, broken = plugins.load_installed()
    for line in broken:
        print(f"basicsr: {line}", file=sys.stderr)
    plugins.load_local(getattr(args, "plugin", ()))


def _open_streams() -> None:
    """Opens standard streams that the caller has closed, so that no file gets their numbers, and what is printed."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            setattr(sys, name, open(number, "w" if number else "r", encoding="utf-8", errors="replace"))  # noqa: PTH123, SIM115


def _what_failed(error: OSError) -> str:
    """What an error of the system is about, and what it is, on one line."""
    full = "no space left on the disk; make room and repeat the command"
    why = full if error.errno in FULL else error.strerror
    name = error.filename2 or error.filename
    if name is not None:
        return f"{name}: {'is there, and is no folder' if isinstance(error, FileExistsError) else why}"
    if _output_fails():
        return f"standard output: {why}"
    if isinstance(error, FileNotFoundError):
        return "the current folder is not there any more; go to one that is"
    return str(why)


def _output_fails() -> bool:
    """Whether standard output takes no more; if so, what is still to be written goes nowhere."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _reader_has_gone() -> bool:
    """Whether nobody reads standard output any more; if so, what is still to be written goes nowhere, in silence."""
    output, poll = sys.stdout.fileno(), select.poll()
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True
