"""Reads an option file and checks it before anything is created.

`load` gives BasicSR a plain dict, or raises `ConfigError` with lines that name file, key and remedy.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ..utils.errors import UserError
from . import schema, shipped_options

Key = tuple[str, ...]

SCHEDULERS = {
    "MultiStepLR": "MultiStepRestartLR",
    "MultiStepRestartLR": "MultiStepRestartLR",
    "CosineAnnealingRestartLR": "CosineAnnealingRestartLR",
}
DATA_REMEDY = "  datasets/README.md says how to get and prepare each data set; to train without any: make demo"


class ConfigError(UserError):
    """An option file that cannot be run. The message is meant for its author: a line for each problem."""


class _Loader(yaml.SafeLoader):
    """Safe YAML, with 1e-4 read as a number (as YAML 1.2 has it) and repeated keys refused."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"repeated key '{key_node.value}'", key_node.start_mark
                )
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


class Report:
    """Collects problems, each with the line of its key."""

    def __init__(self, file: Path, lines: dict[Key, int], absent: list[Path] | None = None) -> None:
        self.file = file
        self.lines = lines
        self.absent = absent
        self.problems: list[str] = []
        self.remedy: str | None = None

    def add(self, key: Key, problem: str, remedy: str | None = None) -> None:
        self.remedy = self.remedy or remedy
        line = next((f":{self.lines[key[:n]]}" for n in range(len(key), 0, -1) if key[:n] in self.lines), "")
        name = f"{'.'.join(key)}: " if key else ""
        self.problems.append(f"{self.file}{line}: {name}{problem}")

    def missing(self, key: Key, path: str | Path, kind: str, remedy: str | None = None) -> None:
        """A file or folder that is not there: a problem, unless absent ones are collected."""
        if self.absent is not None:
            self.absent.append(Path(path))
            return
        looked_in = "" if Path(path).is_absolute() else f" (looked in {Path.cwd()})"
        self.add(key, f"no {kind} '{path}'{looked_in}", remedy)

    def unknown(self, key: Key, known: Iterable[str]) -> None:
        near = difflib.get_close_matches(key[-1], sorted(known), 1)
        self.add(key, "unknown key" + (f"; did you mean '{near[0]}'?" if near else ""))

    def raise_if_any(self) -> None:
        if self.problems:
            shown = self.problems[:2]
            if len(self.problems) > 2:
                shown.append(f"  and {len(self.problems) - 2} more")
            raise ConfigError("\n".join([*shown, self.remedy] if self.remedy else shown))


def load(
    file: str | Path, is_train: bool, overrides: Iterable[str] = (), absent: list[Path] | None = None
) -> dict[str, Any]:
    """Reads and checks an option file.

    Args:
        file: path of the YAML file, or the name of one that comes with the package.
        is_train: whether it is for training or for testing.
        overrides: ``key:key=value`` as of ``--force_yml``; the value is read as YAML.
        absent: if given, data and weights that are not on the disk are added to it, and are no errors.

    Returns:
        A plain dict for BasicSR, with defaults filled in.

    Raises:
        ConfigError: something in it cannot work.
    """
    from . import checks

    file = shipped_options.find(file)
    raw, lines = read(file)
    report = Report(file, lines, absent)
    for override in overrides:
        _override(raw, override)
    model = schema.TrainOptions if is_train else schema.TestOptions
    opt = check_types(model, raw, report)
    report.raise_if_any()

    checks.registered_names(opt, report)
    report.raise_if_any()
    checks.unknown_keys(opt, model, report)
    checks.arguments(opt, report)
    checks.datasets(opt, report, is_train)
    checks.devices(opt, report)
    checks.training(opt, report)
    report.raise_if_any()
    checks.network(opt, report)
    report.raise_if_any()
    return opt


def read(file: Path) -> tuple[dict[str, Any], dict[Key, int]]:
    """Content of a YAML file, and the line number of each key."""
    try:
        text = shipped_options.find(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not a text file"
        raise ConfigError(f"{file}: {reason}") from None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{file}: not an option file; it holds no keys")
        return loader.construct_document(node), dict(_lines(node, ()))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or "cannot be read"
        if "could not determine a constructor" in problem:
            problem = f"a tag that could run code is refused ({problem.rsplit(' ', 1)[-1]})"
        raise ConfigError(f"{file}{f':{mark.line + 1}' if mark else ''}: {problem}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file}: {' '.join(str(error).split())}") from None


def _lines(node: yaml.Node, parent: Key) -> Iterable[tuple[Key, int]]:
    if isinstance(node, yaml.MappingNode):
        for key_node, value in node.value:
            key = (*parent, str(key_node.value))
            yield key, key_node.start_mark.line + 1
            yield from _lines(value, key)


def _override(opt: dict[str, Any], override: str) -> None:
    keys, equals, value = override.partition("=")
    path = keys.strip().split(":")
    if not equals or not all(path):
        raise ConfigError(f"--force_yml {override}: must look like train:ema_decay=0.999")
    section: Any = opt
    for n, key in enumerate(path[:-1], 1):
        section = section.get(key) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise ConfigError(f"--force_yml {override}: the file has no section '{':'.join(path[:n])}'")
    try:
        section[path[-1]] = yaml.load(value, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"--force_yml {override}: {' '.join(str(error).split())}") from None


def check_types(model: type[schema.Options], raw: dict[str, Any], report: Report) -> dict[str, Any]:
    """The options with defaults filled in; wrong types and missing keys go to the report."""
    try:
        opt = model.model_validate(raw).plain()
        opt["path"].setdefault("resume_state", None)  # BasicSR reads these two without asking whether they are there
        if opt.get("val"):
            opt["val"].setdefault("suffix", None)
        return opt
    except ValidationError as error:
        seen: set[Key] = set()
        for problem in error.errors():
            key = tuple(str(part) for part in problem["loc"])
            key = max((k for k in report.lines if key[: len(k)] == k), key=len, default=()) or key
            if problem["type"] == "missing":
                key = tuple(str(part) for part in problem["loc"])
                if near := difflib.get_close_matches(key[-1], _unknown_beside(key, report), 1):
                    report.unknown((*key[:-1], near[0]), [key[-1]])
                else:
                    report.add(key, "is missing")
            elif key not in seen:
                what = problem["msg"][0].lower() + problem["msg"][1:].replace("Input should be", "should be")
                what = what.removeprefix("input ")
                report.add(key, f"{what}, is {problem['input']!r}")
            seen.add(key)
        return raw


def _unknown_beside(key: Key, report: Report) -> list[str]:
    """Keys of the same section that no section has; networks of other models (``network_d``) count as known."""
    sections = [kind for kind in vars(schema).values() if isinstance(kind, type) and issubclass(kind, schema.Section)]
    known = {name for section in sections for name in section.model_fields}
    beside = [other[-1] for other in report.lines if other[:-1] == key[:-1]]
    return [name for name in beside if name not in known and not name.startswith("network_")]


@cache
def words_in_source(cls: type) -> frozenset[str]:
    """Strings that could be keys in the modules that define a class and its bases: the options that it may read."""
    words: set[str] = set()
    for base in cls.__mro__:
        module = inspect.getmodule(base)
        if base.__module__.partition(".")[0] in ("builtins", "torch", "abc", "typing"):
            continue
        try:
            tree = ast.parse(inspect.getsource(module) if module else inspect.getsource(base))
        except (OSError, TypeError):  # defined in a notebook or the like
            continue
        constants = (node.value for node in ast.walk(tree) if isinstance(node, ast.Constant))
        words.update(value for value in constants if isinstance(value, str) and value.isidentifier())
    return frozenset(words)


def parameters(function: Callable[..., Any], skip: int) -> tuple[set[str], set[str], bool]:
    """Names that a callable takes, those that it needs, and whether it takes any other, without its first ``skip``."""
    positional = list(inspect.signature(function).parameters.values())[skip:]
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = [p for p in positional if p.kind in kinds]
    needed = {p.name for p in named if p.default is inspect.Parameter.empty}
    return {p.name for p in named}, needed, any(p.kind is p.VAR_KEYWORD for p in positional)
