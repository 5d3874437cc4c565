"""What visitors of a page may ask for, and how one of them is told no."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """What a page takes on. All of it is bounded, so that many visitors at once take no more memory than one."""

    upload_bytes: int = 64 * MIB
    pixels: int = 64_000_000
    """Of a picture, and of what is made of it, all frames together."""
    frames: int = 500
    waiting: int = 32
    """Pictures of all visitors that are uploaded or wait."""
    waiting_each: int = 8
    """Of these, of one visitor."""
    upload_seconds: float = 120
    history: int = 200
    """Pictures of a visitor that are listed."""
    session_bytes: int = 2048 * MIB
    """On the disk, for the pictures of a visitor."""
    total_bytes: int = 8192 * MIB
    """On the disk, for all."""
    sessions: int = 1000
    keep_seconds: float = 3600
    """After the last request of a visitor all of theirs is deleted."""
    requests_per_second: float = 20
    """From one address, in the long run."""
    requests_at_once: float = 300
    """From one address, after a pause."""


class Refused(Exception):
    """A request that is answered with an error.

    Args:
        status: of HTTP.
        code: what it is about: ``error.CODE`` in ``texts.json`` says it in the visitor's language.
        retry_after: seconds, after which the same may be asked again.
        values: what the text is filled with.
    """

    def __init__(self, status: int, code: str, retry_after: int | None = None, **values: Any) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.values = values

    def content(self) -> dict[str, Any]:
        """For JSON."""
        return {"code": self.code, **self.values}
