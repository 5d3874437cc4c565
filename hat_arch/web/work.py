"""Pictures that wait: a queue of bounded length, and one thread that makes them larger, one after the other."""

from __future__ import annotations

import contextlib
import logging
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from .limits import Limits, Refused
from .networks import Settings
from .sessions import Session
from .uploads import Upload

State = Literal["uploading", "waiting", "working", "done", "failed", "stopped"]
ACTIVE = ("uploading", "waiting", "working")
LOG = logging.getLogger(__name__)


class Stopped(BaseException):
    """The visitor wants the picture no longer, or the server ends. What handles errors does not take it."""


@dataclass(eq=False)
class Job:
    """A picture of a visitor, from its upload on."""

    session: Session[Job]
    name: str
    """As the visitor calls it."""
    settings: Settings
    folder: Path
    """Its own; all its files lie there."""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: State = "uploading"
    upload: Upload | None = None
    size: tuple[int, int] = (0, 0)
    """Height and width of what becomes of it."""
    bytes: int = 0
    """On the disk: at first as many as may come, at last as many as there are."""
    share: float = 0.0
    """That is done."""
    expected: float | None = None
    """Seconds for all of it."""
    began: float = 0.0
    seconds: float = 0.0
    result: Path | None = None
    views: dict[str, Path] = field(default_factory=dict)
    """``thumb``, ``before``, ``after``: files that a browser can show."""
    notes: list[str] = field(default_factory=list)
    error: dict[str, Any] | None = None
    stop: threading.Event = field(default_factory=threading.Event)

    @property
    def source(self) -> Path:
        assert self.upload is not None
        return self.folder / f"original{self.upload.suffix}"

    @property
    def active(self) -> bool:
        return self.state in ACTIVE

    def elapsed(self) -> float:
        """Seconds that it has been worked on."""
        return time.monotonic() - self.began

    def seconds_left(self) -> float | None:
        """Of the work that goes on; None where nothing tells."""
        whole = self.elapsed() / self.share if self.share > 0.05 else self.expected
        return None if whole is None else max(0.0, whole - self.elapsed())


class Work:
    """The queue, and the thread that works on it.

    Args:
        limits: of the queue and of the disk.
        folder: for the files of all pictures.
        make: makes a picture larger, and fills in its job. It asks ``job.stop``, and raises `Stopped` if that is set.
    """

    def __init__(self, limits: Limits, folder: Path, make: Callable[[Job], None]) -> None:
        self.limits = limits
        self.folder = folder
        self.make = make
        self.jobs: list[Job] = []
        """Of all visitors, the oldest first."""
        self.served: dict[str, float] = {}
        """Session → when a picture of it was begun last."""
        self.changed = threading.Condition()
        self.ending = False
        self.thread = threading.Thread(target=self._run, name="upscaling", daemon=True)

    def enter(self, session: Session[Job], name: str, settings: Settings, bytes: int) -> Job:
        """A place in the queue for a picture that is about to be uploaded.

        Args:
            bytes: as many as the picture and its result may take on the disk.

        Raises:
            Refused: there is none.
        """
        with self.changed:
            theirs = [job for job in self.jobs if job.session is session]
            if sum(job.active for job in self.jobs) >= self.limits.waiting or self.ending:
                raise Refused(503, "queue_full", retry_after=3)
            if sum(job.active for job in theirs) >= self.limits.waiting_each:
                raise Refused(429, "queue_full_yours", retry_after=3, limit=self.limits.waiting_each)
            if len(theirs) >= self.limits.history:
                raise Refused(429, "history_full", limit=self.limits.history)
            job = Job(session, name, settings, self.folder)
            job.folder = self.folder / job.id
            self._reserve(job, bytes)
            self.jobs.append(job)
            session.items[job.id] = job
        job.folder.mkdir(mode=0o700)
        return job

    def reserve(self, job: Job, bytes: int) -> None:
        """Changes what a job may take on the disk.

        Raises:
            Refused: there is not so much left for the visitor, or for all.
        """
        with self.changed:
            self._reserve(job, bytes)

    def _reserve(self, job: Job, bytes: int) -> None:
        others = [other for other in self.jobs if other is not job]
        theirs = sum(other.bytes for other in others if other.session is job.session)
        if theirs + bytes > self.limits.session_bytes:
            unsure = any(other.active for other in others)  # they may take less than what is kept for them
            raise Refused(429, "disk_yours", retry_after=5 if unsure else None, limit=self.limits.session_bytes)
        if sum(other.bytes for other in others) + bytes > self.limits.total_bytes:
            raise Refused(503, "disk_full", retry_after=60)
        job.bytes = bytes

    def uploaded(self, job: Job) -> None:
        """The picture is there, and waits."""
        with self.changed:
            if job.state == "uploading":
                job.state = "waiting"
            self.changed.notify_all()

    def stop(self, job: Job) -> None:
        """Takes a picture out of the queue, or ends the work on it."""
        with self.changed:
            job.stop.set()
            if job.state in ("uploading", "waiting"):
                job.state = "stopped"
                self._delete_files(job)

    def remove(self, job: Job) -> None:
        """Forgets a picture, and deletes its files."""
        self.stop(job)
        with self.changed:
            job.session.items.pop(job.id, None)
            if job.state != "working":  # else the thread removes it when it has let go of it
                self._remove(job)

    def _remove(self, job: Job) -> None:
        with contextlib.suppress(ValueError):
            self.jobs.remove(job)
        self._delete_files(job)

    def _delete_files(self, job: Job) -> None:
        shutil.rmtree(job.folder, ignore_errors=True)
        job.bytes, job.result = 0, None
        job.views.clear()

    def forget(self, session: Session[Job]) -> None:
        """Removes all of a visitor."""
        for job in list(session.items.values()):
            self.remove(job)
        self.served.pop(session.id, None)

    def ahead(self, job: Job) -> list[Job]:
        """The jobs that come before one that waits."""
        with self.changed:
            order = [other for other in self.jobs if other.state == "working"]
            return [*order, *self._order(until=job)]

    def _order(self, until: Job | None = None) -> Iterator[Job]:
        """Those that wait, in the order in which they will be done: each visitor in turn."""
        waiting = [job for job in self.jobs if job.state == "waiting"]
        served = dict(self.served)
        turn = time.monotonic()
        while waiting:
            job = min(waiting, key=lambda job: served.get(job.session.id, 0.0))  # the first of equals is the oldest
            if job is until:
                return
            yield job
            waiting.remove(job)
            turn += 1
            served[job.session.id] = turn

    # the thread

    def start(self) -> None:
        self.thread.start()

    def end(self, seconds: float = 30) -> None:
        """Stops what is being done, and waits for the thread."""
        with self.changed:
            self.ending = True
            for job in self.jobs:
                job.stop.set()
            self.changed.notify_all()
        self.thread.join(seconds)

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                self.make(job)
                state: State = "done"
            except Stopped:
                state = "stopped"
            except Refused as refused:
                job.error, state = refused.content(), "failed"
            except Exception:
                LOG.exception("a picture could not be made larger")
                job.error, state = {"code": "server"}, "failed"
            with self.changed:
                job.seconds = job.elapsed()
                job.state = "stopped" if job.stop.is_set() else state
                if job.state != "done":
                    self._delete_files(job)
                if job.id not in job.session.items:
                    self._remove(job)

    def _next(self) -> Job | None:
        with self.changed:
            while not self.ending:
                if (job := next(self._order(), None)) is not None:
                    job.state = "working"
                    job.began = self.served[job.session.id] = time.monotonic()
                    return job
                self.changed.wait()
        return None
