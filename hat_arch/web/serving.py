"""Runs a page: its port, its temporary folder, and its end."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import uvicorn
from starlette.types import ASGIApp

from ..utils.errors import UserError
from ..utils.lock import InUse, lock
from .guard import Guard
from .limits import Limits

PREFIX = "hat_arch_web_"
NEW = "new_"
"""Before it while a folder is not locked yet: another server that starts would delete it."""
CONNECTIONS = 256
GRACE_SECONDS = 3  # for answers that are being sent when the server is to end
BACKLOG = 128
HERE = ("127.0.0.1", "localhost", "::1")


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0 is one that is free.

    Raises:
        UserError: the port is taken or not allowed, or the host is not this machine's.
    """
    if not 0 <= port <= 65535:
        raise UserError(f"--port {port}: must be from 0 to 65535")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            why = f"--port {port}: is in use; name another, or 0 for one that is free"
        elif error.errno == errno.EACCES:
            why = f"--port {port}: is not allowed to you; take 1024 or more"
        else:
            why = f"--host {host}: is no address of this machine ({error.strerror})"
        raise UserError(why) from error
    return listening


def is_here(host: str) -> bool:
    """Whether only this machine itself can reach an address."""
    return host in HERE or host.startswith("127.")


def token_for(host: str, names: Sequence[str] = ()) -> str | None:
    """What visitors must know: nothing where only this machine can reach the page, and no proxy does for others."""
    return None if is_here(host) and not names else secrets.token_urlsafe(24)


def address(listening: socket.socket, host: str, token: str | None) -> str:
    """What to open in a browser. The token stands where browsers do not send it: the page takes it from there."""
    port = listening.getsockname()[1]
    name = socket.gethostname() if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}/{f'#token={token}' if token else ''}"


def server(app: ASGIApp, limits: Limits, host: str, names: Sequence[str] = ()) -> uvicorn.Server:
    """A page with its guard, ready to run.

    Args:
        app: the page.
        limits: of requests.
        host: the address that it listens at.
        names: by which browsers may call it besides, through a proxy on this machine.
    """
    known = {*HERE, host, *names}
    if not is_here(host):
        known |= {socket.gethostname(), socket.getfqdn()}
    config = uvicorn.Config(
        Guard(app, limits, known),
        log_config=None,  # which would close the handlers of other libraries, and with absl's standard error
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=bool(names),
        forwarded_allow_ips="127.0.0.1",  # of which a proxy on this machine may say who asks
        lifespan="on",
        ws="none",
        loop="asyncio",
        http="h11",
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return uvicorn.Server(config)


def run(ready: uvicorn.Server, listening: socket.socket) -> None:
    """Serves until Ctrl-C or SIGTERM."""
    before = signal.signal(signal.SIGTERM, _end)
    try:
        with contextlib.suppress(KeyboardInterrupt):  # raised once it has ended
            ready.run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)
        listening.close()


def _end(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder that only this user can look into, deleted at the end, with those of servers that were killed."""
    _sweep()
    made = Path(tempfile.mkdtemp(prefix=f"{NEW}{PREFIX}{os.getpid()}_"))
    held = lock(made / "in_use", str(made))
    folder = made.rename(made.with_name(made.name.removeprefix(NEW)))
    try:
        yield folder
    finally:
        held.close()
        shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Deletes folders of this user's servers that run no more."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if folder.name.startswith(f"{PREFIX}{os.getpid()}_"):  # of this process, which may lock it once more
            continue
        with contextlib.suppress(OSError, InUse):
            if folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.geteuid():
                with lock(folder / "in_use", str(folder)):
                    shutil.rmtree(folder)
