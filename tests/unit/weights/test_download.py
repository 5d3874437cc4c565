"""Downloads, from a server of this machine that does what servers do."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading

import pytest
import torch

from hat_arch.utils.errors import UserError
from hat_arch.weights import download as downloads
from hat_arch.weights.download import DownloadError, download
from hat_arch.weights.named import Model, cache


def weights():
    buffer = io.BytesIO()
    torch.save({"params": {"a": torch.rand(20_000)}}, buffer)
    return buffer.getvalue()


DATA = weights()
HALF = len(DATA) // 2


class Server(http.server.ThreadingHTTPServer):
    """Serves `DATA` under any path; what is done otherwise stands in the path."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []
        self.address = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.asked.append((self.path, asked))
        kind, data = self.path.split("/")[1], DATA
        if kind == "missing":
            return self.send_error(404)
        if kind == "page":
            data = b"<!DOCTYPE html><html>Sign in</html>"
        if kind == "other":
            data = weights()
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and kind != "whole" else 0
        if start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            shown = 0 if kind == "wrong-part" else start
            self.send_header("Content-Range", f"bytes {shown}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        breaks = kind == "breaks" or (kind == "breaks-once" and not start)
        self.wfile.write(data[start : start + HALF // 3] if breaks else data[start:])
        return None


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("HAT_ARCH_MODELS", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.chdir(tmp_path)
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def model(*urls, **known):
    known = {"bytes": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest(), **known}
    return Model("HAT_SRx9", "HAT_SRx9.pth", 9, urls=list(urls), page="https://example.org/page", **known)


def arriving():
    return cache() / ".HAT_SRx9.pth.arriving"


def finished():
    return [path.name for path in cache().iterdir() if not path.name.endswith(".lock")]


def test_a_model_is_fetched_once(server):
    wanted = model(f"{server.address}/good/a")
    path = download(wanted)
    assert path == cache() / "HAT_SRx9.pth" == wanted.path() and path.read_bytes() == DATA
    assert download(wanted) == path and len(server.asked) == 1
    assert finished() == ["HAT_SRx9.pth"]


def test_a_connection_that_breaks_off_is_taken_up_again(server):
    assert download(model(f"{server.address}/breaks-once/a")).read_bytes() == DATA
    (_, first), (_, second) = server.asked
    assert first is None and 0 < int(second[6:-1]) <= HALF // 3


def test_what_arrived_before_it_was_stopped_is_kept(server):
    with pytest.raises(DownloadError, match=r"broke off after .* goes on from there"):
        download(model(f"{server.address}/breaks/a"))
    have = arriving().stat().st_size
    assert 0 < have < len(DATA) and arriving().read_bytes() == DATA[:have]
    assert download(model(f"{server.address}/good/a")).read_bytes() == DATA
    assert server.asked[-1] == ("/good/a", f"bytes={have}-")


@pytest.mark.parametrize("kind", ["good", "whole"])
def test_a_server_that_cannot_go_on_begins_anew(server, kind):
    cache().mkdir()
    arriving().write_bytes(DATA[:HALF] if kind == "whole" else DATA + b"of another")
    assert download(model(f"{server.address}/{kind}/a")).read_bytes() == DATA


def test_all_of_it_may_have_arrived_already(server):
    cache().mkdir()
    arriving().write_bytes(DATA)
    assert download(model(f"{server.address}/good/a")).read_bytes() == DATA


@pytest.mark.parametrize(
    ("kind", "known", "words"),
    [
        ("missing", {}, "404"),
        ("page", {}, "web page"),
        ("other", {}, "another checksum"),
        ("other", {"bytes": 5}, "not 5"),
        ("other", {"bytes": None, "sha256": "00000000"}, "another checksum than 00000000"),
    ],
)
def test_what_is_not_the_file_is_refused_and_the_next_address_tried(server, kind, known, words):
    bad, good = f"{server.address}/{kind}/a", f"{server.address}/good/a"
    with pytest.raises(DownloadError) as caught:
        download(model(bad, **known))
    assert words in str(caught.value) and "127.0.0.1" in str(caught.value)
    assert finished() == []
    assert download(model(bad, good)).read_bytes() == DATA


def test_another_part_than_was_asked_for_is_refused(server):
    cache().mkdir()
    arriving().write_bytes(DATA[:HALF])
    with pytest.raises(DownloadError, match="another part"):
        download(model(f"{server.address}/wrong-part/a"))


def test_a_mirror_is_asked_first(server):
    download(model(f"{server.address}/good/a"), mirror=f"{server.address}/mirror/")
    assert server.asked == [("/mirror/HAT_SRx9.pth", None)]


@pytest.mark.parametrize("urls", [("http://127.0.0.1:1/a",), ()])
def test_without_a_network_it_is_said_what_to_do_by_hand(server, urls):
    with pytest.raises(DownloadError) as caught:
        download(model(*urls))
    message = str(caught.value)
    assert message.startswith("HAT_SRx9: ") and ("no connection" in message) == bool(urls)
    for word in ("https://example.org/page", "HAT_SRx9.pth", str(cache()), "basicsr models add"):
        assert word in message


def test_a_full_disk_is_an_error_of_its_own(server, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloads, "_receive", full)
    with pytest.raises(UserError, match=r"HAT_SRx9\.pth: no space left"):
        download(model(f"{server.address}/good/a"))
