"""Reads option files: safe YAML, with the line of each key, and the overrides of ``--force_yml``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from . import foreign, shipped_options
from .problems import ConfigError, Key

Options = dict[str, Any]
"""Content of an option file."""
MOST_VALUES = 100_000
"""Keys and values of an option file; BasicSR's have some hundred."""


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-4 as a number (as YAML 1.2 does) and refuses repeated keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"repeated key '{key.value}'", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def read(file: Path) -> tuple[Options, dict[Key, int]]:
    """Content of an option file, unchecked, and the line of each key, from 1.

    Raises:
        ConfigError: no such file, or no YAML file of keys.
    """
    text = text_of(file)
    if foreign.is_toml(file, text):
        raise foreign.refusal(file, foreign.NEOSR)
    content, node = parse(file, text)
    if program := foreign.program_of(content):
        raise foreign.refusal(file, program)
    return content, lines(node)


def text_of(file: Path) -> str:
    """The text of an option file, of the user's or the package's.

    Raises:
        ConfigError: it cannot be read, or is no text.
    """
    try:
        return shipped_options.find(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not a text file"
        raise ConfigError(f"{file}: {reason}") from None


def parse(file: Path, text: str) -> tuple[Options, yaml.MappingNode]:
    """The content of a YAML text, unchecked, and its nodes, which know their places in the text.

    Raises:
        ConfigError: it is no YAML of keys.
    """
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(f"{file}: not an option file; it holds no keys")
        _require_bounded(file, node)
        content = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or "cannot be read"
        if "could not determine a constructor" in problem:
            problem = f"a tag that could run code is refused ({problem.rsplit(' ', 1)[-1]})"
        elif "unknown escape character" in problem:
            problem += "; write the path with /, or in single quotes"
        raise ConfigError(f"{file}{f':{mark.line + 1}' if mark else ''}: {problem}") from None
    except RecursionError:
        raise ConfigError(f"{file}: not an option file; it is nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{file}: {' '.join(str(error).split())}") from None
    return content, node


def lines(node: yaml.Node) -> dict[Key, int]:
    """The line of each key, from 1."""
    return dict(_lines(node, ()))


def _require_bounded(file: Path, node: yaml.Node) -> None:
    """Raises `ConfigError` for aliases that lead to what they stand in, or multiply what is there."""
    left, seen = [node], 0
    while left:
        one, seen = left.pop(), seen + 1
        if seen > MOST_VALUES:
            line = one.start_mark.line + 1
            raise ConfigError(f"{file}:{line}: an alias (*) leads to itself, or to more than {MOST_VALUES:,} values")
        for part in one.value if isinstance(one, yaml.CollectionNode) else ():
            left += part if isinstance(part, tuple) else (part,)


def _lines(node: yaml.Node, sections: Key) -> Iterable[tuple[Key, int]]:
    if isinstance(node, yaml.MappingNode):
        for key_node, value in node.value:
            key = (*sections, str(key_node.value))
            yield key, key_node.start_mark.line + 1
            yield from _lines(value, key)


def override(options: Options, assignment: str) -> None:
    """Changes one option, as ``--force_yml`` says: ``train:ema_decay=0.999``, the value in YAML.

    Raises:
        ConfigError: no assignment, or to a section that the file lacks.
    """
    keys, equals, value = assignment.partition("=")
    *sections, last = keys.strip().split(":")
    if not equals or not all((*sections, last)):
        raise ConfigError(f"--force_yml {assignment}: must look like train:ema_decay=0.999")
    section: Any = options
    for n, name in enumerate(sections, 1):
        section = section.get(name) if isinstance(section, dict) else None
        if not isinstance(section, dict):
            raise ConfigError(f"--force_yml {assignment}: the file has no section '{':'.join(sections[:n])}'")
    try:
        section[last] = yaml.load(value, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"--force_yml {assignment}: {' '.join(str(error).split())}") from None
