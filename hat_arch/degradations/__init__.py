"""Degradations: what makes a low-quality image of a good one, reproducibly. ``recipe_named("photo", scale=4)``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .recipe import Recipe, RecipeError, rng_of_image

__all__ = ["Recipe", "RecipeError", "option_keys", "recipe_named", "rng_of_image"]


def recipe_named(spec: str | Mapping[str, Any], scale: int) -> Recipe:
    """A recipe by its name, ready to be called with an image and a random generator.

    Args:
        spec: ``bicubic``, ``jpeg:40``, ``jpeg:10-40``, ``noise:25``, ``noise:0-50``, ``realesrgan``, ``bsrgan`` or
            ``photo``; or a mapping of ``type``, one of these names, and the recipe's options.
        scale: GT side / LR side.

    Raises:
        RecipeError: there is no such recipe, or it cannot work with such values; in one line.
    """
    from . import registry  # imports BasicSR; the modules of this room that others need at once do not

    return registry.recipe_named(spec, scale)


def option_keys(name: str) -> frozenset[str]:
    """The options of the recipe of that name: keys of its mapping other than ``type``.

    Raises:
        RecipeError: there is no such recipe.
    """
    from . import registry

    return registry.option_keys(name)
