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
        made = Path(tempfile.gettempdir()) / f"hat_arch_{user}"
        with contextlib.suppress(OSError):  # it is there, or whoever writes into it is told
            made.mkdir(mode=0o700)
        with contextlib.suppress(FileNotFoundError):
            state = made.lstat()
            if not stat.S_ISDIR(state.st_mode) or state.st_uid != user or state.st_mode & 0o022:
                raise UserError(f"{made}: belongs to others, too; set XDG_CACHE_HOME to a folder of yours") from None
        return made
