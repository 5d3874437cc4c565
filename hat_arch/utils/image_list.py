"""Lists of images, such as ``meta_info_file``: text files with a line ``NAME (HEIGHT,WIDTH,CHANNELS)`` for each."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from .errors import UserError

BOM = "\ufeff"


class Line(NamedTuple):
    """A line that names an image."""

    place: str
    """File and number of the line, from 1, as errors name them: ``list.txt:3``."""
    name: str
    """What stands before the first space, where BasicSR cuts too."""


def read_list(file: Path) -> list[Line]:
    """The images that a list names. Empty lines, comments (``# …``) and a byte-order mark are passed over.

    Raises:
        UserError: it cannot be read, is no UTF-8 text, or names no image.
    """
    texts = enumerate(_text(file).removeprefix(BOM).splitlines(), 1)
    lines = [Line(f"{file}:{number}", text.split()[0]) for number, text in texts if not _says_nothing(text)]
    if not lines:
        raise UserError(f"{file}: names no image")
    return lines


def _says_nothing(text: str) -> bool:
    """Whether a line is empty or a comment; ``#1.png`` is an image."""
    return not text.strip() or not text.split()[0].strip("#")


def misread_by_basicsr(file: Path) -> str | None:
    """Place and kind of the first line that BasicSR's own data sets would take for an image; None: they read it right.

    Raises:
        UserError: it cannot be read, or is no UTF-8 text.
    """
    for number, text in enumerate(_text(file).splitlines(), 1):
        if text.startswith(BOM):
            return f"{file}:{number}: begins with a byte-order mark"
        if _says_nothing(text):
            return f"{file}:{number}: is {'a comment' if text.strip() else 'empty'}"
    return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not a text file in UTF-8") from error
