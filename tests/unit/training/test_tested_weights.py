"""What ``basicsr test`` measures: never random weights, unless asked for."""

from __future__ import annotations

import pytest
import torch
from tiny import TINY_HAT

from hat_arch import HAT, config
from hat_arch.training.tested_weights import for_test
from hat_arch.utils.errors import UserError

NET = {key: value for key, value in TINY_HAT.items() if key != "type"}


@pytest.fixture
def load(write_options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def load(opt, weights=None, untrained=False):
        file = write_options(opt)
        return config.load(file, is_train=False, change=for_test(file, weights, untrained))

    return load


@pytest.fixture
def test_options(options):
    kept = {key: options[key] for key in ("name", "model_type", "scale", "network_g", "val")}
    return {**kept, "datasets": {"test_1": options["datasets"]["val"]}, "path": {"pretrain_network_g": None}}


def save(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"params": HAT(**NET).state_dict()}, file)
    return file


@pytest.mark.parametrize("path", [{"pretrain_network_g": None}, {}, None])
def test_a_file_without_weights_is_refused(load, test_options, path):
    test_options["path"] = path
    with pytest.raises(config.ConfigError, match=r"tiny\.yml: path: pretrain_network_g.*--weights"):
        load(test_options)
    assert not load(test_options, untrained=True)["path"].get("pretrain_network_g")


def test_weights_are_taken_from_the_command_line(load, test_options, tmp_path):
    file = save(tmp_path / "w.pth")
    test_options["path"]["pretrain_network_g"] = "of the file.pth"
    assert load(test_options, "w.pth")["path"]["pretrain_network_g"] == file.name
    with pytest.raises(UserError, match=r"none\.pth"):
        load(test_options, "none.pth")


def test_a_training_file_is_tested_with_what_its_run_left(load, options, tmp_path):
    options["path"].update(pretrain_network_g="start.pth", strict_load_g=False)
    with pytest.raises(config.ConfigError, match=r"experiments/tiny/models.*basicsr train -opt .*--weights"):
        load(options)
    models = tmp_path / "experiments/tiny/models"
    for name in ("net_g_2.pth", "net_g_10.pth", "net_g_best_v_psnr.pth", "net_g_latest.pth"):
        save(models / name)
        if name != "net_g_2.pth":
            opt = load(options)
            assert opt["path"]["pretrain_network_g"] == f"experiments/tiny/models/{name}"
    assert list(opt["datasets"]) == ["val"] and opt["path"]["strict_load_g"] is True
    other = save(tmp_path / "other.pth")
    assert load(options, str(other))["path"]["pretrain_network_g"] == str(other)


def test_a_training_file_without_validation_set_is_refused(load, options, tmp_path):
    save(tmp_path / "experiments/tiny/models/net_g_latest.pth")
    del options["datasets"]["val"]
    with pytest.raises(config.ConfigError, match="datasets"):
        load(options)
