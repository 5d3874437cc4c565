"""The command's argument parser, and the option that several commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from ..config.problems import did_you_mean


class Parser(argparse.ArgumentParser):
    """An `argparse.ArgumentParser` that names the nearest word for a mistyped command, option or choice."""

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Complains of unknown options here, where the options of the command are known, and not in its parent."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        wrong = re.search(r"invalid choice: '(.+?)'|unrecognized arguments: ([^ =]+)", message)
        known = {str(word) for action in self._actions for word in (*action.option_strings, *(action.choices or ()))}
        super().error(message + (did_you_mean(wrong[1] or wrong[2], known) if wrong else ""))


def add_plugin_option(parser: argparse.ArgumentParser) -> None:
    """Adds ``--plugin``, for networks of the user's own."""
    what = "file or module to import first, with networks of your own"
    parser.add_argument("--plugin", action="append", default=[], metavar="FILE", help=what)
