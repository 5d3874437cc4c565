"""Freed memory is kept by the command, seen in the pages that the system has to give out."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="is about glibc")

PROBE = """
import resource, sys, torch
from pathlib import Path
from hat_arch.utils import allocator
from hat_arch import cli
PAGES = 48 * 2**20 // resource.getpagesize()
def faults():
    def layers():
        for _ in range(5):
            torch.ones(48 * 2**18)
    layers()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    layers()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / (5 * PAGES)
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) / PAGES
"""


def probe(script: str, **environment: str) -> list[float]:
    command = [sys.executable, "-c", PROBE + script]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(command, capture_output=True, text=True, env={**clean, **environment})
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.splitlines()[-1].split()]


def test_the_command_keeps_freed_memory():
    before, after = probe("""
before = faults()
assert cli.main(["archs"]) == 0
print(before, faults())
""")
    assert before > 0.9 and after < 0.1


def test_kept_memory_can_be_handed_back():
    kept, handed_back = probe("""
assert allocator.keep()
start = resident()
faults()
kept = resident() - start
allocator.hand_back()
print(kept, resident() - start)
""")
    assert kept > 0.9 and handed_back < 0.3


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_what_the_environment_says_of_malloc_stands(name):
    value = "glibc.malloc.trim_threshold=131072" if name == "GLIBC_TUNABLES" else "131072"
    assert probe("print(int(allocator.keep()), faults())", **{name: value})[0] == 0
    if name == "GLIBC_TUNABLES":
        assert probe("print(int(allocator.keep()))", **{name: "glibc.pthread.rseq=1"})[0] == 1
