"""The models that a page offers, and the settings of visitors."""

import pytest
import torch

from hat_arch import cli
from hat_arch.utils.errors import UserError
from hat_arch.web import networks
from hat_arch.web.limits import Refused
from hat_arch.web.networks import Networks
from hat_arch.weights import named


@pytest.fixture
def tiny(weights):
    return Networks([str(weights)], None, torch.device("cpu"))


def test_without_a_name_the_model_fits_the_scale():
    offered = Networks([], None, torch.device("cpu"))
    assert {model.name for model in named.models().values() if model.inside} <= set(offered.choices)
    assert not offered.ready
    for wanted, scale in (({}, 4), ({"scale": "4"}, 4), ({"scale": "2"}, 2), ({"scale": "1.5"}, 1.5)):
        settings = offered.settings(wanted)
        assert (settings.model, settings.scale) == (named.default(scale).name, scale)
    for model in offered.choices.values():
        settings = offered.settings({"model": model.name, "scale": "3", "denoise": "0.5"})
        assert settings.scale == (3 if model.scale > 1 else 1)  # what cleans keeps the size
        assert settings.denoise == (0.5 if named.named(model.name).mixes_with else None)


def test_what_is_named_alone_is_offered_and_its_scale_is_the_default(tiny):
    settings = tiny.settings({})
    assert (settings.model, settings.scale, settings.metadata) == ("tiny", 2, True)
    assert tiny.describe()["automatic"] is None
    with pytest.raises(Refused):
        tiny.settings({"model": "hat-light-x4"})
    with pytest.raises(UserError, match="nothing"):
        Networks(["nothing"], None, torch.device("cpu"))


@pytest.mark.parametrize("engine,says", [("best", "HAT_ARCH_ENGINE=best: may be"), ("openvino", "is not installed")])
def test_an_engine_that_is_not_there_is_told_at_the_start(weights, monkeypatch, engine, says):
    monkeypatch.setenv("HAT_ARCH_ENGINE", engine)
    monkeypatch.setitem(networks.CHOICES, "engine", (engine, "auto", "torch"))
    monkeypatch.setattr(networks.extras, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=says):
        Networks([str(weights)], None, torch.device("cpu"))


def test_an_exported_file_is_offered_too(weights, tmp_path, capsys):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    file = tmp_path / "exported.onnx"
    assert cli.main(["export", str(weights), "-o", str(file)]) == 0
    offered = Networks([str(file)], ({"type": "MSRResNet"}, 2), torch.device("cpu"))
    ready = offered.load(offered.settings({"engine": "onnxruntime"}))
    assert (ready.model.name, ready.upscaler.scale) == ("exported", 2)
    with pytest.raises(UserError, match=r"exported\.onnx: is for --engine openvino or onnxruntime"):
        offered.load(offered.settings({"engine": "torch"}))


def test_a_few_networks_stay_in_memory_and_no_more(tiny):
    first = tiny.load(tiny.settings({}))
    assert tiny.load(tiny.settings({"format": "jpg", "scale": "3"})) is first
    for tile in ("128", "256"):
        tiny.load(tiny.settings({"tile": tile}))
    assert len(tiny.ready) == networks.KEPT
    assert tiny.load(tiny.settings({})) is not first


def test_how_long_it_takes_is_known_once_it_was_measured(tiny):
    settings = tiny.settings({})
    assert tiny.seconds(settings, 100) is None
    tiny.load(settings)
    assert 0 < tiny.seconds(settings, 100) < tiny.seconds(settings, 1000)


def test_the_page_and_the_command_have_the_same_words():
    args = cli.build_parser().parse_args(["upscale", "a.png"])
    assert [networks.CHOICES[name][0] for name in networks.COMPUTING] == [
        getattr(args, name) for name in networks.COMPUTING
    ]
    for name in networks.COMPUTING:
        for value in networks.CHOICES[name]:
            cli.build_parser().parse_args(["upscale", "a.png", f"--{name}", value])
