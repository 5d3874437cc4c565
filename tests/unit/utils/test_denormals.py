"""Denormal numbers are zero where the command computes, in all its threads, and as they are for the library's users."""

from __future__ import annotations

import subprocess
import sys

PROBE = """
import torch
from hat_arch import cli
from hat_arch.utils import denormals
def kept():
    tiny = torch.full((2**22,), 1e-30)  # enough for several threads
    return int((tiny * 1e-10).count_nonzero())
"""


def probe(script: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", PROBE + script], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_command_takes_denormal_numbers_for_zero():
    assert probe("assert cli.main(['archs']) == 0; torch.set_num_threads(2); print(kept())")[-1] == "0"


def test_without_the_command_they_are_as_they_are():
    assert probe("print(kept())") == [str(2**22)]


def test_numpy_does_not_warn_of_it():
    assert probe("import numpy; print(denormals.flush()); numpy.finfo(numpy.float32).smallest_subnormal") == ["True"]
