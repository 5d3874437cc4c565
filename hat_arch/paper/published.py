"""The numbers that the papers print, from ``tables.yml``, which names the source of every one."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("tables.yml")


@cache
def paper_data() -> dict[str, Any]:
    """All of ``tables.yml``: verified, partly verified and unverified alike, and where sources disagree."""
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))


@cache
def verified() -> dict[str, Any]:
    """`paper_data` without everything that was not read in a source: all that may be printed as the papers' numbers.

    ``verified: true`` holds for a section and what is below it, until a section below says otherwise. Of a section that
    is ``partial`` there remains what is marked true in it.
    """
    return _verified(paper_data(), False) or {}


def _verified(node: Any, known: bool) -> Any:
    if not isinstance(node, dict):
        return node if known else None
    if "verified" in node:
        known = node["verified"] is True
    kept = {key: _verified(value, known) for key, value in node.items() if key not in ("verified", "unverified")}
    return {key: value for key, value in kept.items() if value is not None} or None


def look_up(path: str) -> Any:
    """A verified value by its keys, as ``main_table/x4/HAT``; None if there is none."""
    node: Any = verified()
    for key in path.split("/"):
        node = node.get(key) if isinstance(node, dict) else None
    return node


def conflict(number: int) -> str:
    """What is known of a disagreement between sources, by its number in ``conflicts``."""
    prefix = f"C{number} "
    return next(text.removeprefix(prefix) for text in paper_data()["conflicts"] if text.startswith(prefix))
