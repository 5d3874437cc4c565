"""What both pages have in common: their files, and the way in."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.staticfiles import StaticFiles

from .guard import refusal
from .limits import Refused
from .sessions import Sessions

FOLDER = Path(__file__).with_name("static")
TOKEN_BYTES = 200  # of the request that brings a token

Endpoint = Callable[[Request], Awaitable[Response]]


class _Static(StaticFiles):
    """Files of the package: the only ones that are served by their names."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = "no-cache"  # asked for again, and not sent again if unchanged
        return response


STATIC = _Static(directory=FOLDER)


def page(name: str) -> Endpoint:
    """Answers with a page, which holds nothing of anyone."""

    async def show(request: Request) -> Response:
        return FileResponse(FOLDER / name, media_type="text/html", headers={"cache-control": "no-cache"})

    return show


def entrance(sessions: Sessions[Any]) -> Endpoint:
    """Answers with a cookie, to who brings the token (if one is needed) as the request's body."""

    async def enter(request: Request) -> Response:
        token = b""
        async for chunk in request.stream():
            token += chunk
            if len(token) > TOKEN_BYTES:
                raise Refused(413, "token")
        session = sessions.enter(request, token.decode("utf-8", "replace"))
        return sessions.admit(request, session, Response(status_code=204))

    return enter


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """The answer to a request that was refused while it was worked on."""
    assert isinstance(error, Refused)
    return refusal(error)
