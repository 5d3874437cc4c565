"""The papers' numbers, from ``tables.yml``."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml


@cache
def facts() -> dict[str, Any]:
    """Content of ``tables.yml``, where every number has its source; not to be changed."""
    return yaml.safe_load(Path(__file__).with_name("tables.yml").read_text(encoding="utf-8"))
