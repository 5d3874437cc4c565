"""Where things that can be had again are kept for this user."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def folder() -> Path:
    """``hat_arch`` in the user's cache folder, or in that for temporary files for users without a home."""
    try:
        parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # no home
        parent = Path(tempfile.gettempdir())
    return parent / "hat_arch"
