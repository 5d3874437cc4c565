"""A page on a port of its own, and browsers without windows: `requests` with a cookie jar."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import requests
from PIL import Image as PillowImage

from hat_arch.web import serving
from hat_arch.web.limits import Limits

TINY = {"embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 4, "squeeze_factor": 4, "mlp_ratio": 2}


class Browser(requests.Session):
    """A visitor of a page."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.address = address

    def request(self, method: Any, url: Any, *args: Any, **kwargs: Any) -> requests.Response:
        return super().request(method, f"{self.address}{url}", *args, timeout=60, **kwargs)

    def enter(self, token: str = "") -> requests.Response:
        return self.post("/api/session", data=token)

    def upload(self, data: bytes, name: str = "a.png", **settings: Any) -> requests.Response:
        return self.post("/api/pictures", params={"name": name, **settings}, data=data)

    def pictures(self) -> list[dict[str, Any]]:
        while (answer := self.get("/api/pictures")).status_code == 429:  # of all visitors from one address
            time.sleep(0.5)
        return answer.json()["pictures"]

    def wait(self) -> list[dict[str, Any]]:
        """The pictures, once nothing is done any more."""
        end = time.monotonic() + 60
        while any(picture["state"] in ("waiting", "working") for picture in self.pictures()):
            assert time.monotonic() < end
            time.sleep(0.02)
        return self.pictures()


@contextlib.contextmanager
def served(app: Any, limits: Limits | None = None, host: str = "127.0.0.1") -> Iterator[str]:
    """The address of an application that runs in a thread meanwhile."""
    listening = serving.listen(host, 0)
    ready = serving.server(app, limits or Limits(), host)
    thread = threading.Thread(target=ready.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://{host}:{listening.getsockname()[1]}"
    finally:
        ready.should_exit = True
        thread.join(20)
        listening.close()
        assert not thread.is_alive()


def picture(format: str = "PNG", size: tuple[int, int] = (12, 10), seed: int = 0, **saving: Any) -> bytes:
    """A file of noise, ``size`` being width and height."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    file = io.BytesIO()
    PillowImage.fromarray(pixels).save(file, format, **saving)
    return file.getvalue()
