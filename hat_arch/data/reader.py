"""Reads and decodes the images of folders and LMDB stores, fast, in the workers of a data loader."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np

from ..utils.image_list import read_list
from .images import DataError, Image, ImageError
from .lmdb_store import keys, to_key


class Reader:
    """Reads the images of one folder or store.

    Args:
        root: folder or store.
        backend: BasicSR's ``io_backend``.
        keep_grey: whether grey images stay ``(H, W)``.

    Raises:
        DataError: another backend than ``disk`` or ``lmdb``.
    """

    def __init__(self, root: str, backend: dict[str, Any], keep_grey: bool = False) -> None:
        if backend["type"] not in ("disk", "lmdb"):
            raise DataError(f"io_backend {backend['type']!r}: it may be disk or lmdb")
        self.root = root
        self.flags = cv2.IMREAD_ANYCOLOR if keep_grey else cv2.IMREAD_COLOR
        self.store = os.path.realpath(root) if backend["type"] == "lmdb" else None

    def name(self, path: str) -> str:
        """What an error calls an image."""
        return f"{self.root}: '{path}'" if self.store else path

    def image(self, path: str) -> Image:
        """Decoded image, ``(H, W, 3)`` BGR, or ``(H, W)`` if it is grey and ``keep_grey`` was said.

        Args:
            path: key in the store, or file.

        Raises:
            ImageError: it is not there, or is damaged.
        """
        image = self._decode_entry(self.store, path) if self.store else _decode(_read(path), self.flags)
        if image is None:
            raise ImageError(f"{self.name(path)}: is damaged or not an image; `basicsr data check` finds all such")
        return image

    def _decode_entry(self, store: str, key: str) -> Image | None:
        try:
            environment = _environment(store)
        except lmdb.Error as error:
            raise ImageError(f"{self.root}: {error}; make the store anew") from error
        with environment.begin(buffers=True) as transaction:  # decoded where it lies
            data = transaction.get(key.encode())
            if data is None:
                raise ImageError(f"{self.root}: has no key '{key}'; `basicsr data check` finds all such")
            return _decode(data, self.flags)


def listed(root: str, backend: dict[str, Any], file: str) -> list[str]:
    """What a list (``meta_info_file``) names in a folder or store: paths below the folder, or keys of the store.

    Args:
        root: folder or store.
        backend: BasicSR's ``io_backend``.
        file: the list.

    Raises:
        UserError: it cannot be read, or names what is not there; the message has the list and the line.
    """
    there = set(keys(Path(root))) if backend["type"] == "lmdb" else None
    names = []
    for place, name in read_list(Path(file)):
        entry = name if there is None else to_key(Path(name).with_suffix("").as_posix())
        if entry not in there if there is not None else not Path(root, entry).is_file():
            raise DataError(f"{place}: names '{name}', which is not in {root}")
        names.append(entry)
    return names


@cache
def _environment(store: str) -> lmdb.Environment:
    """A store, opened once by each process: LMDB allows no second time, and no use after a fork."""
    return lmdb.open(store, readonly=True, lock=False, readahead=False)


os.register_at_fork(after_in_child=_environment.cache_clear)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (pathlib costs as much as a small image)
            return file.read()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror}") from error


def _decode(data: bytes | memoryview, flags: int) -> Image | None:
    if not len(data):
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)  # type: ignore[return-value]
    except cv2.error:
        return None
