"""Stands before a page: who may ask, how often, from where, and what every answer says to the browser.

* Another web site can have its name point to this machine (DNS rebinding), and then read what browsers get from here:
  only names that are known are answered.
* Another web site can make browsers send requests to here (CSRF): requests that change something must come from the
  page itself, and the cookie is not sent along by other sites (``SameSite=Strict``).
* An answer runs no script but the page's own, loads nothing from elsewhere, is framed by no other page, and is taken
  for nothing else than what its type says.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Limits, Refused

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
ADDRESSES = 4096  # whose requests are counted at a time
READING = ("GET", "HEAD")


class Guard:
    """ASGI middleware.

    Args:
        app: what it stands before.
        limits: how many requests an address may send.
        names: by which browsers may call this server, without port. Addresses in digits need not be among them: it is a
            name that a site can have point elsewhere.
    """

    def __init__(self, app: ASGIApp, limits: Limits, names: Iterable[str]) -> None:
        self.app = app
        self.limits = limits
        self.names = {name.lower() for name in names}
        self.buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            self.check(scope)
        except Refused as refused:
            await refusal(refused)(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)

    def check(self, scope: Scope) -> None:
        """Raises `Refused` for a request that is not to be answered."""
        headers = Headers(scope=scope)
        self.count((scope.get("client") or ("",))[0])
        host = headers.get("host", "")
        if not self.knows(host):
            raise Refused(421, "host", host=host[:100])
        if scope["method"] in READING:
            return
        origin = headers.get("origin")
        same = headers.get("sec-fetch-site", "same-origin") in ("same-origin", "none")
        if not same or (origin is not None and urlsplit(origin).netloc.lower() != host.lower()):
            raise Refused(403, "origin")

    def knows(self, host: str) -> bool:
        """Whether a browser may have called this server so."""
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name in self.names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def count(self, address: str) -> None:
        """Counts a request of an address; raises `Refused` if it has sent too many."""
        now = time.monotonic()
        left, last = self.buckets.pop(address, (self.limits.requests_at_once, now))
        left = min(self.limits.requests_at_once, left + (now - last) * self.limits.requests_per_second)
        self.buckets[address] = max(0.0, left - 1), now
        if len(self.buckets) > ADDRESSES:
            self.buckets.popitem(last=False)
        if left < 1:
            raise Refused(429, "too_often", retry_after=1)


def refusal(refused: Refused) -> JSONResponse:
    """The answer that says no."""
    headers = {} if refused.retry_after is None else {"retry-after": str(refused.retry_after)}
    return JSONResponse({"error": refused.content()}, refused.status, headers)
