"""Any data set of the registry, whose images that are missing or damaged are named in one line.

BasicSR's own classes, and those of plugins, raise whatever the decoding of nothing raises: ``'NoneType' object has no
attribute 'astype'``. They read through BasicSR's `FileClient`; what that read last is to blame. The project's own
classes name their files themselves.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from basicsr.utils import FileClient, get_root_logger
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import IterableDataset

from ..utils.errors import UserError, in_one_line
from .images import DataError
from .lmdb_store import require_whole
from .paired_dataset import SeededPairedDataset
from .sampling import DrawnDataset, ItemError

FIND = "`basicsr data check` finds all such"


class _LastRead(threading.local):
    """What this thread has read last."""

    name: str | None = None
    data: Any = None


_last = _LastRead()


def remembering(get: Callable[..., Any]) -> Callable[..., Any]:
    """``get``, the method of `FileClient`, which now remembers what it has read."""

    def remember(self: FileClient, filepath: Any, client_key: str = "default") -> Any:
        _last.name, _last.data = str(filepath), None
        if self.backend == "lmdb":
            stores = dict(zip(self.client._client, self.client.db_paths))
            _last.name = f"{stores.get(client_key)}: '{filepath}'"
        _last.data = get(self, filepath, client_key)
        return _last.data

    return remember


def build_dataset(opt: dict[str, Any]) -> Any:
    """BasicSR's function: the data set of a section of ``datasets:``, which names what it cannot use.

    Raises:
        DataError: its constructor fails, or its store is damaged.
    """
    opt = deepcopy(opt)
    for root in _roots(opt) if opt.get("io_backend", {}).get("type") == "lmdb" else ():
        require_whole(Path(root))
    cls = DATASET_REGISTRY.get(opt["type"])
    try:
        dataset = cls(deepcopy(opt))
    except UserError:
        raise
    except (AssertionError, ValueError, OSError) as error:
        if opt.get("dataroot_gt") and opt.get("dataroot_lq"):
            SeededPairedDataset(opt)  # names the image that has no partner, if that is what is wrong
        raise DataError(
            f"{' and '.join(_roots(opt)) or opt['name']}: {opt['type']} cannot use it: {in_one_line(error)}"
        ) from error
    get_root_logger().info(f"Dataset [{cls.__name__}] - {opt['name']} is built.")
    return dataset if isinstance(dataset, (DrawnDataset, IterableDataset)) else NamingDataset(dataset)


def _roots(opt: dict[str, Any]) -> list[str]:
    """The folders or stores of a data set."""
    given = [opt[key] for key in opt if key.startswith("dataroot") and opt[key]]
    return [str(root) for roots in given for root in (roots if isinstance(roots, list) else [roots])]


class NamingDataset:
    """A data set that names what it cannot use: an item that fails because of a file raises `ItemError`."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __getitem__(self, index: int) -> Any:
        _last.name = None
        try:
            return self.dataset[index]
        except (UserError, IndexError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.filename is not None:
                raise ItemError(f"{error.filename}: {error.strerror}") from error
            if _last.name is None:
                raise
            if _last.data is None:
                raise ItemError(f"{_last.name}: is not there; {FIND}") from error
            if not _decodes(_last.data):
                raise ItemError(f"{_last.name}: is damaged or not an image; {FIND}") from error
            if isinstance(error, (ValueError, AssertionError)):  # of sizes that do not fit
                raise ItemError(f"{_last.name}: {in_one_line(error)}") from error
            raise  # an error of the class itself


def _decodes(data: Any) -> bool:
    """Whether BasicSR's `imfrombytes` would make an image of it."""
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
    except (cv2.error, ValueError):  # of no bytes at all
        return False
