"""Ctrl-C while the command's imports are under way: seconds in which nothing can catch it."""

import sys
from pathlib import Path
from types import TracebackType


def answer_in_a_line() -> None:
    """Lets the ``basicsr`` command, but no program that imports this package, end without a traceback."""
    if Path(sys.argv[0]).stem == "basicsr":
        sys.excepthook = _hook


def _hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("basicsr: stopped", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)
