"""Where things that can be had again are kept for this user."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path

from .errors import UserError


def folder() -> Path:
    """``hat_arch`` in the user's cache folder, or one in that for temporary files for users without a home.

    Raises:
        UserError: somebody else has made the latter, and could change what this process loads from it.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hat_arch"
    except RuntimeError:  # no home
        user = os.getuid()
        own = Path(tempfile.gettempdir()) / f"hat_arch_{user}"
        with contextlib.suppress(FileNotFoundError):
            state = own.lstat()
            if not stat.S_ISDIR(state.st_mode) or state.st_uid != user or state.st_mode & 0o022:
                raise UserError(f"{own}: belongs to others, too; set XDG_CACHE_HOME to a folder of yours") from None
        return own
