"""What the training data sets share: random choices that depend on seed, draw and index alone, and broken items.

BasicSR seeds its loader's workers anew every epoch with the same numbers, so that all epochs cut the same patches, and
which ones depends on the number of workers. Here a *draw* says how often the data set has been gone through before, in
all epochs and in the repetitions of an enlarged one. It travels with the index: position ``draw * len(dataset) +
index``. So results depend neither on workers nor on GPUs, and workers may live on from epoch to epoch.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from typing import Any

import cv2
import lmdb
import numpy as np
import torch
from basicsr.data.data_sampler import EnlargedSampler
from basicsr.utils import bgr2ycbcr
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from .images import DataError, Image

SHOWN = 10  # names of broken items in one report

_environments: dict[str, tuple[int, lmdb.Environment]] = {}
"""Store → the process that opened it, and what it opened."""


class ItemError(DataError):
    """One item of a data set cannot be used; the message names its file or key."""

    def __init__(self, message: str) -> None:
        # a loader's worker passes an error on with its whole traceback as the message; this is its last line
        super().__init__(message.rpartition("ItemError: ")[2].strip())


class DrawnDataset(Dataset):
    """Base of data sets whose items are drawn: give `__len__`, `name_of` and `item`.

    Options: ``seed`` (that of the run, if absent) and ``skip_broken``: whether an item that cannot be used is replaced
    by another one and reported at the end of the epoch, instead of ending the run.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.seed = int(opt.get("seed", 0))
        self.is_train = opt.get("phase") == "train"
        self.skip_broken = bool(opt.get("skip_broken", False))
        self.broken: Tensor | None = None

    def __len__(self) -> int:
        raise NotImplementedError

    def name_of(self, index: int) -> str:
        """File or key of an item."""
        raise NotImplementedError

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Item ``index``; what is random about it comes from ``rng``. Raises `ItemError`."""
        raise NotImplementedError

    def share_broken(self) -> None:
        """Makes the memory in which workers note broken items; to be called before workers are started."""
        if self.skip_broken and self.broken is None:
            self.broken = torch.zeros(len(self), dtype=torch.uint8).share_memory_()

    def __getitem__(self, position: int) -> dict[str, Any]:
        """Item of a position ``draw * len(self) + index``; outside training, draw is 0.

        Raises:
            ItemError: the item cannot be used, or, with ``skip_broken``, none of those tried instead.
            IndexError: not a position.
        """
        count = len(self)
        if position < 0 or (not self.is_train and position >= count):
            raise IndexError(f"{position} of {count} items")
        draw, index = divmod(position, count)
        rng = np.random.default_rng((self.seed, draw, index))
        try:
            return self.item(index, rng)
        except ItemError:
            if not self.skip_broken:
                raise
            self._note(index)
        for other in rng.permutation(count)[:100].tolist():
            try:
                return self.item(other, rng)
            except ItemError as error:
                self._note(other)
                last = error
        raise ItemError(f"{last}; nor can any of {min(count, 100)} others be used")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def _note(self, index: int) -> None:
        self.share_broken()
        assert self.broken is not None
        self.broken[index] = 1

    def report_broken(self) -> None:
        """Logs the items that were found broken since the last report."""
        indices = [] if self.broken is None else self.broken.nonzero().flatten().tolist()
        if not indices:
            return
        names = ", ".join(self.name_of(index) for index in indices[:SHOWN])
        more = f" and {len(indices) - SHOWN} more" if len(indices) > SHOWN else ""
        name = self.opt.get("name", type(self).__name__)
        # an error, since processes other than the first log nothing less
        logging.getLogger("basicsr").error(
            "%s: %d of %d items are broken, others were taken instead: %s%s", name, len(indices), len(self), names, more
        )
        assert self.broken is not None
        self.broken.zero_()


class DrawSampler(EnlargedSampler):
    """BasicSR's sampler, with its order, that tells a `DrawnDataset` which draw an index belongs to.

    An epoch is filled up to whole batches: BasicSR drops the rest, and with it the iterations that it counts on. It can
    begin in the middle, for a run that goes on.
    """

    def __init__(self, dataset: Dataset, num_replicas: int, rank: int, ratio: int = 1) -> None:
        super().__init__(dataset, num_replicas, rank, ratio)
        self.passed_over: tuple[int, int] = (-1, 0)
        """Epoch, and how many samples of it, of all processes, are passed over."""
        if isinstance(dataset, DrawnDataset):
            batch = dataset.opt.get("batch_size_per_gpu", 1)
            self.num_samples: int = -(-self.num_samples // batch) * batch
            self.total_size = self.num_samples * num_replicas
            dataset.share_broken()

    def __iter__(self) -> Iterator[int]:
        if not isinstance(self.dataset, DrawnDataset):
            return super().__iter__()
        order = torch.randperm(self.total_size, generator=torch.Generator().manual_seed(self.epoch))
        draws = -(-self.total_size // len(self.dataset))
        epoch, done = self.passed_over
        start = done if epoch == self.epoch else 0
        return iter((order[start:][self.rank :: self.num_replicas] + self.epoch * draws * len(self.dataset)).tolist())

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.report()

    def report(self) -> None:
        if isinstance(self.dataset, DrawnDataset):
            self.dataset.report_broken()


class Reader:
    """Reads and decodes images of folders or LMDB stores, for a data set's workers.

    Args:
        roots: name of a root → folder or store.
        backend: BasicSR's ``io_backend``.
    """

    def __init__(self, roots: dict[str, str], backend: dict[str, Any]) -> None:
        self.roots = roots
        self.stores = {root: os.path.realpath(path) for root, path in roots.items()}
        self.is_lmdb = backend["type"] == "lmdb"
        if backend["type"] not in ("disk", "lmdb"):
            raise DataError(f"io_backend {backend['type']!r}: it may be disk or lmdb")

    def name(self, root: str, path: str) -> str:
        return f"{self.roots[root]}: '{path}'" if self.is_lmdb else path

    def image(self, root: str, path: str) -> Image:
        """Decoded image, ``(H, W, 3)`` BGR.

        Args:
            root: one of the names given.
            path: key in the store, or file.

        Raises:
            ItemError: it is not there, or is damaged.
        """
        image = self._decode_entry(root, path) if self.is_lmdb else _decode(_read(path))
        if image is None:
            raise ItemError(f"{self.name(root, path)}: is damaged or not an image; `basicsr data check` finds all such")
        return image

    def _decode_entry(self, root: str, key: str) -> Image | None:
        try:
            environment = _environment(self.stores[root])
        except lmdb.Error as error:
            raise ItemError(f"{self.roots[root]}: {error}; make the store anew") from error
        with environment.begin(buffers=True) as transaction:  # decoded where it lies
            data = transaction.get(key.encode())
            if data is None:
                raise ItemError(f"{self.roots[root]}: has no key '{key}'; `basicsr data check` finds all such")
            return _decode(data)


def _environment(store: str) -> lmdb.Environment:
    """A store, opened once by each process: LMDB allows no second time, and no use after a fork."""
    if store in _environments and _environments[store][0] != os.getpid():
        _environments.pop(store)[1].close()
    if store not in _environments:
        _environments[store] = os.getpid(), lmdb.open(store, readonly=True, lock=False, readahead=False)
    return _environments[store][1]


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (pathlib costs as much as a small image)
            return file.read()
    except OSError as error:
        raise ItemError(f"{path}: {error.strerror}") from error


def _decode(data: bytes | memoryview) -> Image | None:
    if not len(data):
        return None
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)  # type: ignore[return-value]
    except cv2.error:
        return None


class Crop:
    """A random patch: its place in the LR image, its mirroring and its turning.

    Args:
        rng: what decides.
        shape: height and width of the LR image.
        size: side of the patch in LR pixels.
        opt: ``use_hflip`` and ``use_rot``, as BasicSR's ``augment`` understands them.
    """

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int], size: int, opt: dict[str, Any]) -> None:
        self.top = int(rng.integers(shape[0] - size + 1))
        self.left = int(rng.integers(shape[1] - size + 1))
        self.size = size
        flip, vertical, turn = rng.random(3) < 0.5
        self.flip = flip and opt["use_hflip"]
        self.vertical, self.turn = vertical and opt["use_rot"], turn and opt["use_rot"]

    def of(self, image: NDArray, scale: int) -> NDArray:
        """The patch of an image that is ``scale`` times the LR image, still unturned: a view."""
        y, x, size = self.top * scale, self.left * scale, self.size * scale
        return image[y : y + size, x : x + size]

    def turned(self, patch: NDArray) -> NDArray:
        """A patch, mirrored and turned: a view."""
        patch = patch[:, ::-1] if self.flip else patch
        patch = patch[::-1] if self.vertical else patch
        return patch.transpose(1, 0, 2) if self.turn else patch


def to_tensor(image: NDArray, opt: dict[str, Any]) -> Tensor:
    """``(H, W, 3)`` BGR, uint8 or float32 in 0…1, to ``(3, H, W)`` RGB in 0…1, or ``(1, H, W)`` with ``color: y``.

    With ``mean`` and ``std`` in the options, normalized by them.
    """
    if opt.get("color") == "y":
        values = image.astype(np.float32) / 255 if image.dtype == np.uint8 else image
        tensor = torch.from_numpy(np.ascontiguousarray(bgr2ycbcr(values, y_only=True))[None].astype(np.float32))
    else:
        tensor = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
        if image.dtype == np.uint8:
            tensor = tensor.float().div_(255)
    mean, std = opt.get("mean"), opt.get("std")
    if mean is not None or std is not None:
        per_channel = (-1, 1, 1)
        tensor = (tensor - torch.tensor(mean or 0.0).view(per_channel)) / torch.tensor(std or 1.0).view(per_channel)
    return tensor
