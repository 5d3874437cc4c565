"""Which engine is chosen, what is said of it, and that it is remembered."""

from __future__ import annotations

import itertools
import sys
import types

import pytest
import torch
from torch import nn

from hat_arch import HAT, Upscaler
from hat_arch.inference import measuring
from hat_arch.inference.engines import EngineError, choice
from hat_arch.inference.engines.base import Unfit
from hat_arch.inference.engines.choice import fastest
from hat_arch.inference.measuring import part_of
from hat_arch.inference.prepared import Prepared

SECONDS = {"torch": 3.0, "openvino": 1.0, "onnxruntime": 2.0}


class Slow(Prepared):
    """An engine that takes `SECONDS`, by a clock of its own."""

    def __init__(self, name: str, network: nn.Module, clock: list[float]) -> None:
        super().__init__(network)
        self.name, self.clock = name, clock

    def __call__(self, images):
        self.clock[0] += SECONDS[self.name]
        return super().__call__(images)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Three engines that need not be installed; ``fails`` names those that have nothing for the network."""
    monkeypatch.setenv("HAT_ARCH_ENGINES", str(tmp_path))
    clock, built, fails = [0.0], [], set()

    def build(name, network, dtype, **how):
        built.append(name)
        if name in fails:
            raise EngineError(f"engine {name}: has nothing for it")
        return Slow(name, network, clock)

    monkeypatch.setattr(choice, "build", build)
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(choice.cache, "version", lambda package: "1")
    monkeypatch.setattr(choice.extras, "find_spec", lambda name: name)
    return {"clock": clock, "built": built, "fails": fails}


def how(lines: list[str], **other) -> dict:
    device = torch.device("cpu")
    network = nn.Conv2d(3, 3, 1)
    return {"network": network, "device": device, "multiple": 1, "channels": 3, "compile": False} | {
        "report": lines.append,
        **other,
    }


def test_the_fastest_is_taken_said_and_remembered(world):
    lines: list[str] = []
    assert fastest(how(lines), None).name == "openvino"
    assert "measuring torch, openvino, onnxruntime" in lines[0]
    assert lines[1].startswith("engine: openvino, the fastest here") and "torch 3000 ms" in lines[1]
    before = world["clock"][0]
    assert fastest(how(lines), None).name == "openvino"
    assert world["clock"][0] == before
    assert lines[2].startswith("engine: openvino, the fastest when it was measured") and len(lines) == 3


@pytest.mark.parametrize("fact", ["dtype", "network", "version", "processor"])
def test_it_is_measured_again_for_another(world, monkeypatch, fact):
    fastest(how([]), None)
    before, options, dtype = world["clock"][0], how([]), None
    if fact == "dtype":
        dtype = torch.bfloat16
    elif fact == "network":
        options["network"] = nn.Conv2d(3, 3, 3)
    elif fact == "version":
        monkeypatch.setattr(choice.cache, "version", lambda package: "2")
    else:
        monkeypatch.setattr(choice.cache, "cpu_name", lambda: "another")
    fastest(options, dtype)
    assert world["clock"][0] > before


def test_the_version_of_a_runtime_that_another_distribution_brings(monkeypatch):
    def version(package):
        if package == "hat-arch":
            return "1"
        raise choice.cache.PackageNotFoundError(package)

    monkeypatch.setattr(choice.cache, "version", version)
    monkeypatch.setitem(sys.modules, "onnxruntime", types.SimpleNamespace(__version__="1.23.4"))
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert choice.cache.versions("onnxruntime") == ("1.23.4", str(torch.__version__), "1")
    assert choice.cache.versions("onnxscript")[0] == ""


def test_a_damaged_measurement_is_made_again(world, tmp_path):
    fastest(how([]), None)
    [file] = tmp_path.glob("*.json")
    for content in (b"{", b"[1]", b'{"torch": "1"}', b"{}"):
        file.write_bytes(content)
        before = world["clock"][0]
        assert fastest(how([]), None).name == "openvino"
        assert world["clock"][0] > before


def test_pytorch_alone_is_neither_measured_nor_spoken_of(world, monkeypatch):
    lines: list[str] = []
    monkeypatch.setattr(choice.extras, "find_spec", lambda name: None)
    assert fastest(how(lines), None).name == "torch"
    assert lines == [] and world["clock"] == [0.0]


def test_what_has_nothing_for_the_device_is_left_out(world):
    lines: list[str] = []
    world["fails"].add("openvino")
    assert fastest(how(lines), None).name == "onnxruntime"
    world["fails"].add("onnxruntime")
    assert fastest(how(lines), None).name == "torch"
    assert len(lines) == 2


def test_compile_means_pytorch(world):
    assert fastest(how([], compile=True), None).name == "torch"
    assert world["built"] == ["torch"]


@pytest.mark.parametrize(("kind", "next_time"), [(EngineError, "openvino"), (Unfit, "onnxruntime")])
def test_what_fails_is_named_and_left_out_for_ever_only_if_the_network_is_unfit(world, monkeypatch, kind, next_time):
    lines: list[str] = []
    run = Slow.__call__

    def failing(engine, images):
        if engine.name == "openvino":
            raise kind("engine openvino: does not know aten::x")
        return run(engine, images)

    monkeypatch.setattr(Slow, "__call__", failing)
    assert fastest(how(lines), None).name == "onnxruntime"
    assert any("aten::x" in line for line in lines)
    monkeypatch.setattr(Slow, "__call__", run)
    assert fastest(how([]), None).name == next_time


def test_if_none_runs_the_network_it_is_said(world, monkeypatch):
    def failing(engine, images):
        raise EngineError("no")

    monkeypatch.setattr(Slow, "__call__", failing)
    with pytest.raises(EngineError, match="none of torch, openvino, onnxruntime"):
        fastest(how([]), None)


@pytest.mark.parametrize(
    "options", [{"upscale": 4}, {"upsampler": "pixelshuffledirect"}, {"upsampler": "", "upscale": 1}], ids=str
)
def test_a_part_of_a_hat_runs_and_leaves_the_hat_as_it_is(options):
    torch.manual_seed(0)
    sizes = {"embed_dim": 12, "depths": (3, 2), "num_heads": (2, 2), "window_size": 4, "squeeze_factor": 4}
    network = HAT(**sizes, **options).eval()
    image = torch.rand(1, 3, 8, 8)
    before, count = Prepared(network)(image), sum(1 for _ in network.modules())
    part = part_of(network)
    assert Prepared(part)(image).shape == (1, 3, 8 * part.upscale, 8 * part.upscale)
    assert sum(p.numel() for p in part.parameters()) < 0.7 * sum(p.numel() for p in network.parameters())
    assert torch.equal(Prepared(network)(image), before) and sum(1 for _ in network.modules()) == count
    assert len(network.layers) == 2 and len(network.layers[0].residual_group.blocks) == 3


def test_engines_that_are_installed_are_measured(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setenv("HAT_ARCH_ENGINES", str(tmp_path))
    monkeypatch.setattr(measuring, "SECONDS", 0.0)
    monkeypatch.setattr(choice.extras, "find_spec", lambda name: name if name == "openvino" else None)
    lines: list[str] = []
    network = nn.Conv2d(3, 3, 3, 1, 1)
    upscaler = Upscaler(network, 1, engine="auto", report=lines.append)
    images = torch.rand(1, 3, 8, 8)
    assert upscaler.run.name in ("torch", "openvino") and upscaler.run.name in lines[-1]
    assert (upscaler(images) - network(images)).abs().max() < 1e-5


def test_times_are_those_of_engines_in_turn(world):
    order = []
    run = Slow.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Slow, "__call__", lambda engine, images: (order.append(engine.name), run(engine, images))[1])
        seconds, lasts = choice.measured({**how([]), "dtype": None}, ["torch", "openvino"])
    assert lasts and seconds == {"torch": 3.0, "openvino": 1.0}
    assert [name for name, _ in itertools.groupby(order[4:])] == ["torch", "openvino"] * measuring.ROUNDS
