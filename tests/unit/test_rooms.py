"""The rooms of the package and who may import whom: read from the source, imports inside of functions included."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from tiny import ROOT

ROOMS = ["utils", "compat", "archs", "weights", "config", "degradations", "data"]
ROOMS += ["inference", "training", "paper", "web", "cli"]
"""In order: a module imports from its own room and from those before it."""
START = ("hat_arch", "hat_arch.__main__", "basicsr_command")
"""What begins a process: registers all, or runs the command."""


def modules() -> dict[str, Path]:
    files = [ROOT / "basicsr_command.py", *(ROOT / "hat_arch").rglob("*.py")]
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


MODULES = modules()


def room(module: str) -> str:
    return module.split(".")[1]


@cache
def imports(module: str) -> frozenset[str]:
    """Names of the modules that a module imports, those of other packages by their first part."""

    def found() -> Iterator[str]:
        package = module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]
        for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
                base = ".".join(filter(None, (base, node.module)))
                for alias in node.names:
                    inner = f"{base}.{alias.name}"
                    yield inner if inner in MODULES else base

    return frozenset(name if name in MODULES else name.partition(".")[0] for name in found())


def ours(module: str) -> set[str]:
    """The modules of this project that a module imports."""
    return {name for name in imports(module) if name in MODULES}


INSIDE = sorted(set(MODULES) - set(START))


def test_every_module_lies_in_a_room():
    assert {room(module) for module in INSIDE} == set(ROOMS)


def test_imports_go_to_the_same_room_or_an_earlier_one():
    wrong = [
        f"{module} imports {name}"
        for module in INSIDE
        for name in ours(module)
        if name in START or ROOMS.index(room(name)) > ROOMS.index(room(module))
    ]
    assert sorted(wrong) == []


def test_there_is_no_circle():
    try:
        TopologicalSorter({module: ours(module) - {module} for module in MODULES}).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_networks_import_torch_alone():
    allowed = {"torch", *sys.stdlib_module_names}
    wrong = [
        f"{module} imports {name}"
        for module in INSIDE
        for name in imports(module)
        if room(module) == "archs" and name not in allowed and not name.startswith("hat_arch.archs.")
    ]
    assert wrong == []


def test_production_imports_no_reproduction_and_no_benchmark():
    wrong = [
        f"{module} imports {name}"
        for module in MODULES
        for name in imports(module)
        if name.partition(".")[0] in ("experiments", "tests")
        or (name.startswith("hat_arch.paper") and not module.startswith(("hat_arch.paper", "hat_arch.cli.paper")))
    ]
    assert sorted(wrong) == []


def test_the_command_begins_with_its_parsers_alone():
    assert ours("basicsr_command") == ours("hat_arch.__main__") == {"hat_arch.cli", "hat_arch.utils.openmp"}
    wrong = {name for name in ours("hat_arch") if room(name) in ("paper", "cli")}
    assert wrong == set()
