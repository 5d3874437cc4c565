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
def replacing(path: Path, expected_digest: str | None = None) -> Iterator[BinaryIO]:
    """Opens a temporary file beside ``path`` for writing, and renames it to ``path`` when the block ends.

    If the block raises, or the process is killed, ``path`` is as it was before. Its folder is made if need be. With
    ``expected_digest``, the content is flushed to the disk, read back and compared before the file takes its name.

    Raises:
        OutOfSpace: the disk is full.
        DamagedWrite: what was read back has another digest.
        OSError: it cannot be written; ``filename`` is what the caller named, or a folder above it.
    """
    unfinished = path.with_name(f".{path.name}.partial")
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished.open("wb") as file:
            yield file
            if expected_digest is not None:
                file.flush()
                os.fsync(file.fileno())
        if expected_digest is not None and checksum(unfinished) != expected_digest:
            raise DamagedWrite(f"{path}: what was written does not read back; the disk may fail")
        unfinished.replace(path)
        if expected_digest is not None:
            _sync_folder(path.parent)
    except OSError as error:
        if error.errno in FULL:
            raise OutOfSpace(f"{path}: no space left on the disk; make room and repeat the command to go on") from error
        raise
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()


def from_home(path: str | Path) -> Path:
    """A path in which ``~`` and ``~user`` stand for home folders; as it is if there is no such home."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 (pathlib's raises then)


def write_file(path: Path, data: bytes | memoryview, durable: bool = False) -> str:
    """Writes a file with `replacing`, read back if it must be ``durable``; returns the `digest` of its content.

    Raises:
        OutOfSpace: the disk is full.
        DamagedWrite: what was read back differs.
    """
    content_digest = digest(data)
    with replacing(path, content_digest if durable else None) as file:
        file.write(data)
    return content_digest


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
    return _read_into(path, hashlib.blake2b(digest_size=16))


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal: how others publish checksums."""
    return _read_into(path, hashlib.sha256())


def _read_into(path: Path, total: hashlib._Hash | hashlib.blake2b) -> str:
    with path.open("rb") as file:
        while block := file.read(2**22):
            total.update(block)
    return total.hexdigest()
