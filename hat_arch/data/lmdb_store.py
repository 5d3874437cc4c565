"""LMDB image stores that BasicSR's ``io_backend: lmdb`` reads."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import cv2
import lmdb
import numpy as np
from numpy.typing import NDArray

PNG_COMPRESSION = 1


def write_store(store: Path, images: Iterable[tuple[str, NDArray[np.uint8]]]) -> int:
    """Packs images as PNG into a new LMDB store, with BasicSR's ``meta_info.txt``.

    The store appears under its name when it is complete; the map grows with its content.

    Args:
        store: folder to make; its name must end in ``.lmdb``.
        images: keys and images, ``(H, W, 3)`` BGR or ``(H, W)``. BasicSR cuts keys at the first dot, so they may
            hold none.

    Returns:
        Number of images.

    Raises:
        FileExistsError: the store exists.
        ValueError: a name that BasicSR could not read.
    """
    if store.suffix != ".lmdb":
        raise ValueError(f"{store}: the name of an LMDB store must end in .lmdb")
    if store.exists():
        raise FileExistsError(f"{store} exists")
    partial = store.with_name(f".{store.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    lines = []
    with lmdb.open(str(partial), map_size=64 * 2**20) as environment:
        for key, image in images:
            if "." in key:
                raise ValueError(f"{key}: a key of an LMDB store may hold no dot")
            _, encoded = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION])
            _put(environment, key.encode(), encoded.tobytes())
            h, w, c = (*image.shape, 1)[:3]
            lines.append(f"{key}.png ({h},{w},{c}) {PNG_COMPRESSION}\n")
        environment.sync(True)
    (partial / "meta_info.txt").write_text("".join(lines), encoding="utf-8")
    partial.replace(store)
    return len(lines)


def _put(environment: lmdb.Environment, key: bytes, value: bytes) -> None:
    while True:
        try:
            with environment.begin(write=True) as transaction:
                transaction.put(key, value)
            return
        except lmdb.MapFullError:
            environment.set_mapsize(environment.info()["map_size"] * 2)
