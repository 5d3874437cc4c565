"""Exported files: what they compute and say, and what is done with those of other programs."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from hat_arch import HAT, Upscaler
from hat_arch.inference import export, exported
from hat_arch.inference.engines import EngineError
from hat_arch.inference.exported_file import Facts, FileError, facts_of
from hat_arch.inference.graphs import ExportError, to_onnx
from hat_arch.utils.extras import MissingError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

FACTS = Facts(scale=2, window=4, source="w.pth", sha256="ab", version="1")


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("HAT_ARCH_ENGINES", str(tmp_path / "engines"))


def hat(**options) -> HAT:
    torch.manual_seed(0)
    sizes = {"embed_dim": 12, "depths": (2,), "num_heads": (2,), "window_size": 4, "squeeze_factor": 4, "mlp_ratio": 2}
    network = HAT(**sizes | {"upscale": 2, "conv_scale": 0.5} | options)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return network.eval()


def convolutional() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 12, 3, 1, 1), nn.PixelShuffle(2)).eval()


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])
def test_an_onnx_file_for_every_size(tmp_path, half):
    file, network = tmp_path / "hat.onnx", hat(embed_dim=36)
    tried = list(export.export(network, file, FACTS, half))
    assert len({shape for shape, _ in tried}) == 5 and (1, 3, 1, 1) in dict(tried)
    assert all(difference < 1e-4 for _, difference in tried)
    assert facts_of(file) == FACTS
    onnx.checker.check_model(file)
    stored = {tensor.data_type for tensor in onnx.load(file).graph.initializer}
    assert (onnx.TensorProto.FLOAT16 in stored) == half
    upscaler = Upscaler(file, engine="onnxruntime")
    assert (upscaler.scale, upscaler.multiple, upscaler.channels) == (2, 4, 3)
    images = torch.rand(2, 3, 9, 6)
    assert (upscaler(images) - Upscaler(network)(images)).abs().max() < 1e-4


def test_an_onnx_file_for_one_size(tmp_path):
    file, network = tmp_path / "hat.onnx", hat()
    facts = Facts(scale=2, window=4, size=(16, 24))
    assert [shape for shape, _ in export.export(network, file, facts)] == [(1, 3, 16, 24)]
    for name in ("onnxruntime", "openvino"):
        pytest.importorskip(name)
        upscaler = Upscaler(file, engine=name)
        images = torch.rand(2, 3, 16, 24)
        inside = upscaler(images[..., :16])
        assert (upscaler.run(images) - Upscaler(network)(images)).abs().max() < 1e-4
        assert inside.shape == (2, 3, 32, 32)
        assert upscaler(torch.rand(1, 3, 40, 17)).shape == (1, 3, 80, 34)  # in tiles
        with pytest.raises(EngineError, match="takes images of 16x24, not of 40x20"):
            Upscaler(file, engine=name, tile="whole")(torch.rand(1, 3, 40, 17))


def test_a_program_of_pytorch(tmp_path):
    file, network = tmp_path / "hat.pt2", hat()
    assert all(difference < 1e-4 for _, difference in export.export(network, file, FACTS))
    told = {"hat_arch": ""}
    program = torch.export.load(file, extra_files=told).module()
    assert json.loads(told["hat_arch"])["sha256"] == "ab"
    images = torch.rand(3, 3, 11, 5)
    with torch.no_grad():
        assert (program(images) - network(images)).abs().max() < 1e-5


def test_a_file_that_computes_something_else_is_not_written(tmp_path, monkeypatch):
    file, other = tmp_path / "hat.onnx", convolutional()
    file.write_text("before")
    with torch.no_grad():
        other[0].weight.mul_(2)
    monkeypatch.setattr(export, "to_onnx", lambda network, image, fixed: to_onnx(other, image, fixed))
    with pytest.raises(ExportError, match="not written"):
        list(export.export(convolutional(), file, FACTS))
    assert file.read_text() == "before"
    assert list(tmp_path.glob("*.partial")) == []


class Branching(nn.Module):
    """A network whose graph depends on the size."""

    def forward(self, x):
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3) * (2 if x.shape[-1] > 20 else 1)


class Even(nn.Module):
    """A network that takes images of even sides alone."""

    def forward(self, x):
        down = nn.functional.pixel_unshuffle(x, 2)
        return nn.functional.pixel_shuffle(down.repeat_interleave(4, 1), 4)


def test_a_network_that_takes_even_sides_alone(tmp_path):
    tried = dict(export.export(Even(), tmp_path / "x.onnx", Facts(2, window=2)))
    assert len(tried) == 5 and all(side % 2 == 0 for shape in tried for side in shape[2:])


class Unknown(nn.Module):
    """A network with an operator that ONNX does not have."""

    def forward(self, x):
        return torch.special.airy_ai(x).repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_network_that_is_for_one_size_alone(tmp_path):
    with pytest.raises(ExportError, match=r"Branching cannot be exported.*--size"):
        list(export.export(Branching(), tmp_path / "x.onnx", Facts(2)))
    list(export.export(Branching(), tmp_path / "x.onnx", Facts(2, size=(8, 8))))


def test_operators_that_onnx_does_not_have_are_named(tmp_path):
    with pytest.raises(ExportError, match="airy_ai"):
        list(export.export(Unknown(), tmp_path / "x.onnx", Facts(2)))
    assert list(tmp_path.glob("x*")) == []


# ---- files of other programs


@pytest.fixture
def foreign(tmp_path):
    """An ONNX file that says nothing of itself; ×2."""
    file = tmp_path / "foreign.onnx"
    onnx.save(to_onnx(convolutional(), torch.rand(2, 3, 8, 8)), file)
    return file


def test_a_file_without_a_scale_asks_for_one(foreign):
    with pytest.raises(FileError, match="does not tell its scale; say it: --scale N"):
        exported.load(foreign)
    with pytest.raises(FileError, match=r"--scale 3: .* makes \(1, 3, 64, 64\)"):
        exported.load(foreign, 3)
    loaded = exported.load(foreign, 2)
    assert (loaded.scale, loaded.multiple, loaded.channels) == (2, 1, 3)
    images = torch.rand(1, 3, 7, 9)
    upscaled = Upscaler(foreign, 2, engine="onnxruntime")(images)
    assert (upscaled - Upscaler(convolutional(), 2)(images)).abs().max() < 1e-5


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_files_that_say_the_same_are_told_apart(tmp_path, foreign, engine):
    pytest.importorskip(engine)
    images = torch.rand(1, 3, 8, 8)
    results = []
    for factor in (1, 2):
        network = convolutional()
        with torch.no_grad():
            network[0].weight.mul_(factor)
            network[0].bias.mul_(factor)
        onnx.save(to_onnx(network, torch.rand(2, 3, 8, 8)), foreign)
        results.append(Upscaler(exported.load(foreign, 2).network, engine=engine)(images))
    assert (results[1] - 2 * results[0]).abs().max() < 1e-5


def test_what_is_for_weights_is_refused(foreign):
    with pytest.raises(FileError, match="leave out --param_key"):
        exported.load(foreign, 2, param_key="params")


def test_the_engine_of_a_file_for_one_size_is_chosen(tmp_path):
    pytest.importorskip("openvino")
    file, lines = tmp_path / "small.onnx", []
    list(export.export(convolutional(), file, Facts(2, size=(16, 16))))
    upscaler = Upscaler(file, engine="auto", report=lines.append)
    images = torch.rand(1, 3, 16, 16)
    assert (upscaler(images) - Upscaler(convolutional(), 2)(images)).abs().max() < 1e-5
    assert upscaler.run.name in lines[-1] and "the fastest here" in lines[-1]


def test_a_damaged_file(tmp_path, foreign):
    content = foreign.read_bytes()
    for damaged in (b"", b"hello" * 100, content[: len(content) // 2]):
        foreign.write_bytes(damaged)
        with pytest.raises(FileError, match=r"foreign\.onnx: "):
            exported.load(foreign, 2)
    with pytest.raises(FileError, match="no such file"):
        exported.load(tmp_path / "gone.onnx")


def test_damaged_metadata_are_none(foreign):
    model = onnx.load(foreign)
    for told in ("{", "[]", "{}", "null"):
        del model.metadata_props[:]
        model.metadata_props.add(key="hat_arch", value=told)
        onnx.save(model, foreign)
        assert facts_of(foreign) is None


def test_a_graph_that_takes_no_images(tmp_path):
    file = tmp_path / "linear.onnx"
    program = torch.onnx.export(nn.Linear(3, 3), (torch.rand(2, 3),), dynamo=True, verbose=False)
    onnx.save(program.model_proto, file)
    with pytest.raises(FileError, match=r"no images \(B, C, H, W\)"):
        exported.load(file, 2)


def test_a_file_is_for_other_engines_than_pytorch(foreign):
    with pytest.raises(EngineError, match="not for torch"):
        Upscaler(exported.load(foreign, 2).network, engine="torch")


def test_without_a_runtime(tmp_path, foreign, monkeypatch):
    monkeypatch.setattr("hat_arch.utils.extras.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install 'hat-arch\[onnx\]'"):
        list(export.export(convolutional(), tmp_path / "x.onnx", FACTS))
    with pytest.raises(MissingError, match=r"pip install 'hat-arch\[onnx\]'"):
        exported.load(foreign)
