"""Image files to larger image files: in bounded memory, with all that they hold, written whole or not at all."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np
from torch import Tensor
from tqdm import tqdm

from ..data.build import Outcome
from ..data.images import ImageError
from ..utils.errors import UserError, in_one_line
from ..utils.files import FULL, OutOfSpace, replacing
from . import bands, formats, video
from .behind import Writing
from .compare import compare
from .formats import Page, Pages
from .metadata import Metadata, of_larger
from .pictures import Frame, Picture, Pixels, open_picture
from .sources import Job
from .upscaler import Progress, Result, Upscaler, as_float


@dataclass(frozen=True)
class Wish:
    """How images are to be made larger."""

    channels: int = 3
    """Of the network, 1 or 3."""
    scale: float | None = None
    """Other than the network's: its output is resized."""
    max_side: int | None = None
    """Longest side of an output, in pixels; what would be larger is resized."""
    quality: int | None = None
    """1 to 100, of JPEG, WebP and AVIF."""
    origin: str | None = None
    """What made the images, to be written into their metadata; None leaves metadata out, but for the profile."""
    overwrite: bool = False
    """Make again what is there."""
    compare: bool = False
    """Also make a picture of each image beside bicubic resizing."""

    def size(self, height: int, width: int, by_network: int) -> tuple[int, int]:
        """Height and width of the output for an image."""
        scale = self.scale or by_network
        if self.max_side:
            scale = min(scale, self.max_side / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))


@dataclass(frozen=True)
class Watch:
    """Who is told how the work goes, in place of the terminal."""

    progress: Progress
    """Called with the share that is done of all pixels, 0 to 1. Whatever it raises ends the work; nothing half-written
    is left."""
    say: Callable[[str], object]
    """Called with a line about an image."""


def upscale_files(
    upscalers: Sequence[Upscaler], jobs: Sequence[Job], wish: Wish, watch: Watch | None = None
) -> Outcome:
    """Upscales images, with one progress bar over all their pixels on standard error.

    While one image goes through the network, the next is read and the last is written. An image that cannot be used
    or upscaled is named at once, and the others are done.

    Args:
        upscalers: each works in a thread of its own, on the next image that is left. Their ``report`` should write
            with `say`.
        jobs: as `hat_arch.inference.sources.plan` gives them.
        wish: how.
        watch: is told, in place of the terminal.

    Raises:
        OutOfSpace: the disk is full.
    """
    todo = [job for job in jobs if wish.overwrite or job.standard_output or not job.target.is_file()]
    run = _Run(todo, wish, upscalers[0].scale, Outcome(there_already=len(jobs) - len(todo)), watch)
    with run.bar:
        if len(upscalers) == 1:
            run.work(upscalers[0])
            return run.outcome
        with ThreadPoolExecutor(len(upscalers)) as pool:
            workers = [pool.submit(run.work, upscaler) for upscaler in upscalers]
            try:
                for worker in as_completed(workers):
                    worker.result()
            except BaseException:
                run.stopped = True
                raise
    return run.outcome


def say(line: str) -> None:
    """A line on standard error, above the progress bar."""
    tqdm.write(f"basicsr: {line}", file=sys.stderr)


class _Stopped(BaseException):
    """Another worker has ended the run."""


class _Run:
    """The work that is left, and what has come of it; several workers may share it."""

    def __init__(self, todo: Sequence[Job], wish: Wish, scale: int, outcome: Outcome, watch: Watch | None) -> None:
        self.left = deque(todo)
        self.wish = wish
        self.scale = scale  # of the network
        self.outcome = outcome
        self.watch = watch
        self.say = watch.say if watch else say
        self.stopped = False
        self.lock = threading.Lock()
        self.total = sum(job.pixels for job in todo)
        self.done = 0  # pixels
        terminal = sys.stderr.isatty()
        self.bar = tqdm(
            total=self.total,
            desc="upscale" if scale > 1 else "restore",
            unit="px",
            unit_scale=True,
            dynamic_ncols=terminal,
            mininterval=0.2 if terminal else 30,
            disable=not todo or watch is not None,
        )

    def work(self, upscaler: Upscaler) -> None:
        """Does what is left: reads one image ahead, and lets the last be written meanwhile."""
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            finishing: tuple[Job, Future[None]] | None = None
            ahead = self.read_next(reader)
            while ahead is not None:
                job, reading = ahead
                picture = reading.result()
                ahead = self.read_next(reader)
                try:
                    if isinstance(picture, Exception):
                        raise picture
                    written = self.upscale(upscaler, job, picture, writer)
                except (OutOfSpace, BrokenPipeError):
                    raise
                except Exception as error:
                    self.note(job, error)
                    self.progress(job)(1)
                    continue
                self.finish(finishing)
                finishing = job, written
            self.finish(finishing)

    def read_next(self, reader: ThreadPoolExecutor) -> tuple[Job, Future[Picture | Exception]] | None:
        """Takes a job, and begins to read its image."""
        with self.lock:
            job = self.left.popleft() if self.left else None
        return None if job is None else (job, reader.submit(_read, job))

    def upscale(self, upscaler: Upscaler, job: Job, picture: Picture, writer: ThreadPoolExecutor) -> Future[None]:
        """Upscales an image; returns when its pixels are computed, and maybe not yet written."""
        if job.target.is_dir():
            raise ImageError(f"{job.target}: is a folder")
        if job.video:
            return self.upscale_video(upscaler, job)
        if picture.count > 1 and job.format not in formats.IN_FRAMES.values():
            others = ", ".join(formats.IN_FRAMES.values())
            raise ImageError(f"{picture.name}: has {picture.count} frames; {job.format} holds one; take {others}")
        progress = self.progress(job)
        if picture.count > 1:
            return self.upscale_frames(upscaler, job, picture, writer, progress)
        frame = next(picture.frames)
        page = self.page(picture, frame, job)

        def write(bands: Iterator[Tensor]) -> Future[None]:
            writing = Writing(writer, partial(_save, job, self.wish.quality))
            try:
                writing.begin(page)
                for rows in self.rows(bands, frame, page):
                    writing.rows(rows)
                writing.end()
            except BaseException as error:
                writing.give_up(error)
                raise
            return writing.done

        return self.compute(upscaler, frame, page, picture.name, write, progress)

    def upscale_frames(
        self, upscaler: Upscaler, job: Job, picture: Picture, writer: ThreadPoolExecutor, progress: Progress
    ) -> Future[None]:
        """Upscales an animation or several pages, one after the other."""
        writing = Writing(writer, partial(_save, job, self.wish.quality))
        try:
            for i, frame in enumerate(picture.frames):
                page = self.page(picture, frame, job)
                done = partial(_part, progress, i, picture.count)
                whole = partial(self.whole, frame, page)
                rows = self.compute(upscaler, frame, page, picture.name, whole, done)
                writing.begin(page)
                writing.rows(rows)
            writing.end()
        except BaseException as error:
            writing.give_up(error)
            raise
        return writing.done

    def upscale_video(self, upscaler: Upscaler, job: Job) -> Future[None]:
        """Upscales a video: frames are computed and encoded one after the other."""
        height, width = self.wish.size(job.height, job.width, self.scale)
        progress = self.progress(job)

        def enlarge(frame: Frame, number: int) -> Pixels:
            page = Page(height, width, 3, 8, Metadata())
            done = partial(_part, progress, min(number, job.frames - 1), job.frames)
            return self.compute(upscaler, frame, page, str(job.source), partial(self.whole, frame, page), done)

        video.upscale_video(job.source, job.target, height, width, enlarge)
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def compute(
        self,
        upscaler: Upscaler,
        frame: Frame,
        page: Page,
        name: str,
        use: Callable[[Iterator[Tensor]], Result],
        progress: Progress,
    ) -> Result:
        """What ``use`` makes of the bands of the larger image, or of the image itself if it is to become smaller."""
        images = bands.to_network(frame, self.wish.channels, name)
        if not self.enlarges(frame, page):
            return use(iter([as_float(images)]))
        return upscaler.in_bands(images, use, progress)

    def rows(self, larger: Iterator[Tensor], frame: Frame, page: Page) -> Iterator[Pixels]:
        """Rows to write, of bands of the larger image."""
        scale = self.scale if self.enlarges(frame, page) else 1
        height, width = (side * scale for side in frame.pixels.shape[:2])
        if frame.alpha is not None:
            larger = bands.bounded_alpha(larger, frame.alpha, scale)
        return bands.to_rows(
            bands.resized(larger, height, width, page.height, page.width),
            grey=frame.pixels.ndim == 2,
            bits=page.bits,
            opaque=frame.alpha is None and page.channels in (2, 4),
        )

    def enlarges(self, frame: Frame, page: Page) -> bool:
        """Whether the network is needed, or the image is only to become smaller."""
        return page.height > frame.pixels.shape[0] or page.width > frame.pixels.shape[1] or self.scale == 1

    def whole(self, frame: Frame, page: Page, larger: Iterator[Tensor]) -> Pixels:
        return np.concatenate(list(self.rows(larger, frame, page)))

    def page(self, picture: Picture, frame: Frame, job: Job) -> Page:
        """What is to be written of a frame."""
        height, width = self.wish.size(frame.pixels.shape[0], frame.pixels.shape[1], self.scale)
        animated = picture.count > 1 and picture.format != "TIFF"
        alpha = frame.alpha is not None or animated
        if frame.alpha is not None and job.format in formats.OPAQUE:
            raise ImageError(f"{picture.name}: is transparent, which {job.format} cannot be; take --format png or webp")
        for note in picture.notes:
            self.say(f"{picture.name}: {note}")
        picture.notes.clear()
        return Page(
            height,
            width,
            channels=(1 if frame.pixels.ndim == 2 else 3) + alpha,
            bits=16 if frame.pixels.dtype == np.uint16 and job.format in formats.DEEP else 8,
            metadata=of_larger(picture.metadata, height, width, self.wish.origin),
            count=picture.count,
            plays=picture.plays,
            milliseconds=frame.milliseconds,
        )

    def progress(self, job: Job) -> Progress:
        """Moves the bar by the share that is done of a job; never back, if an image begins again."""
        done = 0

        def advance(share: float) -> None:
            nonlocal done
            if self.stopped:
                raise _Stopped
            now = max(done, round(share * job.pixels))
            with self.lock:
                self.done += now - done
                self.bar.update(now - done)
            done = now
            if self.watch:
                self.watch.progress(self.done / max(1, self.total))

        return advance

    def finish(self, finishing: tuple[Job, Future[None]] | None) -> None:
        """Waits until an image is written."""
        if finishing is None:
            return
        job, written = finishing
        try:
            written.result()
            if self.wish.compare:
                compare(job)
        except (OutOfSpace, BrokenPipeError):
            raise
        except Exception as error:
            self.note(job, error)
        else:
            with self.lock:
                self.outcome.written += 1

    def note(self, job: Job, error: Exception) -> None:
        """Names an image that could not be done."""
        if isinstance(error, ImageError):
            line = str(error)
        elif isinstance(error, UserError):
            line = f"{job.source}: {error}"
        elif isinstance(error, OSError):
            line = f"{error.filename or job.source}: {error.strerror or error}"
        else:
            size = f"{job.height}x{job.width}"
            line = f"{job.source}: cannot be upscaled by this network at {size} ({in_one_line(error)})"
        with self.lock:
            self.outcome.bad.append(line)
        self.say(line)


def _part(progress: Progress, first: int, count: int, share: float) -> None:
    progress((first + share) / count)


def _read(job: Job) -> Picture | Exception:
    """Opens a picture, and decodes its first frame already; or the error that this has raised."""
    try:
        if job.video:
            height, width, _ = video.peek_video(job.source)
            return Picture(str(job.source), "video", (height, width), 1, iter(()))
        name = "standard input" if job.standard_input else str(job.source)
        picture = open_picture(sys.stdin.buffer.read() if job.standard_input else job.source, name)
        if picture.count == 1:
            picture.frames = iter(list(picture.frames))  # so that what it was decoded from is freed
        else:
            picture.frames = chain([next(picture.frames)], picture.frames)
    except Exception as error:
        return error
    return picture


def _save(job: Job, quality: int | None, pages: Pages) -> None:
    if not job.standard_output:
        with replacing(job.target) as file:
            formats.save(file, str(job.target), job.format, pages, quality)
        return
    with tempfile.TemporaryFile() as file:
        formats.save(file, "standard output", job.format, pages, quality)
        file.seek(0)
        try:
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except OSError as error:
            if error.errno in FULL:
                raise OutOfSpace("standard output: no space left on the disk") from error
            raise
