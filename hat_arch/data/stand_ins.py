"""Made-up images in place of a data set, so that its class can run without its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .folders import write_file
from .images import Image, encode
from .lmdb_store import write_store
from .resize import imresize

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
    is_lmdb, template = dataset["io_backend"]["type"] == "lmdb", dataset.get("filename_tmpl", "{}")
    made = {**dataset, "io_backend": dict(dataset["io_backend"])}
    for option, roots in dataset.items():
        if option in ("meta_info_file", "meta_info") and roots is not None:
            made[option] = str(folder / f"{option}.txt")
            write_file(Path(made[option]), f"{NAME}.png ({gt.shape[0]},{gt.shape[1]},3)\n".encode())
        if not option.startswith("dataroot") or roots is None:
            continue
        is_lq = option.startswith("dataroot_lq")
        name = template.format(NAME) if is_lq and not is_lmdb else NAME
        new = []
        for number, _ in enumerate(roots if isinstance(roots, list) else [roots]):
            root = folder / f"{option}_{number}{'.lmdb' if is_lmdb else ''}"
            _write(root, name, lq if is_lq else gt)
            new.append(str(root))
        made[option] = new if isinstance(roots, list) else new[0]
    return made


def _write(root: Path, name: str, image: Image) -> None:
    if root.suffix == ".lmdb":
        root.parent.mkdir(parents=True, exist_ok=True)
        write_store(root, [(name, image)])
    else:
        write_file(root / f"{name}.png", encode(image))


def picture(height: int, width: int) -> Image:
    """Waves and noise, the same every time: ``(H, W, 3)`` uint8."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 5), np.sin(y / 7), np.sin((x + y) / 9)], -1)
    noise = np.random.default_rng(0).normal(0, 8, waves.shape)
    return np.clip(128 + 80 * waves + noise, 0, 255).astype(np.uint8)
