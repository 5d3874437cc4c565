"""What the training data sets share: random choices that depend on seed, epoch and image alone, and broken images.

BasicSR seeds its loader's workers with the same numbers in every epoch, so all epochs cut the same patches, and which
ones depends on the number of workers. Here the random generator of an item is seeded with ``(seed, draw, index)``. The
*draw* counts how often the data set was gone through before: once an epoch, or several times where
``dataset_enlarge_ratio`` repeats it. The sampler passes it to the workers within the position, ``draw * len(dataset) +
index``. So samples depend neither on workers nor on GPUs, and workers may live on from epoch to epoch.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from basicsr.data.data_sampler import EnlargedSampler
from torch import Tensor
from torch.utils.data import Dataset

from .images import DataError, ImageError

NAMED = 10  # broken items that a report names
REPLACEMENTS = 100  # items tried in place of a broken one


class ItemError(DataError):
    """One item of a data set cannot be used; the message names its file or key."""

    def __init__(self, message: str) -> None:
        # a loader's worker passes an error on with its whole traceback as the message; this is its last line
        super().__init__(message.rpartition("ItemError: ")[2].strip())


class DrawnDataset(Dataset):
    """Base of data sets with random items. Subclasses give `__len__`, `name_of` and `item`.

    Options: ``seed`` (by default the run's) and ``skip_broken``: whether an item that cannot be used is replaced by
    another one and reported at the end of the epoch, instead of ending the run.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.seed = int(opt.get("seed", 0))
        self.is_train = opt.get("phase") == "train"
        self.skip_broken = bool(opt.get("skip_broken", False))
        self.broken: Tensor | None = None
        """1 for each item that was found broken, in memory that all workers share."""

    def __len__(self) -> int:
        raise NotImplementedError

    def name_of(self, index: int) -> str:
        """File or key of an item."""
        raise NotImplementedError

    def item(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        """Item ``index``; what is random about it comes from ``rng``. Raises `ImageError`."""
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
        except ImageError as error:
            if not self.skip_broken:
                raise ItemError(str(error)) from error
            self._note_broken(index)
        for other in rng.permutation(count)[:REPLACEMENTS].tolist():
            try:
                return self.item(other, rng)
            except ImageError as error:
                self._note_broken(other)
                last = error
        raise ItemError(f"{last}; nor can any of {min(count, REPLACEMENTS)} others be used")

    def _note_broken(self, index: int) -> None:
        self.share_broken()
        assert self.broken is not None
        self.broken[index] = 1

    def report_broken(self) -> None:
        """Logs the items that were found broken since the last report."""
        if self.broken is None or not self.broken.any():
            return
        indices = self.broken.nonzero().flatten().tolist()
        self.broken.zero_()
        names = ", ".join(self.name_of(index) for index in indices[:NAMED])
        more = f" and {len(indices) - NAMED} more" if len(indices) > NAMED else ""
        of = f"{self.opt.get('name', type(self).__name__)}: {len(indices)} of {len(self)} items"
        # an error, since processes other than the first log nothing less
        logging.getLogger("basicsr").error("%s are broken, others were taken instead: %s%s", of, names, more)


class DrawSampler(EnlargedSampler):
    """BasicSR's sampler, in its order, which passes a `DrawnDataset` the draw with each index.

    With the data set's ``use_shuffle: false`` it is the data set's own order.

    It fills an epoch up to whole batches, where BasicSR drops the last samples, and with them iterations that it counts
    on. It can begin in the middle of an epoch, for a run that goes on.
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
        shuffled = getattr(self.dataset, "opt", {}).get("use_shuffle", True)
        if not isinstance(self.dataset, DrawnDataset):
            own = range(self.rank, self.total_size, self.num_replicas)
            return super().__iter__() if shuffled else (index % len(self.dataset) for index in own)
        generator = torch.Generator().manual_seed(self.epoch)
        order = torch.randperm(self.total_size, generator=generator) if shuffled else torch.arange(self.total_size)
        draws = -(-self.total_size // len(self.dataset))
        epoch, done = self.passed_over
        start = done if epoch == self.epoch else 0
        return iter((order[start:][self.rank :: self.num_replicas] + self.epoch * draws * len(self.dataset)).tolist())

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.report()

    def report(self) -> None:
        """Logs what was found broken; at the end of each epoch, and to be called at the end of the run."""
        if isinstance(self.dataset, DrawnDataset):
            self.dataset.report_broken()
