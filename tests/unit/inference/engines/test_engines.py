"""Each engine beside PyTorch: the same images of all scales, sizes and batches; what it keeps; what goes wrong."""

from __future__ import annotations

import importlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from hat_arch import HAT, Upscaler
from hat_arch.inference import engines, memory
from hat_arch.inference.engines import EngineError, base
from hat_arch.utils import caches
from hat_arch.utils.errors import UserError

OTHERS = ["openvino", "onnxruntime"]
TINY = {"embed_dim": 12, "depths": (2,), "num_heads": (2,), "window_size": 4, "squeeze_factor": 4, "mlp_ratio": 2}
TASKS = [("pixelshuffle", scale) for scale in (1, 2, 3, 4)] + [("pixelshuffledirect", 3), ("", 1)]
SIZES = [(1, 1, 1), (2, 9, 13), (1, 4, 8), (1, 4, 8), (3, 1, 6), (1, 17, 4)]


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """The folder in which engines keep what they have made."""
    monkeypatch.setenv("HAT_ARCH_ENGINES", str(tmp_path / "engines"))
    return tmp_path / "engines"


@pytest.fixture(params=OTHERS)
def engine(request) -> str:
    pytest.importorskip(request.param)
    return request.param


def hat(upsampler: str = "pixelshuffle", scale: int = 2, **options) -> HAT:
    torch.manual_seed(0)
    network = HAT(**TINY | {"upscale": scale, "upsampler": upsampler, "conv_scale": 0.5} | options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return network.eval()


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.GELU(), nn.Conv2d(8, 12, 3, 1, 1), nn.PixelShuffle(2)).eval()


def difference(upscaler: Upscaler, *shape: int) -> float:
    """Largest difference to what PyTorch computes in fp32."""
    images = torch.rand(shape[0], 3, *shape[1:])
    return float((upscaler(images) - Upscaler(upscaler.network, upscaler.scale)(images)).abs().max())


def build(name: str, network: nn.Module, dtype=None, device="cpu", report=lambda line: None, **how) -> engines.Engine:
    how = {"multiple": 4, "channels": 3, **how}
    return engines.build(name, network, dtype, torch.device(device), report=report, **how)


# ---- results


@pytest.mark.parametrize("upsampler, scale", TASKS, ids=str)
def test_results_are_those_of_pytorch(engine, upsampler, scale):
    small = {} if scale == 4 else {"use_cab": False, "use_ocab": False}  # exporting takes seconds
    upscaler = Upscaler(hat(upsampler, scale, **small), engine=engine)
    for shape in SIZES:
        assert difference(upscaler, *shape) < 1e-4, shape


def test_results_in_bf16(kept):
    pytest.importorskip("openvino")
    try:
        upscaler = Upscaler(hat(), engine="openvino", precision="bf16")
    except EngineError as error:  # a processor without it
        assert "has no bf16" in str(error) and "fp32" in str(error)
        return
    assert 0 < difference(upscaler, 2, 9, 13) < 0.05


def test_tiles_batches_and_self_ensemble(engine):
    network = hat()
    for options in ({"tile": 8, "overlap": 4, "batch": 4}, {"tile": 8, "overlap": 0}, {"self_ensemble": True}):
        torch_, other = (Upscaler(network, engine=name, **options) for name in ("torch", engine))
        images = torch.rand(1, 3, 19, 26)
        assert (torch_(images) - other(images)).abs().max() < 1e-4


def test_a_network_that_is_no_hat(engine):
    assert difference(Upscaler(convolutional(), 2, engine=engine), 2, 7, 9) < 1e-4


class Padding(nn.Module):
    """Pads images to windows of 8 by what a tracer takes for constants, as networks of others do."""

    def forward(self, images):
        height, width = images.shape[-2:]
        padded = nn.functional.pad(images, (0, int(-width % 8), 0, int(-height % 8)))
        means = nn.functional.avg_pool2d(padded, 8)
        return nn.functional.interpolate(means, scale_factor=8.0)[..., :height, :width]


def test_a_graph_that_is_right_for_whole_windows_alone_is_refused():
    pytest.importorskip("openvino")
    with pytest.raises(EngineError, match="computes something else"):
        Upscaler(Padding(), 1, engine="openvino")(torch.rand(1, 3, 9, 13))


@pytest.mark.parametrize("change", ["in place", "by data", "loaded"])
def test_changed_weights_are_followed(engine, change):
    network = convolutional()
    upscaler = Upscaler(network, 2, engine=engine)
    upscaler(torch.rand(1, 3, 8, 8))
    weight = network[0].weight
    if change == "in place":
        with torch.no_grad():
            weight.mul_(3)
    elif change == "by data":
        weight.data[0] = 3
    else:
        network.load_state_dict({name: 2 * value for name, value in network.state_dict().items()})
    images = torch.rand(1, 3, 8, 8)
    assert (upscaler(images) - Upscaler(network, 2)(images)).abs().max() < 1e-4


def test_an_engine_that_computes_something_else_is_found_out():
    class Fixed(nn.Module):
        """Its graph is right for images of the size that it is traced with alone."""

        def forward(self, x):
            return x * float(x.shape[-1])

    pytest.importorskip("openvino")
    with pytest.raises(EngineError, match=r"openvino: computes something else.*--engine torch"):
        build("openvino", Fixed())(torch.rand(1, 3, 8, 8))


def test_an_option_file_names_an_engine(engine):
    opt = {"scale": 2, "network_g": {"window_size": 4}, "val": {"engine": engine, "save_img": False}}
    upscaler = Upscaler.from_options(hat(), opt)
    assert upscaler.run.name == engine and Upscaler.from_options(hat(), {**opt, "val": {}}).run.name == "torch"


def test_openvino_tells_nobody(monkeypatch):
    pytest.importorskip("openvino")
    telemetry = pytest.importorskip("openvino_telemetry")
    monkeypatch.delenv("CI", raising=False)
    sent = []
    monkeypatch.setattr(telemetry.backend.backend_ga4.GA4Backend, "send", lambda self, message: sent.append(message))
    build("openvino", convolutional())(torch.rand(1, 3, 8, 8))
    assert sent == [] and "CI" not in os.environ


# ---- what is kept


def test_a_second_start_converts_nothing(engine, kept, monkeypatch):
    network, lines = convolutional(), []
    images = torch.rand(1, 3, 8, 8)
    first = build(engine, network, report=lines.append)
    results = [first(images), first(images)]
    assert len(lines) == 1 and "once" in lines[0]
    again = build(engine, network, report=lines.append)
    assert (again(images) - results[1]).abs().max() < 1e-6 and len(lines) == 1
    network[1] = nn.ReLU()  # other layers with the same weights
    other = build(engine, network, report=lines.append)
    assert (other(images) - network(images)).abs().max() < 1e-5 and len(lines) == 2


def test_files_of_another_version_are_not_used(engine, monkeypatch):
    lines: list[str] = []
    build(engine, convolutional(), report=lines.append)(torch.rand(1, 3, 8, 8))
    monkeypatch.setattr(engines.cache, "version", lambda package: "0")
    build(engine, convolutional(), report=lines.append)(torch.rand(1, 3, 8, 8))
    assert len(lines) == 2


def test_damaged_files_are_made_again(engine, kept):
    network, images = convolutional(), torch.rand(1, 3, 8, 8)
    expected = build(engine, network)(images)
    for file in kept.iterdir():
        if file.suffix in (".blob", ".onnx"):
            file.write_bytes(file.read_bytes()[:100])
    assert (build(engine, network)(images) - expected).abs().max() < 1e-6


def test_a_folder_that_cannot_be_written(engine, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HAT_ARCH_ENGINES", str(tmp_path / "file/engines"))
    with pytest.raises(UserError, match=r"HAT_ARCH_ENGINES: .*cannot be written"):
        build(engine, convolutional())
    monkeypatch.delenv("HAT_ARCH_ENGINES")
    monkeypatch.setattr(caches, "folder", lambda: tmp_path / "file")
    lines: list[str] = []
    images, network = torch.rand(1, 3, 8, 8), convolutional()
    assert (build(engine, network, report=lines.append)(images) - network(images)).abs().max() < 1e-5
    assert "cannot be written" in lines[0] and "nothing is kept" in lines[0]


def test_the_folder_does_not_grow_without_end(kept, monkeypatch):
    monkeypatch.setattr(engines.cache, "LIMIT", 250)
    cache = engines.cache.Cache(print)
    (kept / "thesis.onnx").write_bytes(bytes(1000))
    a, b, c = (f"{engines.cache.key(name)}.onnx" for name in "abc")
    for age, name in enumerate((a, b)):
        cache.write(name, bytes(100))
        os.utime(kept / name, (age, age))
    cache.read(a)
    cache.write(c, bytes(100))
    assert [cache.has(name) for name in (a, b, c, "thesis.onnx")] == [True, False, True, True]
    cache.write(b, bytes(300))
    assert not cache.has(b)


def test_processes_that_keep_the_same_do_not_disturb_each_other(kept):
    lines: list[str] = []
    name, content = f"{engines.cache.key(0)}.bin", os.urandom(2**22)

    def write() -> None:
        engines.cache.Cache(lines.append).write(name, content)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: write(), range(12)))
    assert lines == [] and (kept / name).read_bytes() == content


# ---- what goes wrong


def test_an_engine_that_is_not_installed(monkeypatch):
    monkeypatch.setattr("hat_arch.utils.extras.find_spec", lambda name: None)
    for name, extra in (("openvino", "openvino"), ("onnxruntime", "onnx")):
        with pytest.raises(UserError, match=rf"{name}: is not installed; pip install 'hat-arch\[{extra}\]'"):
            Upscaler(convolutional(), 2, engine=name)


def test_an_unknown_engine():
    with pytest.raises(ValueError, match="engine is 'tensorflow'; it may be torch, openvino"):
        Upscaler(convolutional(), 2, engine="tensorflow")  # type: ignore[arg-type]


@pytest.mark.parametrize("error", [RuntimeError("std::bad_alloc"), Exception("Failed to allocate memory for 9 bytes")])
def test_without_enough_memory_tiles_become_smaller(engine, monkeypatch, error):
    network, lines = convolutional(), []
    upscaler = Upscaler(network, 2, engine=engine, tile=128, overlap=8, report=lines.append)
    runs = "_infer" if engine == "openvino" else "_run"
    run = getattr(upscaler.run, runs)

    def limited(runner, images):
        if images.shape[-1] > 64:
            raise error
        return run(runner, images)

    monkeypatch.setattr(upscaler.run, runs, limited)
    images = torch.rand(1, 3, 100, 100)
    assert (upscaler(images) - network(images)).abs().max() < 1e-4
    assert any("out of memory: tiles of 50" in line for line in lines)


def test_errors_of_a_runtime_become_ours():
    with pytest.raises(MemoryError), base.runtime_errors("openvino"):
        raise RuntimeError("bad allocation")
    told = r"engine openvino: fails: KeyError: 'x'.*--engine torch"
    with pytest.raises(EngineError, match=told), base.runtime_errors("openvino"):
        raise KeyError("x")
    with pytest.raises(UserError, match=r"^mine$"), base.runtime_errors("openvino"):
        raise UserError("mine")


def test_large_images_are_compiled_for_at_once(kept, monkeypatch):
    pytest.importorskip("openvino")
    module = importlib.import_module("hat_arch.inference.engines.openvino")
    monkeypatch.setattr(module, "ONCE_PIXELS", 100)
    run = build("openvino", convolutional())
    for side in (10, 11, 10, 12):
        run(torch.rand(1, 3, side, side))
    shapes = {file.stem.partition("-")[2] for file in kept.glob("*.blob")}
    assert shapes == {"", "1x3x10x10", "1x3x11x11", "1x3x12x12"}
    assert len(run.graphs) == module.KEPT


def test_memory_is_measured_from_the_start(engine):
    run = build(engine, convolutional(), multiple=1)
    model = memory.measure(run, 3, 1, torch.device("cpu"), run.release)
    assert model.per_pixel >= 4 * 3 * 5 and model.bytes(64 * 64) > 0


def test_other_devices_and_precisions(engine):
    with pytest.raises(EngineError, match=r"cuda.*--device cpu"):
        build(engine, convolutional(), device="cuda")
    if engine == "onnxruntime":
        with pytest.raises(EngineError, match="computes in fp32"):
            build(engine, convolutional(), torch.bfloat16)
    with pytest.raises(EngineError, match="leave out compile"):
        build(engine, convolutional(), compile=True)


def test_a_processor_without_bf16(monkeypatch):
    runtime = pytest.importorskip("openvino")
    monkeypatch.setattr(runtime.Core, "get_property", lambda *_: ["FP32"])
    with pytest.raises(EngineError, match="has no bf16 on this processor; take --precision fp32"):
        build("openvino", convolutional(), torch.bfloat16)


class Unknown(nn.Module):
    """A network with an operator that no exporter knows."""

    def forward(self, x):
        return torch.special.airy_ai(x) + nn.functional.interpolate(x, scale_factor=1)


def test_operators_that_cannot_be_exported_are_named(engine):
    with pytest.raises(UserError, match="airy_ai"):
        build(engine, Unknown())(torch.rand(1, 3, 8, 8))
