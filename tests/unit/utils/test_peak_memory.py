"""Peak memory of a known allocation."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from hat_arch.utils import peak_memory as module

ALLOCATED_MIB = 200


def allocate(mib: int) -> None:
    block = torch.ones(mib * module.MIB, dtype=torch.uint8)
    time.sleep(0.1)
    del block


def allocate_and_measure() -> list[module.PeakMemory]:
    allocate(2 * ALLOCATED_MIB)  # an earlier and higher peak must not count
    peaks = []
    for clear_refs in (module.CLEAR_REFS, Path("/nonexistent/clear_refs")):
        module.CLEAR_REFS = clear_refs
        peaks.append(module.peak_memory(lambda: allocate(ALLOCATED_MIB), torch.device("cpu")))
    return peaks


@pytest.mark.skipif(not module.STATUS.exists(), reason="memory on a CPU is measured on Linux only")
def test_a_known_allocation_is_seen():
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        peaks = pool.submit(allocate_and_measure).result()
    assert [peak.extra_mib for peak in peaks] == pytest.approx([ALLOCATED_MIB] * 2, rel=0.1)
    assert peaks[1].method.startswith("VmRSS")
