"""The suites' own arithmetic and refusals; no test looks at how fast anything is."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import pytest
import torch

from hat_arch.bench import NETWORKS, data, infer, measure, resize, train
from hat_arch.cli import bench as cli

TINY = {
    **NETWORKS["HAT"],
    "embed_dim": 12,
    "depths": [2],
    "num_heads": [2],
    "window_size": 8,
    "squeeze_factor": 4,
    "upscale": 2,
}
ALLOCATED_MIB = 200
CPU = torch.device("cpu")
needs_proc = pytest.mark.skipif(not measure.STATUS.exists(), reason="memory on a CPU is measured on Linux only")


def settings(**changes) -> infer.InferSettings:
    values = {"network": "tiny", "size": (16, 24), "memory_size": None, "device": "cpu", "runs": 3, "threads": 1}
    return infer.InferSettings(**{**values, **changes})


def run_cli(*words: str) -> int:
    parser = argparse.ArgumentParser()
    cli.add_parser(parser.add_subparsers())
    args = parser.parse_args(["bench", *words])
    return args.run(args)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(NETWORKS, "HAT", TINY)


@needs_proc
def test_result(tmp_path):
    result = infer.run(settings(memory_size=(128, 128)), TINY)
    path = tmp_path / "result.json"
    measure.write_json(result, path)

    assert json.loads(path.read_text(encoding="utf-8")) == result
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert set(result) == {
        *("suite", "network", "config", "size", "precision", "runs", "warmups", "seconds", "time_ratio"),
        *("difference", "memory", "environment", "command"),
    }
    peer, ours = (result["seconds"][name]["runs"] for name in ("peer", "ours"))
    assert len(peer) == len(ours) == 3
    assert min(peer + ours) > 0
    assert result["time_ratio"] == statistics.median(b / a for a, b in zip(peer, ours))
    assert result["seconds"]["peer"]["median"] == statistics.median(peer)
    assert 0 <= result["difference"]["relative"] <= infer.TOLERANCE

    memory = result["memory"]["extra_mib"]
    assert memory["peer"] > 0 and memory["ours"] > 0
    assert result["memory"]["ratio"] == memory["ours"] / memory["peer"]
    assert set(result["environment"]["versions"]) == {"python", "torch", "spandrel", "hat_arch"}
    assert infer.default_path(result) == Path("experiments/benchmarks/infer_tiny_16x24_fp32_cpu.json")

    printed = infer.report(result)
    assert f"time ours/peer: {result['time_ratio']:.3f}" in printed
    assert f"memory ours/peer: {result['memory']['ratio']:.3f}" in printed
    assert result["command"] in printed and result["environment"]["date"] in printed


def test_bf16():
    result = infer.run(settings(precision="bf16", runs=1), TINY)
    assert result["difference"]["relative"] > 0, "autocast was not in force"
    assert result["difference"]["tolerance"] is None
    assert result["memory"] is None


@pytest.mark.parametrize("change", [lambda p: p.mul_(1.01), lambda p: p.fill_(float("nan"))], ids=["wrong", "nan"])
def test_wrong_result_is_refused(change, monkeypatch):
    build = infer.build_networks

    def build_wrong(*args):
        networks = build(*args)
        with torch.no_grad():
            change(networks["ours"].conv_after_body.weight)
        return networks

    monkeypatch.setattr(infer, "build_networks", build_wrong)
    with pytest.raises(measure.WrongResultError):
        infer.run(settings(), TINY)


def test_networks_hold_the_same_weights():
    peer, ours = infer.build_networks(TINY, CPU).values()
    again = infer.build_networks(TINY, CPU)["ours"]
    for name, value in ours.state_dict().items():
        assert value.equal(peer.state_dict()[name]), name
        assert value.equal(again.state_dict()[name]), name


def test_calls_alternate():
    order = []
    calls = {name: lambda name=name: order.append(name) for name in "ab"}
    seconds = measure.alternate(calls, runs=3, warmups=1, device=CPU)
    assert "".join(order) == "abababab"
    assert [len(runs) for runs in seconds.values()] == [3, 3]


def allocate(mib: int) -> None:
    block = torch.ones(mib * measure.MIB, dtype=torch.uint8)
    time.sleep(0.1)
    del block


def allocate_and_measure(clear_refs: Path) -> measure.PeakMemory:
    measure.CLEAR_REFS = clear_refs
    allocate(2 * ALLOCATED_MIB)  # an earlier and higher peak must not count
    return measure.peak_memory(lambda: allocate(ALLOCATED_MIB), CPU)


@needs_proc
@pytest.mark.parametrize("clear_refs", [measure.CLEAR_REFS, Path("/nonexistent/clear_refs")], ids=["peak", "sampling"])
def test_known_allocation_is_seen(clear_refs):
    peak = measure.in_fresh_process(allocate_and_measure, clear_refs)
    assert peak.extra_mib == pytest.approx(ALLOCATED_MIB, rel=0.1)
    if not clear_refs.exists():
        assert peak.method.startswith("VmRSS")


def test_command_line(tiny, tmp_path, capsys):
    out = tmp_path / "folder" / "result.json"
    assert run_cli("infer", "--size", "16", "--runs", "1", "--no_memory", "--device", "cpu", "--out", str(out)) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["size"] == [16, 16]
    assert result["command"] == "basicsr bench infer --network HAT --size 16 16 --no_memory --precision fp32 " + (
        "--device cpu --runs 1"
    )
    assert str(out) in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--size", "0"], "--size 0×0"),
        (["--size", "64", "4"], "--size 64×4"),
        (["--size", "1", "2", "3"], "--size 1 2 3"),
        (["--memory_size", "-5"], "--memory_size -5×-5"),
        (["--runs", "0"], "--runs 0"),
        (["--threads", "0"], "--threads 0"),
    ],
)
def test_bad_options(words, named, capsys):
    assert run_cli("infer", *words) == 2
    message = capsys.readouterr().err
    assert message.startswith(named)
    assert message.count("\n") == 1


def test_without_spandrel(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    assert run_cli("infer") == 2
    assert capsys.readouterr().err == "basicsr bench needs spandrel: pip install spandrel\n"


def test_resize_compares_every_scale(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(resize, "SIZE", (48, 60))
    assert run_cli("resize", "--runs", "2", "--out", str(tmp_path / "r.json")) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert set(result["cases"]) == {f"{kind}, 1/{scale}" for kind in ("uint8", "float32") for scale in (2, 3, 4)}
    for case in result["cases"].values():
        runs = case["seconds"]
        assert case["ratio"] == statistics.median(a / b for a, b in zip(runs["ours"]["runs"], runs["peer"]["runs"]))
    out = capsys.readouterr().out
    assert "uint8, 1/4" in out and "basicsr bench resize --runs 2" in out


@pytest.mark.parametrize(
    ("iteration", "verdict"), [("1000", "the loader keeps up"), ("0.000001", "the loader is too slow")]
)
def test_data_tells_whether_the_loader_keeps_up(tmp_path, monkeypatch, capsys, iteration, verdict):
    monkeypatch.setattr(data, "LOADER_SECONDS", 0.1)
    monkeypatch.setattr(data, "PHOTOGRAPHS", ("astronaut",))
    words = ["--runs", "1", "--samples", "4", "--workers", "1", "--iteration", iteration]
    assert run_cli("data", *words, "--out", str(tmp_path / "d.json")) == 0
    result = json.loads((tmp_path / "d.json").read_text())
    rates, seconds = result["samples_per_second_and_core"], result["seconds"]
    assert all(rates[name] == pytest.approx(4 / seconds[name]["median"]) for name in rates)
    assert {"folder of PNG, BasicSR", "LMDB of PNG, ours", "LMDB of BMP, ours", "decoding BMP"} < set(rates)
    assert result["loader"]["needed"] == pytest.approx(4 / float(iteration))
    assert verdict in capsys.readouterr().out


def test_data_refuses_what_it_cannot_measure(capsys):
    assert run_cli("data", "--batch", "0") == 2
    assert "--batch 0: must be more than 0" in capsys.readouterr().err


def test_train_compares_settings_with_the_peer(tmp_path, tiny, capsys):
    words = ["--patch", "16", "--batch", "2", "--runs", "2", "--device", "cpu", "--no_memory"]
    assert run_cli("train", *words, "--case", "fp32", "bf16, checkpoint", "--out", str(tmp_path / "t.json")) == 0
    result = json.loads((tmp_path / "t.json").read_text())
    losses = result["first_loss"]
    assert losses["fp32"] == pytest.approx(losses["peer"], rel=1e-5)
    assert losses["bf16, checkpoint"] != losses["fp32"]
    runs = {name: times["runs"] for name, times in result["seconds"].items()}
    for name in ("fp32", "bf16, checkpoint"):
        assert result["time_ratio"][name] == statistics.median(a / b for a, b in zip(runs[name], runs["peer"]))
    assert "basicsr bench train" in capsys.readouterr().out


def test_train_refuses_a_wrong_loss_and_an_unknown_setting(tiny, capsys):
    with pytest.raises(measure.WrongResultError, match="fp32: the first loss is"):
        train.compare({"peer": 0.5, "fp32": 0.501})
    train.compare({"peer": 0.5, "bf16": 0.501})
    assert run_cli("train", "--case", "fp8") == 2
    assert "--case 'fp8': there are fp32, " in capsys.readouterr().err
