"""The port, the token and the temporary folder."""

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hat_arch.utils.errors import UserError
from hat_arch.web import serving
from hat_arch.web.limits import Limits


def test_a_taken_port_is_a_line():
    with serving.listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"--port {port}: is in use"):
            serving.listen("127.0.0.1", port)


@pytest.mark.parametrize(
    ("host", "port", "word"),
    [
        ("127.0.0.1", 70_000, "--port 70000"),
        ("127.0.0.1", -1, "--port -1"),
        ("no.such.host.invalid", 0, "--host no.such"),
        ("192.0.2.1", 0, "--host 192"),
    ],
)
def test_an_address_that_cannot_be_is_a_line(host, port, word):
    with pytest.raises(UserError, match=word):
        serving.listen(host, port)


def test_only_what_others_can_reach_has_a_token():
    assert {serving.token_for(host) for host in ("127.0.0.1", "localhost", "::1", "127.0.0.2")} == {None}
    assert serving.token_for("127.0.0.1", ["pictures.example"])
    one, other = serving.token_for("0.0.0.0"), serving.token_for("192.168.1.2")
    assert one and other and one != other and len(one) >= 32


def test_the_token_stands_where_browsers_do_not_send_it():
    with serving.listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        assert serving.address(listening, "127.0.0.1", None) == f"http://127.0.0.1:{port}/"
        assert serving.address(listening, "0.0.0.0", "abc") == f"http://{socket.gethostname()}:{port}/#token=abc"
        assert serving.address(listening, "::1", None) == f"http://[::1]:{port}/"


LEFT = """
import logging
import os
from hat_arch.web import serving
from hat_arch.web.limits import Limits
with serving.temporary_folder() as folder:
    (folder / "picture.png").write_bytes(b"x")
    print(folder, flush=True)
    if os.environ["HOW"] == "killed":
        os.kill(os.getpid(), 9)
    input()
"""


def test_folders_of_killed_servers_are_deleted_and_no_others(tmp_path, monkeypatch):
    monkeypatch.setattr(serving.tempfile, "tempdir", str(tmp_path))
    stranger = tmp_path / f"{serving.PREFIX}stranger"
    (tmp_path / "elsewhere").mkdir()
    stranger.symlink_to(tmp_path / "elsewhere")
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    killed = subprocess.run(
        [sys.executable, "-c", LEFT], env=environment | {"HOW": "killed"}, capture_output=True, text=True
    )
    running = subprocess.Popen(
        [sys.executable, "-c", LEFT],
        env=environment | {"HOW": "runs"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdin and running.stdout
    folders = [Path(line.strip()) for line in (killed.stdout, running.stdout.readline())]
    assert not folders[0].exists()  # the other has deleted it as it started
    with serving.temporary_folder() as ours:
        assert folders[1].exists() and ours.stat().st_mode & 0o777 == 0o700
    assert not ours.exists()
    running.communicate("\n", timeout=60)
    assert not folders[1].exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", stranger.name]


def test_handlers_of_other_libraries_stay_open(tmp_path):
    handler = logging.FileHandler(tmp_path / "log.txt")
    try:
        serving.server(lambda *_: None, Limits(), "127.0.0.1")
        assert handler.stream is not None and not handler.stream.closed
    finally:
        handler.close()
