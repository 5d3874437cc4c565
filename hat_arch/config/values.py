"""Whether the classes that an option file names can take the values it gives them: by their types, and by a trial.

BasicSR passes what stands in the file on to networks, losses, metrics, optimizers and schedulers unchecked: text in the
place of a number is noticed late, or never (``milestones: "2, 4"`` never lowers the learning rate).
"""

from __future__ import annotations

import inspect
import math
import re
import typing
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import to_json

from ..utils.errors import in_one_line
from .problems import Key, Problems
from .reading import Options
from .schema import what_it_may_be

Made = TypeVar("Made")

TYPES: dict[str, Any] = {
    "bool": bool | Literal[0, 1],
    "int": int,
    "float": float,
    "str": str,
    "list": list,
    "tuple": list,
    "dict": dict,
}
"""Type in a docstring, or of a default, → what may stand in an option file."""
NOT_OF_YAML = {"needs_python_object", "is_instance_of", "is_subclass_of", "callable_type"}
"""Errors of pydantic for types whose values no option file can hold; such an argument may take other things too."""


def check_finite(options: Options, problems: Problems, key: Key = ()) -> None:
    """No number may be ``.nan`` or ``.inf``: a loss, weight or rate of that kind trains nothing, without a word."""
    for name, value in options.items():
        if isinstance(value, dict):
            check_finite(value, problems, (*key, str(name)))
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, float) and not math.isfinite(part):
                problems.add((*key, str(name)), f"should be a finite number, is {part}")


def check_types(key: Key, section: Options, owner: Any, problems: Problems, lenient: bool = False) -> None:
    """The arguments in a section, all but ``type``, must be of the types that its class or function takes.

    These are taken from the annotation; else the docstring (``name (int): …``); else the default.

    Args:
        owner: the class or function.
        lenient: whether a list, or nothing, may stand for one value, as networks often take it (a side for each
            direction). Annotations are followed anyway.
    """
    parameters = inspect.signature(owner).parameters
    hints = _hints(owner)
    for name, value in section.items():
        parameter = parameters.get(name)
        if name == "type" or (parameter is not None and value == parameter.default):
            continue
        hint = hints.get(name)
        if annotated := hint is not None:
            wrong = _mismatch(hint, value)
        else:
            hint = None if parameter is None else _documented(owner, parameter)
            wrong = _mismatch(hint | list | None if hint is not None and lenient else hint, value)
        if wrong is not None:
            problems.add((*key, name), f"{wrong}, is {value!r}")
        elif not annotated and (text := number_in_quotes(value)) and (hint is None or not isinstance(value, str)):
            problems.add((*key, name), f"{text!r} is text; a number has no quotes")


def number_in_quotes(value: Any) -> str | None:
    """A text that reads as a number, somewhere in a value; None if there is none."""
    if isinstance(value, str):
        return value if re.fullmatch(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", value) else None
    parts: Iterable[Any] = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((text for part in parts if (text := number_in_quotes(part)) is not None), None)


def _hints(owner: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(owner.__init__ if inspect.isclass(owner) else owner)
    except Exception:  # a plugin's annotations may name what is not there
        return {}


def _documented(owner: Any, parameter: inspect.Parameter) -> Any:
    """What the docstring or, without it, the default says of a parameter; None if that is nothing."""
    text = f"{inspect.getdoc(owner)}\n{inspect.getdoc(owner.__init__) if inspect.isclass(owner) else ''}"
    found = re.search(rf"^\s*{parameter.name}\s*\((\w+)(\[.*\])?(,[^)]*)?\):", text, re.MULTILINE)
    named = TYPES.get(found[1]) if found else None
    default = parameter.default
    if default is None or default is inspect.Parameter.empty:
        return named if default is not None or named is None else named | None
    if isinstance(default, int) and not isinstance(default, bool) and named is None:
        return float
    return named or TYPES.get(type(default).__name__)


def _mismatch(hint: Any, value: Any) -> str | None:
    """What a value should be, if it is not of a type; None if it is, or the type says nothing about YAML."""
    if hint in (None, Any, inspect.Parameter.empty):
        return None
    try:
        # as JSON, in which a list may stand for a tuple, while text never stands for a number
        adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
        adapter.validate_json(to_json(value, inf_nan_mode="constants"), strict=True)
    except ValidationError as error:
        details = [detail for detail in error.errors() if detail["type"] not in NOT_OF_YAML]
        return what_it_may_be(details[0]) if details else None
    except Exception:  # a type that pydantic does not know
        return None
    return None


def attempt(key: Key, section: Options, make: Callable[[Options], Made], problems: Problems) -> Made | None:
    """Makes what a section describes, and notes what it is refused for, with the argument that is to blame.

    Args:
        make: is given the section's arguments, without ``type``.

    Returns:
        What ``make`` returns; None if it was refused.
    """
    arguments = {name: value for name, value in section.items() if name != "type"}
    try:
        return make(dict(arguments))
    except Exception as error:  # classes of plugins may raise anything
        blamed = next((name for name in arguments if _works(make, arguments, name)), None)
        place = key if blamed is None else (*key, blamed)
        value = "" if blamed is None else f"{arguments[blamed]!r}: "
        problems.add(place, f"{value}{section.get('type')} refuses it: {in_one_line(error)}")
        return None


def _works(make: Callable[[Options], Any], arguments: Options, without: str) -> bool:
    try:
        make({name: value for name, value in arguments.items() if name != without})
    except Exception:
        return False
    return True


def last_good(works: Callable[[int], bool], end: int) -> int:
    """The largest number below ``end`` for which a test holds that holds at 0, and fails from some number on."""
    good, bad = 0, end
    while bad - good > 1:
        middle = (good + bad) // 2
        good, bad = (middle, bad) if works(middle) else (good, middle)
    return good
