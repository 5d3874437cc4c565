"""Made-up images in place of a data set, so that its class can run without its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..degradations.resize import imresize
from ..utils.files import write_file
from .images import Image, encode
from .lmdb_store import write_store

NAME = "stand_in"


def stand_in(dataset: dict[str, Any], folder: Path, scale: int, size: tuple[int, int]) -> dict[str, Any]:
    """Makes one image, or pair, as a data set's options want it: a folder, a store, a meta info file.

    Args:
        dataset: a section of ``datasets:``.
        folder: to write into.
        scale: GT side / LR side.
        size: height and width of the LR.

    Returns:
        The options with the paths replaced.
    """
    gt = picture(size[0] * scale, size[1] * scale)
    lq = imresize(gt, 1 / scale, convention="uint8")
    is_lmdb = dataset["io_backend"]["type"] == "lmdb"
    lq_name = NAME if is_lmdb else dataset.get("filename_tmpl", "{}").format(NAME)
    made = {**dataset, "io_backend": dict(dataset["io_backend"])}
    for option, value in dataset.items():
        if option in ("meta_info_file", "meta_info") and value is not None:
            made[option] = str(folder / f"{option}.txt")
            pair = option == "meta_info" and dataset.get("dataroot_lq") is not None
            line = f"{NAME}.png, {lq_name}.png" if pair else f"{NAME}.png ({gt.shape[0]},{gt.shape[1]},3)"
            write_file(Path(made[option]), f"{line}\n".encode())
        elif option.startswith("dataroot") and value is not None:
            name, image = (lq_name, lq) if option.startswith("dataroot_lq") else (NAME, gt)
            count = len(value) if isinstance(value, list) else 1
            roots = [folder / f"{option}_{n}{'.lmdb' if is_lmdb else ''}" for n in range(count)]
            for root in roots:
                if is_lmdb:
                    write_store(root, [(name, image)])
                else:
                    write_file(root / f"{name}.png", encode(image))
            made[option] = [str(root) for root in roots] if isinstance(value, list) else str(roots[0])
    return made


def picture(height: int, width: int) -> Image:
    """Waves and noise, the same every time: ``(H, W, 3)`` uint8."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 5), np.sin(y / 7), np.sin((x + y) / 9)], -1)
    noise = np.random.default_rng(0).normal(0, 8, waves.shape)
    return np.clip(128 + 80 * waves + noise, 0, 255).astype(np.uint8)
