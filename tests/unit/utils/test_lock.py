"""A lock belongs to one process, and ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from hat_arch.utils.lock import InUse, lock

HOLD = """
import os, sys, time
from pathlib import Path
from hat_arch.utils.lock import lock
held = lock(Path(sys.argv[1]), "the run")
child = os.fork()  # as a data-loading worker
if child:
    print(child, flush=True)
time.sleep(100)
"""


def test_another_process_is_told_who_has_it_until_that_is_killed(tmp_path):
    file = tmp_path / "folder/.run.in_use"
    with subprocess.Popen([sys.executable, "-c", HOLD, file], stdout=subprocess.PIPE, text=True) as holder:
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(InUse, match=rf"^the run is in use by process {holder.pid} on "):
                lock(file, "the run")
            holder.kill()
            holder.wait()
            lock(file, "the run").close()  # though the child lives on
        finally:
            os.kill(child, signal.SIGKILL)


def test_it_is_free_when_it_was_closed(tmp_path):
    for _ in range(2):
        with lock(tmp_path / "x", "x") as held:
            assert not held.closed
        assert f"process {os.getpid()} on " in (tmp_path / "x").read_text()
