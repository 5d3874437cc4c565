"""Finds other packages that add networks, models, data sets, losses or metrics to BasicSR's registries.

A package declares itself with an entry point in the group ``basicsr.plugins`` that names the module to import; a
local file or module is named on the command line with ``--plugin``. A file may import modules that lie beside it, its
helpers, as a script may; each plugin gets its own, also where those of several have the same names.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

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
        except (Exception, SystemExit) as error:  # foreign code may raise anything
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
                if importlib.import_module(name).__file__ is None:
                    raise ImportError("is a folder without __init__.py; name a file that ends in .py, or a module")
        except (Exception, SystemExit) as error:  # foreign code may raise anything
            raise UserError(f"--plugin {name}: {in_one_line(error)}") from error


_files: dict[Path, ModuleType] = {}
"""Plugins that are files."""
_helpers: dict[str, tuple[Path, ModuleType]] = {}
"""Name of a module that a plugin has imported from its own folder → that folder, and the module."""


def _import_file(path: Path) -> None:
    path = path.resolve()
    if path in _files:
        return
    number = sum(other.stem == path.stem for other in _files)  # of other files of this name
    name = f"basicsr_plugin_{path.stem}" + (f"_{number + 1}" if number else "")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # true of any name that ends in .py
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        with _helpers_from(path.parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    _files[path] = module


@contextmanager
def _helpers_from(folder: Path) -> Iterator[None]:
    """Has imports look into a folder first, without the helpers that plugins of other folders have imported."""
    others = {name: module for name, (of, module) in _helpers.items() if of != folder}
    there = {name for name, module in others.items() if sys.modules.get(name) is module}
    for name in there:
        del sys.modules[name]
    before = {name.partition(".")[0] for name in sys.modules}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name, module in list(sys.modules.items()):
            if name.partition(".")[0] not in before and _lies_in(module, folder):
                _helpers[name] = folder, module
                if name in others:
                    del sys.modules[name]  # a later import must not take one plugin's for another's: see `_Later`
        sys.modules.update({name: others[name] for name in there if _helpers[name][1] is others[name]})
        later.folders.append(str(folder))


def _lies_in(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return any(Path(place).is_relative_to(folder) for place in ([file] if file else getattr(module, "__path__", ())))


class _Later(MetaPathFinder):
    """Finds helpers that a plugin imports only as it runs, when its folder is no longer looked into first."""

    def __init__(self) -> None:
        self.folders: list[str] = []

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        found = [PathFinder.find_spec(fullname, [folder]) for folder in dict.fromkeys(self.folders)] if not path else []
        specs = [spec for spec in found if spec is not None]
        if len(specs) > 1:
            places = ", ".join(str(spec.origin) for spec in specs)
            raise ImportError(
                f"several plugins have a module {fullname!r} ({places}): import it at the top of the file"
            )
        return specs[0] if specs else None


later = _Later()
sys.meta_path.append(later)
