"""Who imports this package, and also uses BasicSR by itself, finds BasicSR as it was: before any run, and after one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

WATCHED = [
    "pipelines",
    "model",
    "data sets",
    "losses and metrics",
    "schedulers",
    "registries",
    "attributes",
    "process",
]


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("observed")
    script = Path(__file__).with_name("observe_basicsr.py")
    done = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "observed.json").read_text())


@pytest.mark.parametrize("when", ["imported", "after a run"])
@pytest.mark.parametrize("what", WATCHED)
def test_basicsr_is_as_it_was(observed, what, when):
    alone, now = observed["alone"][what], observed[when][what]
    assert {key: (alone.get(key), now.get(key)) for key in {*alone, *now} if alone.get(key) != now.get(key)} == {}


def test_all_that_is_observed_is_compared(observed):
    assert list(observed["alone"]) == WATCHED
    assert all(observed["alone"].values())


def test_import_draws_no_random_numbers(observed):
    assert observed["drawn by the import"] is False
