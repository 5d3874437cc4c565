"""``basicsr serve`` and ``basicsr board`` as processes: many visitors, kill and restart, Ctrl-C; what is refused."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image as PillowImage
from visitors import Browser

from hat_arch import cli

PLUGIN = """
import torch
from basicsr.utils.registry import ARCH_REGISTRY


@ARCH_REGISTRY.register()
class Nearest(torch.nn.Upsample):
    def __init__(self):
        super().__init__(scale_factor=2, mode="nearest")
        self.register_buffer("nothing", torch.zeros(1))
"""
CLEAR = ("queue_full", "queue_full_yours", "too_often")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A network that repeats pixels, and a folder for what is temporary."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nearest.py").write_text(PLUGIN)
    (tmp_path / "it.yml").write_text(yaml.safe_dump({"scale": 2, "network_g": {"type": "Nearest"}}))
    torch.save({"nothing": torch.zeros(1)}, "it.pth")
    (tmp_path / "tmp").mkdir()
    return tmp_path


class Serving:
    """A process that serves a page."""

    def __init__(self, *words: object, port: int = 0) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(Path("tmp").resolve())}
        code = "import basicsr_command; basicsr_command.main()"
        command = [sys.executable, "-c", code, *map(str, words), "--port", str(port)]
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
        )
        assert self.process.stdout
        self.line = self.process.stdout.readline().strip()
        self.address = self.line.partition("/#")[0].rstrip("/")

    def visitor(self, token: str = "") -> Browser:
        browser = Browser(self.address)
        assert browser.enter(token).status_code == 204
        return browser

    def end(self, how: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        """Exit code and what was printed."""
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err

    def memory(self) -> float:
        """MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


@pytest.fixture
def serve(folder):
    with contextlib.ExitStack() as running:

        def serve(*words, port=0, verb="serve"):
            network = ["--model", "it.pth", "--arch_opt", "it.yml", "--plugin", "nearest.py"] if verb == "serve" else []
            serving = Serving(verb, *network, *words, port=port)
            running.callback(serving.process.wait)
            running.callback(serving.process.kill)
            return serving

        yield serve


def noise(seed, side=96):
    """A picture that no other seed makes, and its file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
    file = io.BytesIO()
    PillowImage.fromarray(pixels).save(file, "PNG")
    return pixels, file.getvalue()


def left(folder):
    return [path.name for path in (folder / "tmp").iterdir()]


def test_fifty_uploads_at_once_end_in_results_or_clear_refusals_and_are_not_mixed_up(serve):
    """Five visitors send ten pictures each at once; those that find no place are told so, and come again."""
    serving = serve("--queue", 16)
    visitors = [serving.visitor() for _ in range(5)]
    for visitor in visitors:  # what the first picture loads stays
        assert visitor.upload(noise(0)[1]).status_code == 202
    for visitor in visitors:
        visitor.wait()
    answers: Counter[int] = Counter()

    def send(number):
        visitor, (_, data) = visitors[number % 5], noise(1000 + number)
        while True:
            answer = visitor.upload(data, f"{number}.png")
            answers[answer.status_code] += 1
            if answer.status_code == 202:
                return
            assert answer.status_code in (429, 503) and answer.json()["error"]["code"] in CLEAR
            assert int(answer.headers["retry-after"]) > 0
            time.sleep(0.2)

    def round_of_fifty():
        with ThreadPoolExecutor(50) as pool:
            list(pool.map(send, range(50)))
        for visitor in visitors:
            visitor.wait()
        return serving.memory()

    first = round_of_fifty()
    assert answers[202] == 50 and answers[429] + answers[503] > 0, answers
    for place, visitor in enumerate(visitors):
        told = visitor.pictures()[1:]
        assert {picture["name"] for picture in told} == {f"{number}.png" for number in range(place, 50, 5)}
        assert {picture["state"] for picture in told} == {"done"}
        for picture in told:
            pixels, _ = noise(1000 + int(picture["name"].partition(".")[0]))
            answer = visitor.get(f"/api/pictures/{picture['id']}/result")
            with PillowImage.open(io.BytesIO(answer.content)) as image:
                assert np.array_equal(np.asarray(image), pixels.repeat(2, 0).repeat(2, 1))
    last = [round_of_fifty() for _ in range(2)][-1]
    assert last - first < 40, "MiB that a hundred more pictures have left in memory"
    code, out, err = serving.end()
    assert (code, err) == (0, "") and "deleted" in out


def test_a_killed_server_leaves_nothing_once_it_runs_again(serve, folder):
    serving = serve()
    visitor = serving.visitor()
    visitor.upload(noise(1)[1])
    visitor.wait()
    port = int(serving.address.rpartition(":")[2])
    serving.end(signal.SIGKILL)
    assert len(left(folder)) == 1
    again = serve(port=port)
    assert again.address == serving.address and len(left(folder)) == 1
    assert visitor.get("/api/pictures").status_code == 401  # the session has ended
    visitor.enter()
    assert visitor.pictures() == []
    visitor.upload(noise(2)[1])
    assert [picture["state"] for picture in visitor.wait()] == ["done"]
    again.end()
    assert left(folder) == []


def test_it_ends_clean_in_the_middle_of_its_work(serve, folder):
    serving = serve("--max-pixels", 500_000_000)
    visitor = serving.visitor()
    file = io.BytesIO()
    PillowImage.new("RGB", (8000, 6000)).save(file, "PNG")
    assert visitor.upload(file.getvalue()).status_code == 202
    end = time.monotonic() + 60
    while visitor.pictures()[0]["state"] != "working":
        assert time.monotonic() < end
    begun = time.monotonic()
    code, out, err = serving.end(signal.SIGTERM)
    assert (code, err) == (0, "") and "deleted" in out and time.monotonic() - begun < 20
    assert left(folder) == []


def test_others_need_the_token(serve):
    serving = serve("--host", "0.0.0.0")
    assert re.fullmatch(r"http://[^/]+:\d+/#token=[\w-]{32,}", serving.line)
    token = serving.line.partition("#token=")[2]
    serving.address = f"http://127.0.0.1:{serving.address.rpartition(':')[2]}"
    stranger = Browser(serving.address)
    assert stranger.enter().status_code == stranger.enter("guess").status_code == 401
    assert stranger.upload(noise(1)[1]).status_code == 401
    assert serving.visitor(token).upload(noise(1)[1]).status_code == 202


def test_the_board_shows_a_run_and_ends_clean(serve, folder):
    run = folder / "experiments/one"
    (run / "models").mkdir(parents=True)
    (run / "one.yml").write_text("name: one\n")
    board = serve("one", verb="board")
    assert [one["name"] for one in board.visitor().get("/api/runs").json()["runs"]] == ["one"]
    assert board.end()[::2] == (0, "")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["serve", "--port", "99999"], "--port 99999"),
        (["serve", "--host", "192.0.2.7"], "--host 192.0.2.7"),
        (["serve", "--model", "nothing"], "nothing: no file and no model"),
        (["serve", "--queue", "0"], "--queue 0"),
        (["board", "nothing"], "nothing: no such folder"),
        (["board", "tmp"], "tmp: is no folder of a run"),
    ],
)
def test_what_cannot_be_is_one_line(capsys, folder, words, line):
    assert cli.main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"basicsr: {line}") and said.count("\n") == 1 and left(folder) == []


def test_a_taken_port_is_one_line(capsys, folder):
    (folder / "experiments/one/models").mkdir(parents=True)
    (folder / "experiments/one/one.yml").write_text("name: one\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["board", "one", "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"basicsr: --port {port}: is in use") and said.count("\n") == 1


@pytest.mark.parametrize("verb", [["serve"], ["board", "one"]])
@pytest.mark.parametrize("missing", ["starlette", "uvicorn"])
def test_without_the_extra_it_is_one_line(capsys, monkeypatch, folder, verb, missing):
    there = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == missing else there(name, *more)
    )
    assert cli.main(verb) == 2
    said = capsys.readouterr().err
    assert "pip install 'hat-arch[web]'" in said and said.count("\n") == 1
