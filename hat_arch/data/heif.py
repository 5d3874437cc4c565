"""HEIC, as phones write it: read where other images are made of it. Data sets do not take it, as BasicSR does not."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

SUFFIXES = (".heic", ".heif", ".hif")


def is_heif(path: Path) -> bool:
    """Whether a file is named as HEIC."""
    return path.suffix.lower() in SUFFIXES


def add_heif() -> bool:
    """Makes Pillow read HEIC, if the plugin for it is installed; says whether it is."""
    if not importlib.util.find_spec("pillow_heif"):
        return False
    _register()
    return True


@functools.cache
def _register() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()
