"""Finds other packages that add networks, models, data sets, losses or metrics to BasicSR's registries.

A package declares itself with an entry point in the group ``basicsr.plugins`` that names the module to import; a
local file or module is named on the command line with ``--plugin``.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from ..utils.errors import UserError, in_one_line

GROUP = "basicsr.plugins"


def load_installed() -> tuple[list[str], list[str]]:
    """Imports the plugins of installed packages.

    Returns:
        the names of those that were loaded, and one line for each that failed. A broken package is reported, not
        raised: it must not keep other packages' networks from being trained.
    """
    loaded, failed = [], []
    for entry_point in entry_points(group=GROUP):
        package = entry_point.dist.name if entry_point.dist else "unknown package"
        try:
            entry_point.load()
        except Exception as error:  # foreign code may raise anything
            failed.append(f"plugin {entry_point.name!r} of {package} is broken: {in_one_line(error)}")
        else:
            loaded.append(f"{entry_point.name} ({package})")
    return loaded, failed


def load_local(names: Sequence[str]) -> None:
    """Imports files (``my_arch.py``) or modules (``my_package.arch``, from the current folder or installed).

    Raises:
        UserError: one of them does not exist or fails.
    """
    for name in names:
        try:
            if name.endswith(".py"):
                _import_file(Path(name))
            else:
                if "" not in sys.path:
                    sys.path.insert(0, "")
                importlib.import_module(name)
        except Exception as error:  # foreign code may raise anything
            raise UserError(f"--plugin {name}: {in_one_line(error)}") from error


def _import_file(path: Path) -> None:
    name = f"basicsr_plugin_{path.stem}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # true of any name that ends in .py
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
