"""Runs one function over many images on all cores, with a progress bar and in bounded memory."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch
from tqdm import tqdm

from ..utils.machine import cores
from .images import ImageError

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_images(
    function: Callable[[Item], Result], items: Collection[Item], bad: list[str], label: str
) -> Iterator[tuple[Item, Result]]:
    """Calls ``function`` with every item, in threads; yields items and results in the items' order.

    Threads are enough, since OpenCV, Pillow, torch and hashlib release the GIL. At most twice as many results as there
    are cores are in memory. When the caller stops iterating, or an error is raised, no thread is left running.

    Args:
        function: what to call.
        items: what to call it with, such as files.
        bad: receives the message of each `ImageError`; such items are not yielded. Other errors are raised.
        label: what the progress bar on standard error is called.
    """
    running: deque[tuple[Item, Future[Result]]] = deque()
    terminal = sys.stderr.isatty()
    interval = 0.2 if terminal else 30  # seconds
    bar = tqdm(total=len(items), desc=label, unit="image", dynamic_ncols=terminal, mininterval=interval)
    pool = ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,))

    def first_result() -> Iterator[tuple[Item, Result]]:
        item, future = running.popleft()
        bar.update()
        try:
            yield item, future.result()
        except ImageError as error:
            bad.append(str(error))

    try:
        for item in items:
            running.append((item, pool.submit(function, item)))
            if len(running) >= 2 * cores():
                yield from first_result()
        while running:
            yield from first_result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        bar.close()
