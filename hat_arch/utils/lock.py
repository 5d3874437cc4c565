"""A lock that one process holds, and that ends with the process, however that ends."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import sys
from datetime import datetime
from pathlib import Path
from typing import TextIO

from .errors import UserError


class InUse(UserError):
    """Another process holds a lock; the message says which."""


def lock(file: Path, what: str) -> TextIO:
    """Locks ``file``, which is made if need be and stays, until the returned stream is closed or the process ends.

    A POSIX lock: processes that are forked meanwhile do not inherit it, so that a data-loading worker that outlives its
    killed parent does not keep it. The same process may take it again.

    Args:
        file: holds who has the lock, for a person to read.
        what: is locked, for the message.

    Raises:
        InUse: another process has it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    stream = file.open("a+", encoding="utf-8")
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            stream.seek(0)
            holder = stream.read().strip() or "another process"
            stream.close()
            raise InUse(f"{what} is in use by {holder}") from error
        print(f"{file}: cannot be locked here ({error.strerror}): start one run of this name only", file=sys.stderr)
    stream.seek(0)
    stream.truncate()
    stream.write(f"process {os.getpid()} on {platform.node()}, since {datetime.now():%Y-%m-%d %H:%M:%S}\n")
    stream.flush()
    return stream
