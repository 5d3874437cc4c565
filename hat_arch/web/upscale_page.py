"""The page that makes pictures larger: what a browser asks for, and what it is answered."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import unicodedata
import zipfile
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any

import anyio
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from ..data import demo
from ..data.images import encode
from ..utils.files import FULL
from . import uploads
from .limits import Limits, Refused
from .networks import Networks
from .pages import STATIC, entrance, page, refuse
from .sessions import Session, Sessions
from .upscaling import upscale
from .work import Job, Work

EXAMPLES = (*demo.HELD_OUT, "chelsea")
NAME = 120  # letters of a file's name
TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".gif": "image/gif"}
TYPES |= {".tif": "image/tiff", ".avif": "image/avif"}
HOUSEKEEPING_SECONDS = 15
BYTES_PER_PIXEL = 4  # of a result, about; noise in RGB takes 3, in 16 bits 6


class UpscalePage:
    """The application, and what it keeps.

    Args:
        networks: the models that are offered.
        limits: for visitors.
        folder: for their pictures; the caller deletes it.
        token: that visitors must know; None: none.
    """

    def __init__(self, networks: Networks, limits: Limits, folder: Path, token: str | None = None) -> None:
        self.networks = networks
        self.limits = limits
        self.sessions: Sessions[Job] = Sessions(limits, token)
        self.work = Work(limits, folder, functools.partial(upscale, networks=networks))
        self.checking = anyio.CapacityLimiter(1)  # uploads are looked at one by one, so that memory is bounded
        self.app = Starlette(
            routes=[
                Route("/", page("upscale.html")),
                Mount("/static", STATIC),
                Route("/api/session", entrance(self.sessions), methods=["POST"]),
                Route("/api/setup", self.setup),
                Route("/api/examples/{name}", self.example),
                Route("/api/pictures", self.pictures),
                Route("/api/pictures", self.upload, methods=["POST"]),
                Route("/api/pictures/{id}", self.remove, methods=["DELETE"]),
                Route("/api/pictures/{id}/stop", self.stop, methods=["POST"]),
                Route("/api/pictures/{id}/{view}", self.view),
                Route("/api/all.zip", self.all),
            ],
            exception_handlers={Refused: refuse},
            lifespan=self.lifespan,
        )

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Works while the server runs."""
        self.work.start()
        housekeeping = asyncio.create_task(self.keep_house())
        try:
            yield
        finally:
            housekeeping.cancel()
            await to_thread.run_sync(self.work.end)

    async def keep_house(self) -> None:
        """Deletes what visitors who have gone have left."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            for session in self.sessions.ended():
                if not any(job.active for job in session.items.values()):
                    self.work.forget(session)
                    self.sessions.by_id.pop(session.id, None)

    # what there is

    async def setup(self, request: Request) -> Response:
        self.sessions.of(request)
        limits = self.limits
        shown = {name: getattr(limits, name) for name in ("upload_bytes", "pixels", "keep_seconds", "waiting_each")}
        content = {**self.networks.describe(), "limits": shown, "examples": EXAMPLES, "version": version("hat-arch")}
        return JSONResponse(content)

    async def example(self, request: Request) -> Response:
        self.sessions.of(request)
        name = request.path_params["name"]
        if name not in EXAMPLES:
            raise Refused(404, "not_found")
        return Response(await to_thread.run_sync(example, name), media_type="image/png")

    async def pictures(self, request: Request) -> Response:
        session = self.sessions.of(request)
        jobs = list(session.items.values())
        return JSONResponse({"pictures": [self.describe(job) for job in jobs if job.state != "uploading"]})

    def describe(self, job: Job) -> dict[str, Any]:
        """What the page shows of a picture."""
        assert job.upload is not None
        told: dict[str, Any] = {
            "id": job.id,
            "name": job.name,
            "state": job.state,
            "model": job.settings.model,
            "scale": job.settings.scale,
            "before": [job.upload.width, job.upload.height],
            "after": [job.size[1], job.size[0]],
            "frames": job.upload.frames,
            "error": job.error,
            "notes": job.notes,
        }
        if job.state == "waiting":
            ahead = self.work.ahead(job)
            times = [self.seconds_left(other) for other in ahead]
            told["ahead"] = len(ahead)
            told["seconds_left"] = None if None in times else sum(time for time in times if time is not None)
        elif job.state == "working":
            left = self.seconds_left(job)
            whole = None if left is None else max(1e-9, job.elapsed() + left)
            told["seconds_left"] = left
            told["share"] = max(job.share, 0.0 if whole is None else min(0.95, job.elapsed() / whole))
        elif job.state == "done" and job.result is not None:
            told |= {"seconds": job.seconds, "bytes": job.result.stat().st_size, "file": result_name(job)}
        return told

    def seconds_left(self, job: Job) -> float | None:
        """Of work on a picture; None where nothing tells."""
        if job.state == "working":
            return job.seconds_left()
        assert job.upload is not None
        return self.networks.seconds(job.settings, job.upload.pixels)

    # a picture comes in

    async def upload(self, request: Request) -> Response:
        """Takes in a picture, as the body of a request whose query holds its name and settings."""
        session = self.sessions.of(request)
        body = request.stream()
        try:
            settings = self.networks.settings(request.query_params)
            length = int(request.headers.get("content-length", self.limits.upload_bytes))
            if length > self.limits.upload_bytes:
                raise Refused(413, "bytes", limit=self.limits.upload_bytes)
            job = self.work.enter(session, clean(request.query_params.get("name", "")), settings, 2 * length)
        except Refused as refused:
            await self.drain(body)
            raise refused
        try:
            await self.receive(body, job)
        except BaseException as error:
            self.work.remove(job)
            if isinstance(error, Refused):
                await self.drain(body)
            raise
        self.work.uploaded(job)
        return JSONResponse(self.describe(job), 202)

    async def receive(self, body: AsyncIterator[bytes], job: Job) -> None:
        """Stores the body of a request, and looks at it."""
        arriving = job.folder / "upload"
        try:
            with anyio.fail_after(self.limits.upload_seconds), arriving.open("wb") as file:
                async for chunk in body:
                    if file.tell() + len(chunk) > self.limits.upload_bytes:
                        raise Refused(413, "bytes", limit=self.limits.upload_bytes)
                    file.write(chunk)
        except TimeoutError:
            raise Refused(408, "upload_slow") from None
        except ClientDisconnect:
            raise Refused(400, "upload_broken") from None
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise Refused(503, "disk_full", retry_after=60) from error
        job.upload = await to_thread.run_sync(
            uploads.check, arriving, job.name, self.limits, limiter=self.checking, abandon_on_cancel=False
        )
        scale = job.settings.scale
        job.size = max(1, round(job.upload.height * scale)), max(1, round(job.upload.width * scale))
        pixels = round(job.upload.pixels * scale**2)
        uploads.check_pixels(pixels, self.limits, "result_pixels")
        self.work.reserve(job, arriving.stat().st_size + BYTES_PER_PIXEL * pixels)
        arriving.rename(job.source)

    async def drain(self, body: AsyncIterator[bytes]) -> None:
        """Reads what is still being sent: a browser that is answered earlier may not look at the answer."""
        left = 2 * self.limits.upload_bytes
        with contextlib.suppress(ClientDisconnect), anyio.move_on_after(self.limits.upload_seconds):
            async for chunk in body:
                if (left := left - len(chunk)) < 0:
                    return

    # a picture, and all

    def job(self, request: Request) -> tuple[Session[Job], Job]:
        """The visitor's picture that a request is about."""
        session = self.sessions.of(request)
        job = session.items.get(request.path_params["id"])
        if job is None or job.upload is None:
            raise Refused(404, "not_found")
        return session, job

    async def stop(self, request: Request) -> Response:
        _, job = self.job(request)
        self.work.stop(job)
        return JSONResponse(self.describe(job))

    async def remove(self, request: Request) -> Response:
        _, job = self.job(request)
        self.work.remove(job)
        return Response(status_code=204)

    async def view(self, request: Request) -> Response:
        _, job = self.job(request)
        view = request.path_params["view"]
        if view == "result" and job.result is not None:
            return FileResponse(job.result, media_type=TYPES[job.result.suffix], filename=result_name(job))
        if view not in job.views:
            raise Refused(404, "not_found")
        file = job.views[view]
        return FileResponse(file, media_type=TYPES[file.suffix], headers={"cache-control": "private, max-age=3600"})

    async def all(self, request: Request) -> Response:
        session = self.sessions.of(request)
        done: dict[str, Path] = {}
        for job in session.items.values():
            if job.result is not None:
                done[apart(result_name(job), done)] = job.result
        if not done:
            raise Refused(404, "nothing_done")
        headers = {"content-disposition": 'attachment; filename="pictures.zip"'}
        return StreamingResponse(zipped(done), media_type="application/zip", headers=headers)


@functools.cache
def example(name: str) -> bytes:
    """A photograph to try, at a quarter of its size, as PNG."""
    small = demo.gt_and_lr(demo.photograph(name))[f"LRx{demo.SCALE}"]
    return encode(small)


def clean(name: str) -> str:
    """A file's name without what could mislead: folders, control characters, and marks of writing direction."""
    name = PurePosixPath(name.replace("\\", "/")).name
    name = "".join(letter for letter in name if unicodedata.category(letter)[0] != "C")
    if len(name) > NAME:
        stem, suffix = name[:NAME], PurePosixPath(name).suffix[:8]
        name = stem[: NAME - len(suffix)] + suffix
    return name.strip(" .") or "picture"


def result_name(job: Job) -> str:
    """What a result is called when it is downloaded."""
    assert job.result is not None
    beside = "_restored" if job.settings.scale == 1 else f"_x{job.settings.scale:g}"
    return f"{PurePosixPath(job.name).stem}{beside}{job.result.suffix}"


def apart(name: str, others: dict[str, Path]) -> str:
    """A name that is none of the others."""
    path, number = PurePosixPath(name), 1
    while name in others:
        number += 1
        name = f"{path.stem}_{number}{path.suffix}"
    return name


class _Stream(io.RawIOBase):
    """Collects what is written to it until it is taken."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.chunks.append(bytes(data))
        return len(self.chunks[-1])

    def take(self) -> bytes:
        taken = b"".join(self.chunks)
        self.chunks.clear()
        return taken


def zipped(done: dict[str, Path]) -> Iterator[bytes]:
    """A ZIP of files by their names in it, chunk by chunk; pictures are compressed already, so they are stored."""
    stream = _Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, file in done.items():
            with contextlib.suppress(FileNotFoundError), file.open("rb") as source:  # it was removed meanwhile
                with archive.open(zipfile.ZipInfo.from_file(file, name), "w") as target:
                    while chunk := source.read(2**18):
                        target.write(chunk)
                        yield stream.take()
                yield stream.take()
    yield stream.take()
