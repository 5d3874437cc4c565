"""Writes files whole or not at all, and computes checksums. Every file of this project goes through `replacing`."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import UserError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a disk, quota or file size limit that is reached."""


class OutOfSpace(UserError):
    """The disk is full; files that were there before are unchanged."""


class DamagedWrite(UserError):
    """A file that was just written has other content when it is read back; the file before it is unchanged."""


@contextlib.contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[BinaryIO]:
    """Opens a temporary file beside ``path`` for writing, and renames it to ``path`` when the block ends.

    If the block raises, or the process is killed, ``path`` is as it was before.

    Args:
        path: the file to write; its folder is made if need be.
        durable: whether content and name are on the disk, not only in the system's cache, when this returns.

    Raises:
        OutOfSpace: the disk is full.
    """
    unfinished = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        unfinished.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        if error.errno in FULL:
            raise OutOfSpace(f"{path}: no space left on the disk; make room and repeat the command to go on") from error
        raise
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def write_file(path: Path, data: bytes | memoryview, durable: bool = False) -> str:
    """Writes a file whole or not at all; returns the `digest` of its content.

    Args:
        path: the file to write; its folder is made if need be.
        data: its content.
        durable: whether it is flushed to the disk and read back before it takes its name.

    Raises:
        OutOfSpace: the disk is full.
        DamagedWrite: what was read back differs (``durable``).
    """
    wanted = digest(data)
    with replacing(path, durable) as file:
        file.write(data)
        if durable:
            file.flush()
            if checksum(Path(file.name)) != wanted:
                raise DamagedWrite(f"{path}: what was written does not read back; the disk may fail")
    return wanted


def _sync_folder(folder: Path) -> None:
    """Makes a rename last through a power failure, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def digest(data: bytes | memoryview) -> str:
    """Checksum of some content: BLAKE2b, 128 bits, in hexadecimal."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def checksum(path: Path) -> str:
    """`digest` of a file's content, read 4 MiB at a time."""
    total = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(2**22):
            total.update(block)
    return total.hexdigest()
