"""``basicsr bench table``."""

from __future__ import annotations

import json

import pytest
import torch

from hat_arch.bench import infer, rows
from hat_arch.bench.measure import BenchmarkError

SMALL = {"size": (16, 16), "memory_size": None, "runs": 1, "warmups": 1, "threads": 1}


@pytest.fixture
def measured(monkeypatch):
    """Names of the rows' networks and precisions, as they are measured, at a small size."""
    seen, run = [], infer.run

    def small(settings, **options):
        seen.append(settings.precision)
        return run(settings, **options)

    monkeypatch.setattr(infer, "run", small)
    return seen


def test_rows_are_the_bars():
    bars = {name: (row.speed, row.memory, row.settings.size) for name, row in rows.ROWS.items()}
    assert bars["cpu_HAT_64_fp32"] == (3, 0.5, (64, 64))
    assert bars["cpu_HAT_64_bf16"] == (5, 0.5, (64, 64))
    assert bars["cpu_HAT_256_fp32"] == (3, 0.4, (256, 256))
    assert bars["cpu_HAT_256_bf16"] == (6, 0.4, (256, 256))
    assert bars["cuda_HAT_480_bf16_vs_fp32"] == (10, 0.2, (480, 640))
    assert bars["cuda_HAT_480_bf16_vs_bf16"] == (4, 0.25, (480, 640))
    assert bars["cpu_HAT-L_64_fp32"] == (pytest.approx(2.4), 0.625, (64, 64))
    assert all(row.settings.memory_size == row.settings.size for row in rows.ROWS.values())
    assert all(name.startswith(row.settings.device) for name, row in rows.ROWS.items())


def test_measured_rows_are_kept(tmp_path, tiny, measured, run_cli):
    names = ["cpu_HAT_64_fp32", "cpu_HAT_64_bf16"]

    def go(keep, **change):
        return rows.run(
            names, tmp_path, keep, SMALL | change, done=lambda result, path: path.write_text(json.dumps(result))
        )

    first, failed = go(keep=True)
    assert measured == ["fp32", "bf16"] and not failed
    (tmp_path / "cpu_HAT_64_bf16.json").unlink()
    second, _ = go(keep=True)
    assert measured == ["fp32", "bf16", "bf16"]
    assert second["cpu_HAT_64_fp32"] == json.loads(json.dumps(first["cpu_HAT_64_fp32"]))
    go(keep=True, runs=2)
    assert len(measured) == 5, "other settings are measured again"
    go(keep=False, runs=2)
    assert len(measured) == 7


def test_row_of_other_code_is_measured_again(tmp_path, tiny, measured, monkeypatch):
    arguments = ["cpu_HAT_64_fp32"], tmp_path, True, SMALL
    for digest in ("a", "a", "b"):
        monkeypatch.setattr("hat_arch.bench.measure.source_digest", lambda digest=digest: digest)
        rows.run(*arguments, done=lambda result, path: path.write_text(json.dumps(result)))
    assert len(measured) == 2


def test_row_of_other_threads_is_measured_again(tmp_path, tiny, measured):
    settings = {key: value for key, value in SMALL.items() if key != "threads"}
    before = torch.get_num_threads()
    try:
        for threads in (1, 1, 2):
            torch.set_num_threads(threads)
            arguments = ["cpu_HAT_64_fp32"], tmp_path, True, settings
            rows.run(*arguments, done=lambda result, path: path.write_text(json.dumps(result)))
    finally:
        torch.set_num_threads(before)
    assert len(measured) == 2


def test_a_row_that_fails_does_not_stop_the_others(tmp_path, tiny, run_cli, capsys, monkeypatch):
    def run(settings, **options):
        raise BenchmarkError(f"no {settings.precision} today")

    monkeypatch.setattr(infer, "run", run)
    assert run_cli("table", "--rows", "cpu_HAT_64_*", "--out", str(tmp_path)) == 2
    out, err = capsys.readouterr()
    assert "no fp32 today" in err and "no bf16 today" in err
    assert out.count("unmeasured") == 4


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_rows_of_cuda_stay_unmeasured(tmp_path, run_cli, capsys):
    assert run_cli("table", "--rows", "cuda_HAT_480_bf16*", "--out", str(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and "≥ 10.0" in lines[2] and lines[2].count("unmeasured") == 2
    assert not list(tmp_path.iterdir())


def test_table_by_the_command(tmp_path, tiny, run_cli, capsys, monkeypatch):
    monkeypatch.setitem(rows.ROWS, "small", rows.Row(infer.InferSettings(**SMALL, device="cpu"), 1e-6, 0.5))
    words = ["table", "--rows", "small", "--out", str(tmp_path)]
    assert run_cli(*words) == 0
    table = capsys.readouterr().out
    result = json.loads((tmp_path / "small.json").read_text())
    speed = f"**{1 / result['time_ratio']['prepared']['median']:.2f}**"
    assert f"| small | 16×16 | prepared | {speed} | ≥ 0.0 | unmeasured | ≤ 0.5 |" in table
    assert f"- small: `{result['command']}`; " in table
    assert (tmp_path / "table.png").read_bytes().startswith(b"\x89PNG")

    monkeypatch.setattr(infer, "run", lambda *args, **kwargs: pytest.fail("measured"))
    assert run_cli(*words, "--show") == 0
    assert capsys.readouterr().out in table
    (tmp_path / "small.json").write_text("{}")
    assert run_cli(*words, "--show") == 2
    assert capsys.readouterr().err == f"{tmp_path / 'small.json'}: is no result of a row; delete it\n"


def test_unknown_row(tmp_path, run_cli, capsys):
    assert run_cli("table", "--rows", "gpu_*", "--out", str(tmp_path)) == 2
    assert capsys.readouterr().err.startswith("--rows 'gpu_*': there are cpu_HAT_64_fp32, ")
