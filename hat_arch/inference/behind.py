"""Writing that goes on in a thread while the next image is computed."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from .formats import Page, Pages
from .pictures import Pixels

AHEAD = 2  # bands that may wait to be written
SECONDS = 0.2  # after which it is seen that the writer has failed


class Writing:
    """An image file that is being written in another thread, from what is put here.

    Args:
        pool: of one thread, so that one file is written at a time.
        save: takes all pages, and returns when the file is complete.
    """

    def __init__(self, pool: ThreadPoolExecutor, save: Callable[[Pages], None]) -> None:
        self._items: queue.Queue[Any] = queue.Queue(AHEAD)
        self.done: Future[None] = pool.submit(save, self._pages())

    def begin(self, page: Page) -> None:
        """Begins a page; its rows follow by `rows`."""
        self._put(page)

    def rows(self, rows: Pixels) -> None:
        """Adds rows.

        Raises:
            Whatever writing has raised.
        """
        self._put(rows)

    def end(self) -> None:
        """All has been put; ``done`` says when it is written."""
        self._put(None)

    def give_up(self, why: BaseException) -> None:
        """Makes ``save`` fail with ``why``, and waits until it has tidied up."""
        while not self.done.done():
            try:
                self._items.put(why, timeout=SECONDS)
                break
            except queue.Full:
                continue
        self.done.exception()

    def _put(self, item: Any) -> None:
        while True:
            try:
                return self._items.put(item, timeout=SECONDS)
            except queue.Full:
                if self.done.done():
                    self.done.result()
                    raise RuntimeError("the writer has stopped early") from None

    def _get(self) -> Any:
        item = self._items.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def _pages(self) -> Pages:
        item = self._get()

        def rows() -> Iterator[Pixels]:
            nonlocal item
            while not isinstance(item := self._get(), Page | None):
                yield item

        while item is not None:
            page = item
            yield page, rows()
