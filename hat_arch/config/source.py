"""Which keys of an option file a class reads, seen in its source, since nothing declares them."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Container, Iterator
from functools import cache
from types import ModuleType
from typing import NamedTuple

NOT_READ = ("builtins", "torch", "abc", "typing")  # packages whose classes take no option file


class Reads(NamedTuple):
    """Strings in the modules of a class, of its bases, and of what these pass their options to."""

    words: frozenset[str]
    """All that could be keys."""
    keys: frozenset[str]
    """Those that are certainly read: ``x["key"]``, ``x.get("key")``, ``"key" in x``."""
    top: frozenset[str]
    """Those of ``keys`` that are read off the whole option file, ``opt`` or ``self.opt``."""


@cache
def reads(cls: type) -> Reads:
    """What a class may read: what its source says, and its ``option_keys``. Empty if its source is not known."""
    declared: frozenset[str] = getattr(cls, "option_keys", frozenset())
    words, keys, top = set(declared), set(declared), set(declared)
    for module in _modules(cls):
        for node in ast.walk(_tree(module)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier():
                words.add(node.value)
            for owner, key in _lookups(node):
                keys.add(key)
                if owner in ("opt", "self.opt"):
                    top.add(key)
    return Reads(frozenset(words), frozenset(keys), frozenset(top))


def needed(cls: type) -> tuple[frozenset[str], frozenset[str]]:
    """Keys without which the models of BasicSR fail in training: of the whole file, and of ``train:``.

    For a model of BasicSR or one built on it. They are read as ``opt["key"]`` and nowhere asked for before.
    """
    top: set[str] = set()
    train: set[str] = set()
    for base in cls.__mro__:
        if not base.__module__.startswith("basicsr.models."):
            continue
        nodes = list(ast.walk(_tree(sys.modules[base.__module__])))
        asked = {key for node in nodes if not isinstance(node, ast.Subscript) for _, key in _lookups(node)}
        for owner, key in (found for node in nodes if isinstance(node, ast.Subscript) for found in _lookups(node)):
            if owner == "self.opt" and key not in asked:
                top.add(key)
            elif owner == "train_opt" and key not in asked:
                train.add(key)
    return frozenset(top), frozenset(train)


def _lookups(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The expression that is looked into, and the key, of ``x["key"]``, ``x.get("key")`` and ``"key" in x``."""
    if isinstance(node, ast.Subscript):
        owner, key = node.value, node.slice
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
        if node.func.attr not in ("get", "pop", "setdefault"):
            return
        owner, key = node.func.value, node.args[0]
    elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)):
        owner, key = node.comparators[0], node.left
    else:
        return
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        yield ast.unparse(owner), key.value


def _modules(cls: type) -> set[ModuleType]:
    """Modules of a class and its bases, and those of the same package that have helpers to which they pass ``opt``."""
    found: set[ModuleType] = set()
    for base in cls.__mro__:
        package = base.__module__.partition(".")[0]
        if package in NOT_READ or base.__module__ not in sys.modules:
            continue
        module = sys.modules[base.__module__]
        found.add(module)
        for helper in vars(module).values():
            home = sys.modules.get(getattr(helper, "__module__", None) or "")
            if home and home.__name__.startswith(f"{package}.") and callable(helper) and "opt" in _parameters(helper):
                found.add(home)
    return found


def _parameters(function: object) -> Container[str]:
    try:
        return inspect.signature(function).parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):  # of C
        return ()


@cache
def _tree(module: ModuleType) -> ast.Module:
    try:
        return ast.parse(inspect.getsource(module))
    except (OSError, TypeError):  # defined in a notebook or the like
        return ast.Module([], [])
