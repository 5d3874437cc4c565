"""Problems of an option file, one line each: ``FILE:LINE: key: what is wrong and what to do``."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable
from pathlib import Path

from ..utils.errors import UserError

Key = tuple[str, ...]
"""A key after the sections that it is in: ``("train", "optim_g", "lr")``."""
SHOWN = 2  # problems in a message; the others are counted


class ConfigError(UserError):
    """An option file, or an option of a command, that cannot work; a line for each problem."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'NEAREST'?``, or nothing if no known word is near."""
    near = difflib.get_close_matches(word, sorted(known), 1)
    return f"; did you mean '{near[0]}'?" if near else ""


class Problems:
    """Collects the problems of one option file, given the line of each key in it.

    Data and weights that are not on the disk go to ``absent`` instead, if that is given.
    """

    def __init__(self, file: Path, lines: dict[Key, int], absent: list[Path] | None = None) -> None:
        self.file = file
        self.lines = lines
        self.absent = absent
        self.found: list[str] = []
        self.notes: list[tuple[Key, str]] = []
        """Keys without effect, and why."""
        self.remedy: str | None = None

    def add(self, key: Key, problem: str, remedy: str | None = None) -> None:
        """Notes a problem of a key; the first ``remedy`` of all problems becomes the message's last line."""
        self.remedy = self.remedy or remedy
        line = next((f":{self.lines[key[:n]]}" for n in range(len(key), 0, -1) if key[:n] in self.lines), "")
        name = f"{'.'.join(key)}: " if key else ""
        self.found.append(f"{self.file}{line}: {name}{problem}")

    def add_absent(self, key: Key, path: str | Path, kind: str, remedy: str | None = None) -> None:
        """Notes a file or folder that is not there: in ``absent`` if that was given, else as a problem."""
        if self.absent is not None:
            self.absent.append(Path(path))
            return
        looked_in = "" if Path(path).is_absolute() else f" (looked in {Path.cwd()})"
        self.add(key, f"no {kind} '{path}'{looked_in}", remedy)

    def add_unknown(self, key: Key, known: Iterable[str]) -> None:
        """Notes a key that nothing reads, with the nearest of those that are known."""
        self.add(key, f"unknown key{did_you_mean(key[-1], known)}")

    def note(self, key: Key, reason: str) -> None:
        """Notes a key that other programs' option files have, and that has no effect here."""
        self.notes.append((key, reason))

    def say_notes(self) -> None:
        """Says on standard error, in a line, which keys have no effect."""
        if self.notes:
            said = ", ".join(f"{'.'.join(key)} ({reason})" for key, reason in self.notes)
            print(f"{self.file}: without effect: {said}", file=sys.stderr)

    def raise_if_any(self) -> None:
        """Raises `ConfigError` if there are problems: the first two, how many more, and the remedy."""
        if not self.found:
            return
        lines = self.found[:SHOWN]
        if more := len(self.found) - len(lines):
            lines.append(f"  and {more} more")
        raise ConfigError("\n".join([*lines, self.remedy] if self.remedy else lines))
