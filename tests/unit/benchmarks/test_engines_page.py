"""The page on engines gets what was measured, and nothing else of it changes."""

from __future__ import annotations

import json
import sys

import engines_page
import pytest

ENVIRONMENT = {
    "device": "cpu", "device_name": "A processor", "cpu": "A processor", "cpu_capability": "AVX2", "cores": 2,
    "threads": 2, "load": 0.1, "versions": {"torch": "9.0"}, "date": "2026-01-02T03:04:05+00:00", "commit": None,
    "cuda": None,
}  # fmt: skip


def result(size, **seconds):
    peer = seconds["peer"]
    return {
        "suite": "engines",
        "network": "HAT",
        "size": [size, size],
        "precision": "fp32",
        "seconds": {name: {"median": value} for name, value in seconds.items()},
        "time_ratio": {name: {"median": value / peer} for name, value in seconds.items() if name != "peer"},
        "memory": {"extra_mib": {name: 10 * value for name, value in seconds.items()}},
        "start_seconds": {name: {"first": 3.0} | ({"second": 0.5} if name == "openvino" else {}) for name in seconds},
        "environment": ENVIRONMENT,
        "command": "python engines.py",
    }


@pytest.fixture
def write(tmp_path, monkeypatch):
    page = tmp_path / "engines.md"
    page.write_text("before\n<!-- measured -->\nold\n<!-- /measured -->\nafter\n", encoding="utf-8")

    def write(*results):
        files = []
        for i, content in enumerate(results):
            files.append(tmp_path / f"engines_{i}.json")
            files[-1].write_text(json.dumps(content))
        monkeypatch.setattr(sys, "argv", ["engines_page.py", *map(str, files), "--page", str(page)])
        engines_page.main()
        return page.read_text(encoding="utf-8")

    return write


def test_tables_and_picture(write, tmp_path):
    text = write(result(128, peer=8.0, openvino=2.0), result(64, peer=2.0, torch=1.0, openvino=0.5))
    assert text.startswith("before\n<!-- measured -->\n") and text.endswith("<!-- /measured -->\nafter\n")
    assert "old" not in text and "Measured on:\n\n- A processor" in text and "2026-01-02" in text
    rows = [line for line in text.splitlines() if line.startswith("| HAT")]
    assert rows[:2] == [
        "| HAT | 64×64 | fp32 | 2000 | 1000 (2.00) | 500 (4.00) |",
        "| HAT | 128×128 | fp32 | 8000 |  | 2000 (4.00) |",
    ]
    assert rows[2] == "| HAT | 64×64 | fp32 | 20 | 10 | 5 |"
    assert rows[4] == "| HAT | 64×64 | fp32 | 3.0 | 3.0 | 3.0 (0.5) |"
    assert (tmp_path / "engines_cpu.png").stat().st_size > 1000 and "](engines_cpu.png)" in text
    assert write(result(64, peer=2.0, torch=1.0)).count("<!-- measured -->") == 1


def test_another_file_is_refused(write, tmp_path):
    with pytest.raises(SystemExit, match=r"engines_0\.json: is no result of engines"):
        write({"suite": "training"})
    assert "old" in (tmp_path / "engines.md").read_text()
