"""The recipes by their names, as they stand in option files and on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ..config.problems import did_you_mean
from ..config.schema import what_it_may_be
from .basic import Bicubic, Jpeg, Noise
from .bsrgan import BSRGAN
from .photo import Photo
from .realesrgan import RealESRGAN
from .recipe import Degradation, Recipe, RecipeError

RECIPES: dict[str, type[Degradation]] = {cls.name: cls for cls in (Bicubic, Jpeg, Noise, RealESRGAN, BSRGAN, Photo)}
VALUES = {"jpeg": ("quality", "jpeg:40 or jpeg:10-40"), "noise": ("sigma", "noise:25 or noise:0-50")}
"""Name → the option that is given behind a colon, and how it looks."""


def recipe_named(spec: str | Mapping[str, Any], scale: int) -> Recipe:
    """See `hat_arch.degradations.recipe_named`."""
    options = dict(_parsed(spec) if isinstance(spec, str) else spec)
    shown = spec if isinstance(spec, str) else options.get("type")
    if isinstance(options.get("type"), str) and ":" in options["type"]:
        options |= _parsed(options["type"])
    name = options.pop("type", None)
    cls = _class(name)
    if name in VALUES:
        option, example = VALUES[name]
        if option not in options:
            raise RecipeError(f"{name}: is without {option}; write {example}")
        options[option] = _range(options[option])
    try:
        return cls(scale=scale, **options)
    except ValidationError as error:
        raise RecipeError(f"{shown}: {_reason(error.errors()[0], cls, isinstance(spec, str))}") from None


def option_keys(name: str) -> frozenset[str]:
    """See `hat_arch.degradations.option_keys`."""
    return frozenset(_class(name).model_fields) - {"scale"}


def _class(name: Any) -> type[Degradation]:
    if name not in RECIPES:
        near = did_you_mean(str(name), RECIPES) or f"; there are: {', '.join(sorted(RECIPES))}"
        raise RecipeError(f"there is no recipe '{name}'{near}")
    return RECIPES[name]


def _parsed(spec: str) -> dict[str, Any]:
    """``type``, and what is behind the colon, of such as ``jpeg:10-40``."""
    name, colon, text = spec.strip().partition(":")
    _class(name)
    if not colon:
        return {"type": name}
    if name not in VALUES:
        raise RecipeError(f"{spec}: {name} takes no value")
    number = r"\d+(?:\.\d+)?"
    if not re.fullmatch(rf"{number}(-{number})?", text):
        raise RecipeError(f"{spec}: write {VALUES[name][1]}")
    numbers = [float(part) if "." in part else int(part) for part in text.split("-")]
    return {"type": name, VALUES[name][0]: numbers if len(numbers) > 1 else numbers[0]}


def _range(value: Any) -> Any:
    """A range, which may be given as one number."""
    return tuple(value) if isinstance(value, (list, tuple)) else (value, value)


def _reason(detail: Any, cls: type[Degradation], is_shown: bool) -> str:
    """What an error of pydantic says, with the option that it is about, and its value, if that is not shown yet."""
    option = str(detail["loc"][0]) if detail["loc"] else ""
    if detail["type"] == "extra_forbidden":
        return f"has no option '{option}'{did_you_mean(option, cls.model_fields)}"
    value = f", is {detail['input']!r}" if option and not is_shown else ""
    return f"{option} {what_it_may_be(detail)}{value}".strip()
