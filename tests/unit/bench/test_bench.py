"""The suites' own arithmetic and refusals; no test looks at how fast anything is."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import torch

from hat_arch.bench import candidates, data, infer, measure, processes, resize, train

ALLOCATED_MIB = 200
CPU = torch.device("cpu")
needs_proc = pytest.mark.skipif(not measure.STATUS.exists(), reason="memory on a CPU is measured on Linux only")


def settings(**changes) -> infer.InferSettings:
    values = {"network": "tiny", "size": (16, 24), "memory_size": None, "device": "cpu", "runs": 3, "threads": 1}
    return infer.InferSettings(**{**values, **changes})


@needs_proc
def test_result(tmp_path, tiny):
    result = infer.run(settings(memory_size=(128, 128)), tiny)
    path = tmp_path / "result.json"
    measure.write_json(result, path)

    assert json.loads(path.read_text(encoding="utf-8")) == result
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert set(result) == {
        *("suite", "network", "config", "size", "precision", "peer_precision", "runs", "warmups", "seconds"),
        *("time_ratio", "difference", "floor", "memory", "peak", "environment", "command"),
    }
    peer, ours = (result["seconds"][name]["runs"] for name in ("peer", "prepared"))
    assert len(peer) == len(ours) == 3
    assert min(peer + ours) > 0
    ratios = [b / a for a, b in zip(peer, ours)]
    spread = {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}
    assert result["time_ratio"] == {"prepared": spread}
    assert result["seconds"]["peer"]["median"] == statistics.median(peer)
    assert 0 <= result["difference"]["prepared"]["relative"] <= infer.TOLERANCES["fp32"]

    memory = result["memory"]["extra_mib"]
    assert memory["peer"] > 0 and memory["prepared"] > 0
    assert result["memory"]["ratio"] == {"prepared": memory["prepared"] / memory["peer"]}
    assert set(result["environment"]["versions"]) == {"python", "torch", "spandrel", "hat_arch"}
    assert infer.default_path(result) == Path("experiments/benchmarks/infer_tiny_16x24_fp32_cpu.json")

    printed = infer.report(result)
    assert f"{1 / spread['median']:.2f}" in printed and f"{result['memory']['ratio']['prepared']:.2f}" in printed
    assert result["command"] in printed and result["environment"]["date"] in printed


def test_bf16(tiny, here):
    result = infer.run(settings(precision="bf16", runs=1), tiny)
    assert result["difference"]["prepared"]["relative"] > infer.TOLERANCES["fp32"], "autocast was not in force"
    assert result["memory"] is None


def test_another_precision_for_the_peer(tiny, here):
    result = infer.run(settings(precision="bf16", peer_precision="fp32", runs=1), tiny)
    assert result["floor"]["peer"]["precision"] == "fp32" and result["floor"]["prepared"]["precision"] == "bf16"
    assert set(result["peak"]) == {"fp32", "bf16"}
    assert infer.default_path(result).name == "infer_tiny_16x24_bf16_vs_fp32_cpu.json"
    assert "bf16 against fp32" in infer.report(result)


@needs_proc
def test_context_and_a_variant_of_ones_own(tiny, monkeypatch, here):
    small = {**candidates.SWINIR, "embed_dim": 12, "depths": [2], "num_heads": [2]}
    monkeypatch.setattr(candidates, "SWINIR", small)
    monkeypatch.setitem(candidates.VARIANTS, "mine", lambda network, precision: candidates.plain(network, precision))
    chosen = settings(variants=("prepared", "mine"), context=True, memory_size=(64, 64), runs=1)
    result = infer.run(chosen, tiny)
    assert list(result["seconds"]) == list(result["memory"]["extra_mib"]) == ["peer", "prepared", "mine", "SwinIR"]
    assert set(result["difference"]) == {"prepared", "mine"}
    assert result["floor"]["SwinIR"]["flops"] != result["floor"]["prepared"]["flops"]
    assert "SwinIR" in infer.report(result)


def wrong(network, precision):
    forward = candidates.plain(network, precision)
    return lambda image: forward(image) * 1.001


def nan(network, precision):
    forward = candidates.plain(network, precision)
    return lambda image: forward(image) * float("nan")


@pytest.mark.parametrize("variant", [wrong, nan])
def test_wrong_result_is_refused(variant, monkeypatch, tiny, here):
    monkeypatch.setitem(candidates.VARIANTS, "other", variant)
    with pytest.raises(measure.WrongResultError, match=r"^other: "):
        infer.run(settings(variants=("prepared", "other")), tiny)


@needs_proc
def test_out_of_memory_is_one_line(monkeypatch, tiny, here):
    def full(network, precision):
        def forward(image):
            raise torch.OutOfMemoryError("no memory\nfor this")

        return forward

    monkeypatch.setitem(candidates.VARIANTS, "full", full)
    for memory_size, size in ((None, "16×24"), ((24, 32), "64×64")):  # weighing warms up with 64×64
        with pytest.raises(measure.BenchmarkError, match=f"^full at {size}: no memory$"):
            infer.run(settings(variants=("full",), memory_size=memory_size), tiny)


def test_networks_hold_the_same_weights(tiny):
    peer, ours = candidates.build_networks(tiny, CPU)
    again = candidates.build(candidates.PEER, tiny, CPU)
    for name, value in ours.state_dict().items():
        assert value.equal(peer.state_dict()[name]), name
        assert value.equal(again.state_dict()[name]), name


def test_calls_alternate():
    order = []

    def clock(name):
        order.append(name)
        return len(order)

    seconds = measure.alternate({name: partial(clock, name) for name in "ab"}, runs=3, warmups=1)
    assert "".join(order) == "abababab"
    assert seconds == {"a": [3, 5, 7], "b": [4, 6, 8]}


def test_time_of_a_call():
    assert 0.1 <= measure.timed(lambda: time.sleep(0.1), CPU) < 1


def test_worker_keeps_its_object():
    with processes.Worker(list, "ab") as worker, processes.Worker(os.getpid) as other:
        worker.call("append", "c")
        with pytest.raises(IndexError):
            worker.call("pop", 5)
        assert worker.call("copy") == ["a", "b", "c"]
        assert other.call("__int__") not in (os.getpid(), worker._process.pid)
    assert not (worker._process.is_alive() or other._process.is_alive())


def die() -> None:
    os._exit(1)


def fail() -> None:
    raise measure.BenchmarkError("as said")


def test_fresh_process_that_dies_or_fails():
    with pytest.raises(measure.BenchmarkError, match="killed, perhaps for want of memory"):
        processes.in_fresh_process(die)
    with pytest.raises(measure.BenchmarkError, match=r"^as said$"):
        processes.in_fresh_process(fail)


def test_folder_of_results_is_tried_first(tmp_path, run_cli, capsys, monkeypatch):
    monkeypatch.setattr(infer, "run", lambda *args, **kwargs: pytest.fail("measured"))
    (tmp_path / "file").touch()
    assert run_cli("infer", "--out", str(tmp_path / "file" / "result.json")) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"{tmp_path / 'file'}: results cannot be written there") and message.count("\n") == 1


def test_unknown_network(run_cli, capsys):
    with pytest.raises(SystemExit, match="2"):
        run_cli("infer", "--network", "SHAT")
    assert "'SHAT'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["--quick", "infer"], ["--out", "x.json", "infer"]])
def test_a_suite_or_quick(words, run_cli, capsys):
    assert run_cli(*words) == 2
    assert "give a SUITE, then its options, or --quick" in capsys.readouterr().err


def allocate(mib: int) -> None:
    block = torch.ones(mib * measure.MIB, dtype=torch.uint8)
    time.sleep(0.1)
    del block


def allocate_and_measure() -> list[measure.PeakMemory]:
    allocate(2 * ALLOCATED_MIB)  # an earlier and higher peak must not count
    peaks = []
    for clear_refs in (measure.CLEAR_REFS, Path("/nonexistent/clear_refs")):
        measure.CLEAR_REFS = clear_refs
        peaks.append(measure.peak_memory(lambda: allocate(ALLOCATED_MIB), CPU))
    return peaks


@needs_proc
def test_known_allocation_is_seen():
    peaks = processes.in_fresh_process(allocate_and_measure)
    assert [peak.extra_mib for peak in peaks] == pytest.approx([ALLOCATED_MIB] * 2, rel=0.1)
    assert peaks[1].method.startswith("VmRSS")


def test_command_line(tiny, here, tmp_path, capsys, run_cli):
    out = tmp_path / "folder" / "result.json"
    assert run_cli("infer", "--size", "16", "--runs", "1", "--no_memory", "--device", "cpu", "--out", str(out)) == 0
    result = json.loads(out.read_text(encoding="utf-8"))
    assert result["size"] == [16, 16]
    assert result["command"] == "basicsr bench infer --network HAT --size 16 16 --no_memory --precision fp32 " + (
        "--variant prepared --device cpu --runs 1 --warmups 2"
    )
    assert str(out) in capsys.readouterr().out
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--size", "0"], "--size 0×0"),
        (["--size", "64", "4"], "--size 64×4"),
        (["--size", "1", "2", "3"], "--size 1 2 3"),
        (["--memory_size", "-5"], "--memory_size -5×-5"),
        (["--runs", "0"], "--runs 0"),
        (["--threads", "0"], "--threads 0"),
        (["--warmups", "0"], "--warmups 0"),
        (["--variant", "fast"], "--variant 'fast': there are 'plain', "),
    ],
)
def test_bad_options(words, named, capsys, run_cli):
    assert run_cli("infer", *words) == 2
    message = capsys.readouterr().err
    assert message.startswith(named)
    assert message.count("\n") == 1


def test_without_spandrel(monkeypatch, capsys, run_cli):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    assert run_cli("infer") == 2
    assert capsys.readouterr().err == "basicsr bench needs spandrel: pip install spandrel\n"


def test_resize_compares_every_scale(tmp_path, monkeypatch, capsys, run_cli):
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
def test_data_tells_whether_the_loader_keeps_up(tmp_path, monkeypatch, capsys, iteration, verdict, run_cli):
    monkeypatch.setattr(data, "run", partial(data.run, loader_seconds=0.1))
    monkeypatch.setattr(data, "PHOTOGRAPHS", ("astronaut",))
    words = ["--runs", "1", "--samples", "4", "--workers", "1", "--iteration", iteration]
    assert run_cli("data", *words, "--out", str(tmp_path / "d.json")) == 0
    result = json.loads((tmp_path / "d.json").read_text())
    rates, seconds = result["samples_per_second_and_core"], result["seconds"]
    assert all(rates[name] == pytest.approx(4 / seconds[name]["median"]) for name in rates)
    assert {"folder of PNG, BasicSR", "LMDB of PNG, ours", "LMDB of BMP, ours", "decoding BMP"} < set(rates)
    assert result["loader"]["needed"] == pytest.approx(4 / float(iteration))
    assert verdict in capsys.readouterr().out


def test_data_refuses_what_it_cannot_measure(capsys, run_cli):
    assert run_cli("data", "--batch", "0") == 2
    assert "--batch 0: must be more than 0" in capsys.readouterr().err


def test_train_compares_settings_with_the_peer(tmp_path, tiny, capsys, run_cli):
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


def test_train_refuses_a_wrong_loss_and_an_unknown_setting(tiny, capsys, run_cli):
    with pytest.raises(measure.WrongResultError, match="fp32: the first loss is"):
        train.compare({"peer": 0.5, "fp32": 0.501})
    train.compare({"peer": 0.5, "bf16": 0.501})
    assert run_cli("train", "--case", "fp8") == 2
    assert "--case 'fp8': there are 'fp32', " in capsys.readouterr().err
