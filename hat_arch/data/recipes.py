"""Recipes: small files beside made images that say what they were made of, and how."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..utils.files import write_file
from .images import DataError

STORE_RECIPE, FOLDER_RECIPE = "recipe.json", ".recipe.json"
"""Names of the file in an LMDB store, and in a folder of images, where it is hidden."""


def write_recipe(file: Path, recipe: dict[str, Any]) -> None:
    write_file(file, (json.dumps(recipe, indent=1) + "\n").encode())  # ASCII: names may be no UTF-8


def read_recipe(folder: Path) -> dict[str, Any]:
    """How a store or folder was made; empty if nothing says so. Raises a `DataError` if the file is damaged."""
    for file in (folder / STORE_RECIPE, folder / FOLDER_RECIPE):
        if file.is_file():
            try:
                return json.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:
                raise DataError(f"{file}: is damaged; delete {folder} and make it anew") from error
    return {}


def differences(made: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Where two recipes differ, as the first has it (``scale 2, step 9``); empty if they are the same.

    The number of sources may differ: images may be added or removed.
    """
    keys = sorted(key for key in {*made, *wanted} if key != "sources" and made.get(key) != wanted.get(key))
    return ", ".join(f"{key} {made.get(key)!r}" for key in keys)
