"""Files of weights: what can be read, what fits a network, and what is refused."""

from __future__ import annotations

import logging
import pickle
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from basicsr.models import build_model
from torch import nn

from hat_arch import config
from hat_arch.training import checkpoints
from hat_arch.training.checkpoints import CheckpointError
from hat_arch.weights.files import WeightsError, choose, choose_to_start_from, fitting, read_weights

PLAIN = {"conv.weight": torch.arange(4.0).view(2, 2), "conv.bias": torch.ones(2)}
WRAPPED = {f"module.{name}": value for name, value in PLAIN.items()}


def assert_same(weights, expected=PLAIN):
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize("content", [PLAIN, WRAPPED, {"params": PLAIN}, {"params": WRAPPED, "epoch": 3}])
def test_one_set_of_weights_is_params(tmp_path, content):
    torch.save(content, tmp_path / "net.pth")
    weights = read_weights(tmp_path / "net.pth")
    assert list(weights) == ["params"]
    assert_same(weights["params"])


def test_weights_and_their_average_are_told_apart(tmp_path):
    average = {name: value + 1 for name, value in PLAIN.items()}
    torch.save({"params": PLAIN, "params_ema": average}, tmp_path / "net.pth")
    weights = read_weights(tmp_path / "net.pth")
    assert_same(weights["params"])
    assert_same(weights["params_ema"], average)


def test_safetensors_are_read(tmp_path):
    net = nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last)
    state = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "net.safetensors")
    assert_same(read_weights(tmp_path / "net.safetensors")["params"], dict(net.state_dict()))
    safetensors.torch.save_file(WRAPPED, tmp_path / "wrapped.safetensors")
    weights = read_weights(tmp_path / "wrapped.safetensors")["params"]
    assert weights.keys() == PLAIN.keys()


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.97])
def test_damaged_files_are_refused_in_one_line(tmp_path, name, part):
    file = tmp_path / name
    if name.endswith("pth"):
        torch.save(PLAIN, file)
    else:
        safetensors.torch.save_file(PLAIN, file)
    data = file.read_bytes()
    file.write_bytes(data[: int(part * len(data))])
    with pytest.raises(WeightsError, match=r"^(is empty|is cut off|cannot be read)[^\n]+download it again$"):
        read_weights(file)


class Code:
    """Makes a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return open, (str(self.file), "w")


@pytest.mark.parametrize("save", [torch.save, lambda content, file: file.write_bytes(pickle.dumps(content))])
def test_code_in_a_file_is_not_run(tmp_path, save):
    save({"params": PLAIN, "more": Code(tmp_path / "ran")}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"cannot be read as weights: .* code") as caught:
        read_weights(tmp_path / "net.pth")
    assert "weights_only" not in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "net_g.", "net_g.module."])
@pytest.mark.parametrize("name", ["net.pth", "net.pt", "net.CKPT", "net.safetensors", "NET.SAFETENSORS"])
def test_prefixes_of_other_programs_are_taken_off(tmp_path, prefix, name):
    state = {f"{prefix}{key}": value.half() for key, value in PLAIN.items()}
    if prefix.startswith("net_g."):
        state["net_d.conv.weight"] = torch.ones(1)
    if name.lower().endswith("safetensors"):
        safetensors.torch.save_file(state, tmp_path / name)
    else:
        torch.save({"state_dict": state, "epoch": 3, "best": np.float64(31.5)}, tmp_path / name)
    [weights] = read_weights(tmp_path / name).values()
    assert_same(weights, {key: value.half() for key, value in PLAIN.items()})


def test_weights_are_chosen_by_name_or_preference():
    average = {"a": torch.ones(1)}
    content = {"params": PLAIN, "params_ema": average, "optimizer": {}}
    assert choose(content)[0] == "params_ema" and choose(content, "params")[0] == "params"
    assert choose_to_start_from(content, None)[0] == choose_to_start_from(content, "state_dict")[0] == "params"
    assert choose_to_start_from(content, "params_ema") == ("params_ema", average)
    for key in (None, "params", "generator"):  # BasicSR's default key is params
        assert choose_to_start_from({"generator": PLAIN}, key) == ("generator", PLAIN)
    assert choose({"model": PLAIN, "other": average})[0] == "model"
    with pytest.raises(WeightsError, match="no weights named b; it has: a"):
        choose({"a": PLAIN}, "b")
    with pytest.raises(WeightsError, match="no weights named b; it has: a"):
        choose_to_start_from({"a": PLAIN}, "b")


def test_what_is_no_dict_is_refused(tmp_path):
    torch.save([PLAIN], tmp_path / "net.pth")
    with pytest.raises(WeightsError, match="holds no weights, but an object of type list"):
        read_weights(tmp_path / "net.pth")


@pytest.mark.parametrize("content", [{"state": {0: {"step": 1}}, "param_groups": []}, {"params": {"epoch": 3}}])
def test_what_is_no_weights_gives_none(tmp_path, content):
    torch.save(content, tmp_path / "adam.pth")  # such as the state of an optimizer
    assert not any(read_weights(tmp_path / "adam.pth").values())


def test_fitting_names_what_does_not_fit():
    network = {**PLAIN, **{f"body.{n}": torch.zeros(1) for n in range(8)}}
    fit = fitting({**PLAIN, "conv.bias": torch.ones(3), "tail": torch.ones(1)}, network)
    assert not fit.complete and list(fit.weights) == ["conv.weight"]
    assert fit.summary() == "1 of 10 tensors of the network"
    assert fit.lines() == [
        "8 not in the file: body.0, body.1, body.2, body.3, body.4, body.5, …",
        "1 not in the network: tail",
        "1 of another shape: conv.bias [3] for [2]",
    ]
    whole = fitting(PLAIN, PLAIN)
    assert whole.complete and whole.lines() == []


@pytest.fixture
def make(options, write_options, tmp_path, caplog):
    """Builds a model for training and returns it with what it logged."""

    def make(scale, file=None, strict=True, key=None, **network):
        options["scale"] = options["network_g"]["upscale"] = scale
        options["network_g"].update(network)
        options["path"] = {"pretrain_network_g": file and str(file), "strict_load_g": strict}
        options["path"] |= {"param_key_g": key} if key else {}
        opt = config.load(write_options(options), is_train=True)
        opt.update(dist=False, rank=0, world_size=1, is_train=True)
        opt["path"].update(models=str(tmp_path), training_states=str(tmp_path))
        logging.getLogger("basicsr").propagate = True
        caplog.clear()
        with caplog.at_level(logging.INFO, "basicsr"):
            return build_model(opt), caplog.text

    return make


@pytest.fixture
def of_scale_2(make, tmp_path):
    model, _ = make(2)
    file = tmp_path / "x2.pth"
    torch.save({"params": model.net_g.state_dict()}, file)
    return file, model.net_g.state_dict()


def test_weights_of_scale_2_start_scale_4_where_they_fit(make, of_scale_2):
    file, weights = of_scale_2
    with pytest.raises(config.ConfigError, match=r"does not fit network_g: .*strict_load_g: false to take what fits"):
        make(4, file)
    model, log = make(4, file, strict=False)
    now = model.net_g.state_dict()
    differ = {name for name in now if name not in weights or not torch.equal(now[name], weights[name])}
    assert differ == {"upsample.2.weight", "upsample.2.bias"}
    average = model.net_g_ema.state_dict()
    assert all(torch.equal(average[name], weights[name]) for name in weights)
    assert f"Loading params of {file}: {len(now) - 2} of {len(now)} tensors of the network" in log
    assert "2 not in the file: upsample.2.bias, upsample.2.weight" in log


def test_weights_of_which_nearly_nothing_fits_are_refused(make, of_scale_2):
    file, weights = of_scale_2
    torch.save({"params": {"conv_first.bias": weights["conv_first.bias"]}}, file)
    with pytest.raises(config.ConfigError, match="does not fit network_g") as caught:
        make(2, file, strict=False)
    assert "give the arguments that it was trained with" in str(caught.value)
    assert "strict_load_g: false" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "key"), [("state_dict", None), ("state_dict", "state_dict"), ("generator", "generator")]
)
def test_the_model_loads_weights_of_any_name(make, of_scale_2, tmp_path, options, name, key):
    _, weights = of_scale_2
    torch.save({name: {f"net_g.{tensor}": value for tensor, value in weights.items()}}, tmp_path / "it.ckpt")
    model, log = make(2, tmp_path / "it.ckpt", key=key)
    assert f"Loading {name} of " in log
    for net in (model.net_g, model.net_g_ema):
        assert all(torch.equal(value, weights[tensor]) for tensor, value in net.state_dict().items())


def test_a_key_that_is_not_there_is_refused_with_those_that_are(make, of_scale_2, tmp_path):
    torch.save({"generator": of_scale_2[1]}, tmp_path / "it.pth")
    with pytest.raises(config.ConfigError, match=r"path\.param_key_g: .*no weights named ema; it has: generator"):
        make(2, tmp_path / "it.pth", key="ema")


def test_a_state_of_training_is_refused_as_weights(make, tmp_path):
    torch.save({"state": {0: {"step": 1}}, "params": {"epoch": 3}}, tmp_path / "adam.pth")
    with pytest.raises(config.ConfigError, match=r"adam\.pth"):
        make(4, tmp_path / "adam.pth")


def test_the_model_loads_safetensors(make, of_scale_2, tmp_path):
    _, weights = of_scale_2
    safetensors.torch.save_file(weights, tmp_path / "x2.safetensors")
    model, _ = make(2, tmp_path / "x2.safetensors")
    for net in (model.net_g, model.net_g_ema):
        assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())


def test_a_file_that_breaks_before_it_is_loaded_is_named(make, tmp_path):
    model, _ = make(2)
    (tmp_path / "broken.pth").write_bytes(b"torn")
    with pytest.raises(WeightsError, match=r"broken\.pth"):
        model.load_network(model.net_g, str(tmp_path / "broken.pth"))


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
def test_safetensors_hold_what_is_validated(make, options, tmp_path, ema_decay):
    options["logger"]["safetensors"] = True
    options["train"]["ema_decay"] = ema_decay
    model, _ = make(4)
    net = model.net_g_ema if ema_decay else model.net_g
    next(net.parameters()).data += 1
    model.save(0, 1)
    written = safetensors.torch.load_file(tmp_path / "net_g_1.safetensors")
    assert_same(written, dict(net.state_dict()))


@pytest.fixture
def full(monkeypatch, caplog):
    """A full disk, from when it is called; `caplog` has what is logged."""

    def full():
        caplog.clear()
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))

    logging.getLogger("basicsr").propagate = True
    with caplog.at_level(logging.INFO, "basicsr"):
        yield full


def test_a_checkpoint_that_cannot_be_written_is_logged_and_the_next_one_can(make, tmp_path, full, caplog, monkeypatch):
    model, _ = make(4)
    model.save(0, 1)
    files = {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    full()
    model.save(0, 2)
    assert model.saved == 1
    [error] = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert error.startswith(f"{tmp_path}/net_g_2.pth: cannot be written (No space left on device; it takes ")
    assert error.endswith("No checkpoint of iteration 2; earlier ones are intact")
    assert files == {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}
    with pytest.raises(CheckpointError, match=r"net_g_latest\.pth: cannot be written"):
        model.save(-1, -1)
    monkeypatch.undo()
    model.save(0, 3)
    assert checkpoints.newest(tmp_path, tmp_path)[1]["iter"] == model.saved == 3


def test_best_weights_that_cannot_be_written_do_not_end_training(make, options, full, caplog):
    options["logger"]["keep_best"] = ["demo_held_out/psnr"]
    model, _ = make(4)
    model._initialize_best_metric_results("demo_held_out")
    full()
    model._update_best_metric_result("demo_held_out", "psnr", 20.0, 4)
    assert "net_g_best_demo_held_out_psnr.pth: cannot be written (No space left on device" in caplog.text
    assert model.best_metric_results["demo_held_out"]["psnr"]["val"] == 20.0
