"""The page that shows trainings: what a browser asks for, and what it is answered. It reads, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import anyio
from anyio import to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route

from . import runs
from .limits import Limits, Refused
from .pages import STATIC, entrance, page, refuse
from .runs import Run
from .sessions import Sessions

READERS = 4  # threads that read files for visitors
Result = TypeVar("Result")


class BoardPage:
    """The application.

    Args:
        shown: the runs, in the order in which they are listed.
        limits: for visitors.
        token: that visitors must know; None: none.
    """

    def __init__(self, shown: Sequence[Run], limits: Limits, token: str | None = None) -> None:
        self.runs = shown
        self.sessions: Sessions[None] = Sessions(limits, token)
        self.readers = anyio.CapacityLimiter(READERS)
        self.app = Starlette(
            routes=[
                Route("/", page("board.html")),
                Mount("/static", STATIC),
                Route("/api/session", entrance(self.sessions), methods=["POST"]),
                Route("/api/runs", self.states),
                Route("/api/differences", self.differences),
                Route("/api/runs/{run:int}/curves", self.curves),
                Route("/api/runs/{run:int}/pictures", self.pictures),
                Route("/api/runs/{run:int}/pictures/{key}/{iteration:int}", self.picture),
                Route("/api/runs/{run:int}/options", self.options),
                Route("/api/runs/{run:int}/log", self.log),
            ],
            exception_handlers={Refused: refuse},
        )

    async def read(self, request: Request, reader: Callable[[], Result]) -> Result:
        """What a function reads from files, in a thread."""
        self.sessions.of(request)
        return await to_thread.run_sync(reader, limiter=self.readers)

    def run(self, request: Request) -> Run:
        """The run that a request is about."""
        number = request.path_params["run"]
        if number >= len(self.runs):
            raise Refused(404, "not_found")
        return self.runs[number]

    async def states(self, request: Request) -> Response:
        return JSONResponse({"runs": await self.read(request, lambda: [run.state() for run in self.runs])})

    async def differences(self, request: Request) -> Response:
        return JSONResponse({"rows": await self.read(request, lambda: runs.compare_options(self.runs))})

    async def curves(self, request: Request) -> Response:
        return JSONResponse({"curves": await self.read(request, self.run(request).curves)})

    async def pictures(self, request: Request) -> Response:
        return JSONResponse({"pictures": await self.read(request, self.run(request).pictures)})

    async def picture(self, request: Request) -> Response:
        run, wanted = self.run(request), request.path_params
        found = await self.read(request, lambda: run.picture(wanted["key"], wanted["iteration"]))
        if found is None:
            raise Refused(404, "not_found")
        headers = {"cache-control": "private, max-age=600"}
        if isinstance(found, bytes):
            return Response(found, media_type="image/png", headers=headers)
        return FileResponse(found, media_type="image/png", headers=headers)

    async def options(self, request: Request) -> Response:
        return PlainTextResponse(await self.read(request, self.run(request).option_text))

    async def log(self, request: Request) -> Response:
        return PlainTextResponse(await self.read(request, self.run(request).log.tail))
