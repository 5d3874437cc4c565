"""Runs one function over many images: all cores, bounded memory, progress, and a stop that leaves nothing running."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from tqdm import tqdm

from ..utils.machine import cores
from .images import ImageError

Item = TypeVar("Item")
Result = TypeVar("Result")


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    bad: list[str],
    workers: int | None = None,
    label: str = "",
    unit: str = "image",
) -> Iterator[tuple[Item, Result]]:
    """Yields items and results in order. Threads are enough: OpenCV, Pillow, torch and hashlib release the GIL.

    At most twice as many items as workers are in memory.

    Args:
        function: called in worker threads.
        items: what to call it with.
        bad: receives the message of each `ImageError`; such items are not yielded. Other errors are raised.
        workers: threads; by default one a core.
        label: name of the progress bar, which is shown on standard error; none without it.
        unit: what the bar counts.
    """
    workers = workers or cores()
    total = len(items) if isinstance(items, Sized) else None
    terminal = sys.stderr.isatty()
    bar = tqdm(
        total=total,
        desc=label,
        unit=unit,
        disable=not label,
        dynamic_ncols=terminal,
        mininterval=0.2 if terminal else 30,
    )
    pending: deque[tuple[Item, Future[Result]]] = deque()
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))

    def finished() -> Iterator[tuple[Item, Result]]:
        item, future = pending.popleft()
        bar.update()
        try:
            yield item, future.result()
        except ImageError as error:
            bad.append(str(error))

    try:
        for item in items:
            pending.append((item, pool.submit(function, item)))
            if len(pending) >= 2 * workers:
                yield from finished()
        while pending:
            yield from finished()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        bar.close()
