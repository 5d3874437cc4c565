"""Waiting threads: set before PyTorch is imported, by the command alone, and not against the user."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hat_arch.utils import openmp

UNSET = {name: value for name, value in os.environ.items() if name not in openmp.OF_THE_USER}
SPY = """
import importlib.abc, os, sys

class Spy(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT"), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Spy())
sys.argv = ["basicsr", "archs"]
import basicsr_command
basicsr_command.main()
"""


def succeed(source, **environment):
    command = [sys.executable, "-c", source]
    done = subprocess.run(command, env={**UNSET, **environment}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_the_command_sets_it_before_pytorch_is_imported():
    assert succeed(SPY) == ["3000"]
    assert succeed(SPY, GOMP_SPINCOUNT="7") == ["7"]
    assert succeed(SPY, OMP_WAIT_POLICY="passive") == ["None"]


def test_a_module_run_by_a_launcher_has_it_too():
    command = [sys.executable, "-m", "hat_arch", "archs"]
    environment = {**UNSET, "OMP_NUM_THREADS": "2", "OMP_DISPLAY_ENV": "VERBOSE"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout.startswith("archs\n")
    if "GOMP_SPINCOUNT" not in done.stderr:
        pytest.skip("not GNU's OpenMP")
    last = [line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line][-1]
    assert "3000" in last


def test_an_import_sets_nothing():
    source = "import os, hat_arch; from hat_arch.utils import openmp; print({*openmp.OF_THE_USER} & {*os.environ})"
    assert succeed(source) == ["set()"]


@pytest.mark.parametrize("name", openmp.OF_THE_USER)
def test_what_the_user_has_set_stands(name, monkeypatch):
    for one in openmp.OF_THE_USER:
        monkeypatch.delenv(one, raising=False)
    monkeypatch.setenv(name, "3")
    assert not openmp.wait_briefly()
    assert [one for one in openmp.OF_THE_USER if one in os.environ] == [name]
