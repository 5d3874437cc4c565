"""A bad input: files of a small working folder that are changed, a command, and what must come of it."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

import hat_arch

GONE = "<absent>"
Content = bytes | str | Callable[[Path], bytes]
"""Of a file; a function makes it, given the working folder."""


PLACES = (f"{sys.prefix}/bin", hat_arch.__file__)
"""Of the installed packages and this one."""


def open_to_all(path: str) -> bool:
    """Whether every user may enter all folders above a file."""
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in Path(path).resolve().parents)


@dataclass
class Case:
    """One bad input.

    The working folder is that of `world.make`. The option file that ``yml`` describes is written there as ``it.yml``.
    """

    command: str
    """The words after ``basicsr``."""
    code: int
    """Exit code: 2 if the user must mend something before anything starts, 1 if a part failed and the rest was done."""
    says: tuple[str, ...]
    """What one line of the message has: file, key, and the decisive word."""
    yml: dict[str, Any] | None = None
    """Key with points → value (or `GONE`), to be changed in the option file of a training."""
    test: bool = False
    """Whether ``yml`` changes the option file of a test instead."""
    files: dict[str, Content] = field(default_factory=dict)
    """Files to write first."""
    cut: dict[str, int] = field(default_factory=dict)
    """File that is there → number of bytes that are left of it."""
    gone: tuple[str, ...] = ()
    """Files and folders to remove first."""
    links: dict[str, str] = field(default_factory=dict)
    """Link → what it points to."""
    env: dict[str, str | None] = field(default_factory=dict)
    """Environment variables; None: removed."""
    before: str = ""
    """Python that the command's process runs first: see `launcher`."""
    stdin: bytes = b""
    lines: int | None = 1
    """Lines of the message: one for each problem; None: any number."""
    makes: tuple[str, ...] = ()
    """Patterns of all files that the command makes in spite of it."""
    notes: str = ""
    """What is said on standard output."""

    def skip_if_impossible(self) -> None:
        """Skips the test where the machine lacks what ``before`` needs."""
        if "setuid" in self.before and (os.geteuid() or not all(map(open_to_all, PLACES))):
            pytest.skip("needs another user, and Python and this package in folders that everyone may read")
        if "/dev/full" in self.before and not Path("/dev/full").exists():
            pytest.skip("needs /dev/full")

    def prepare(self, folder: Path) -> None:
        """Changes the files of a working folder."""
        for name in self.gone:
            remove(folder / name)
        for name, size in self.cut.items():
            (folder / name).write_bytes((folder / name).read_bytes()[:size])
        for name, content in self.files.items():
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            content = content(folder) if callable(content) else content
            file.write_bytes(content.encode() if isinstance(content, str) else content)
        for name, target in self.links.items():
            (folder / name).symlink_to(target)
        if self.yml is not None:
            opt = yaml.safe_load((folder / ("test.yml" if self.test else "train.yml")).read_text(encoding="utf-8"))
            for key, value in self.yml.items():
                put(opt, key, value)
            (folder / "it.yml").write_text(yaml.safe_dump(opt, sort_keys=False), encoding="utf-8")


def remove(path: Path) -> None:
    """Removes a file or a folder."""
    if path.is_dir():
        for inner in path.iterdir():
            remove(inner)
        path.rmdir()
    else:
        path.unlink()


def put(opt: dict[str, Any], key: str, value: Any) -> None:
    """Sets ``section.section.key`` of options, or removes it."""
    *sections, last = key.split(".")
    for section in sections:
        opt = opt[section]
    if value is GONE:
        del opt[last]
    else:
        opt[last] = value
