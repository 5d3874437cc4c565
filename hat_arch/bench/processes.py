"""Processes of their own for what is measured, so that no candidate works on a heap that another has left behind."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from .measure import BenchmarkError

T = TypeVar("T")
LEAVING_SECONDS = 10  # that a process has to clean up


class Worker:
    """An object in a new Python process, whose methods are called from here. Use it in a ``with`` statement.

    The process ends with its block, also on Ctrl-C; between calls it waits.

    Args:
        make: makes the object there; a module-level function or class.
        args: of ``make``; they must pickle, as arguments and results of the methods must.
    """

    def __init__(self, make: Callable[..., object], *args: object) -> None:
        context = get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, args), daemon=True)
        self._process.start()
        theirs.close()

    def call(self, method: str, *args: object) -> Any:
        """Calls a method of the object, once that is made, and waits for its result.

        Raises:
            BenchmarkError: the process died. What the method, or making the object, raises is raised here too.
        """
        try:
            self._connection.send((method, args))
            result, error = self._connection.recv()
        except (EOFError, ConnectionError) as ended:
            raise BenchmarkError(
                "the measuring process was killed, perhaps for want of memory; try smaller sizes"
            ) from ended
        if error is not None:
            raise error
        return result

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()
        if exception[0] is None:
            self._process.join(LEAVING_SECONDS)
        self._process.kill()
        self._process.join()


def in_fresh_process(function: Callable[..., T], *args: object) -> T:
    """``function(*args)`` in a new process; a module-level function with arguments that pickle.

    Raises:
        BenchmarkError: the process died. What ``function`` raises is raised here too.
    """
    with Worker(partial, function, *args) as worker:
        return worker.call("__call__")


def _serve(connection: Connection, make: Callable[..., object], args: tuple[object, ...]) -> None:
    """Answers calls until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    made: list[object] = []
    while True:
        try:
            method, arguments = connection.recv()
        except EOFError:
            return
        try:
            made = made or [make(*args)]
            connection.send((getattr(made[0], method)(*arguments), None))
        except Exception as error:
            connection.send((None, error))
