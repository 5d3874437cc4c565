"""Names for saved images that several images of a data set would share, so that none overwrites another."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def shared_names(dataset: Any) -> dict[str, str]:
    """Path of an image whose name another image has too → a path with a name of its own.

    BasicSR saves an image under the name of its LR image, without folder and suffix: ``a.png``, ``a.bmp`` and
    ``more/a.png`` would all become ``a_RUN.png``. They become ``a.png_RUN.png``, ``a.bmp_RUN.png``,
    ``more_a.png_RUN.png``.

    Args:
        dataset: has ``paths`` as BasicSR's: texts, or dicts with ``lq_path``; of another one nothing is known.
    """
    entries = getattr(dataset, "paths", [])
    paths = [str(entry.get("lq_path") if isinstance(entry, dict) else entry) for entry in entries]
    count = Counter(map(_name, paths))
    shared = [path for path in paths if count[_name(path)] > 1]
    above = os.path.commonpath([Path(path).parent for path in shared]) if shared else ""
    return {path: f"{os.path.relpath(path, above or os.curdir).replace(os.sep, '_')}.png" for path in shared}


def _name(path: str) -> str:
    """What BasicSR makes of the path of an LR image."""
    return Path(path).stem


class NamedApart:
    """A data loader whose batches have ``lq_path`` by `shared_names`, and the true one as ``read_from``."""

    def __init__(self, loader: Any, names: dict[str, str]) -> None:
        self.loader = loader
        self.dataset = loader.dataset
        self.names = names

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.loader:
            paths = batch["lq_path"]
            yield {**batch, "lq_path": [self.names.get(path, path) for path in paths], "read_from": paths}
