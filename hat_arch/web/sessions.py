"""Visitors: each has a cookie that cannot be guessed, and what is theirs."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from .limits import Limits, Refused

T = TypeVar("T")


@dataclass
class Session(Generic[T]):
    """A visitor, from the first request to an hour after the last."""

    id: str
    items: dict[str, T] = field(default_factory=dict)
    """What is theirs, by ids that no one else can use."""
    seen: float = field(default_factory=time.monotonic)


class Sessions(Generic[T]):
    """All visitors of a page.

    Args:
        limits: how many there may be.
        token: what a visitor must know; None: nothing.
    """

    def __init__(self, limits: Limits, token: str | None = None) -> None:
        self.limits = limits
        self.token = token
        self.by_id: dict[str, Session[T]] = {}

    def enter(self, request: Request, token: str) -> Session[T]:
        """The session of a browser; a new one if it has none.

        Raises:
            Refused: the token is wrong, or there are too many visitors.
        """
        try:
            return self.of(request)
        except Refused:
            if self.token is not None and not secrets.compare_digest(token.encode(), self.token.encode()):
                raise Refused(401, "token" if token else "token_needed") from None
        if len(self.by_id) >= self.limits.sessions:
            self.forget_one()
        session: Session[T] = Session(secrets.token_urlsafe(32))
        self.by_id[session.id] = session
        return session

    def forget_one(self) -> None:
        """Makes room by the oldest session that has nothing."""
        empty = [session for session in self.by_id.values() if not session.items]
        if not empty:
            raise Refused(503, "visitors", retry_after=60)
        del self.by_id[min(empty, key=lambda session: session.seen).id]

    def of(self, request: Request) -> Session[T]:
        """The session that a request belongs to.

        Raises:
            Refused: to none, or to one that has ended.
        """
        session = self.by_id.get(request.cookies.get(cookie(request), ""))
        if session is None:
            raise Refused(401, "session")
        session.seen = time.monotonic()
        return session

    def ended(self) -> list[Session[T]]:
        """Those of which nothing was heard for too long."""
        before = time.monotonic() - self.limits.keep_seconds
        return [session for session in self.by_id.values() if session.seen < before]

    def admit(self, request: Request, session: Session[T], response: Response) -> Response:
        """Gives a browser its cookie, which no script can read and no other site makes it send."""
        secure = request.url.scheme == "https"  # of a proxy
        response.set_cookie(cookie(request), session.id, path="/", httponly=True, samesite="strict", secure=secure)
        return response


def cookie(request: Request) -> str:
    """The cookie's name. Browsers send cookies to all ports of a host, so it has the port in it."""
    return f"hat_arch_{request.url.port or 80}"
