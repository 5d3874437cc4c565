"""Values of option files: what the class that is named would refuse, or take for something else, is refused."""

from __future__ import annotations

import re

import pytest
import torch
from basicsr.utils.registry import LOSS_REGISTRY, METRIC_REGISTRY
from torch import nn

from hat_arch import config
from hat_arch.config import ConfigError, keys, values, vgg
from hat_arch.config.problems import Problems

COSINE = {"type": "CosineAnnealingRestartLR", "periods": [2], "restart_weights": [1]}

WRONG = [
    # section, key in it, value, the decisive words; the key that is named may be the section alone
    ("train.optim_g", "lr", "0.001", "number"),
    ("train.optim_g", "lr", -1e-3, "Invalid learning rate"),
    ("train.optim_g", "lr", None, "number"),
    ("train.optim_g", "lr", [1e-3], "number"),
    ("train.optim_g", "lr", True, "number"),
    ("train.optim_g", "betas", "(0.9, 0.99)", "list"),
    ("train.optim_g", "betas", [0.9], "required"),
    ("train.optim_g", "betas", [0.9, 1.5], "Invalid beta"),
    ("train.optim_g", "betas", [0.9, "0.99"], "number"),
    ("train.optim_g", "weight_decay", -1, "Invalid weight_decay"),
    ("train.optim_g", "amsgrad", "no", "true or false"),
    ("train.scheduler", "milestones", "2, 4", "list"),
    ("train.scheduler", "milestones", 4, "list"),
    ("train.scheduler", "milestones", ["2", "4"], "quotes"),
    ("train.scheduler", "gamma", "0.5", "number"),
    ("train", "scheduler", {"type": "MultiStepLR", "milestones": [2], "gamma": -0.5}, "learning rate of -"),
    ("train.scheduler", "restart_weights", [1, 1], "do not match"),
    ("train.scheduler", "restarts", 3, "list"),
    ("train", "scheduler", COSINE, "ends after 2 iterations, total_iter is 4"),
    ("train", "scheduler", {**COSINE, "periods": [0, 9], "restart_weights": [1, 1]}, "ZeroDivisionError"),
    ("train", "scheduler", {**COSINE, "periods": [9], "eta_min": "0.0001"}, "number"),
    ("train", "scheduler", {**COSINE, "restart_weights": [1, 1]}, "same length"),
    ("train.pixel_opt", "loss_weight", "1.0", "number"),
    ("train.pixel_opt", "loss_weight", None, "number"),
    ("train.pixel_opt", "loss_weight", [1.0], "number"),
    ("train.pixel_opt", "reduction", "avg", "avg"),
    ("train.pixel_opt", "reduction", 1, "text"),
    ("train.pixel_opt", "reduction", "none", "no single number"),
    ("train", "fft_opt", {"type": "SpectralL1Loss", "reduction": "avg"}, "mean"),
    ("val.metrics.psnr", "crop_border", "4", "integer"),
    ("val.metrics.psnr", "crop_border", [4], "integer"),
    ("val.metrics.psnr", "crop_border", 4.5, "integer"),
    ("val.metrics.psnr", "test_y_channel", "false", "false"),
    ("val.metrics.psnr", "input_order", "HCW", "HCW"),
    ("val.metrics.psnr", "better", "Higher", "higher or lower"),
    ("network_g", "window_size", "4", "integer"),
    ("network_g", "conv_scale", "0.01", "number"),
    ("train", "total_iter", 1.5, "whole number"),
    ("val", "val_freq", 0.5, "1"),
]


@pytest.mark.parametrize(("section", "key", "value", "words"), WRONG, ids=[f"{k}={v}" for _, k, v, _ in WRONG])
def test_a_value_that_cannot_be_is_refused_with_its_key(options, write_options, section, key, value, words):
    at = options
    for name in section.split("."):
        at = at[name]
    at[key] = value
    file = write_options(options)
    with pytest.raises(ConfigError) as error:
        config.load(file, is_train=True)
    text = str(error.value)
    assert re.match(rf"{re.escape(str(file))}:\d+: {section}(\.{key}[\w.]*)?: .*{words}", text), text
    assert len(text.splitlines()) == 1


def test_the_learning_rate_is_needed(options, write_options):
    del options["train"]["optim_g"]["lr"]
    with pytest.raises(ConfigError, match=r"train\.optim_g: 'lr' is missing"):
        config.load(write_options(options), is_train=True)


def test_models_of_basicsr_know_adam_alone(options, write_options):
    options.update(model_type="SRModel", logger={})
    options["train"]["optim_g"]["type"] = "AdamW"
    with pytest.raises(ConfigError, match=r"train\.optim_g: AdamW refuses it: .*AdamW"):
        config.load(write_options(options), is_train=True)


class Annotated(nn.Module):
    """A loss."""

    def __init__(
        self, weight: float = 1.0, sides: tuple[int, ...] = (1,), kind: str | None = None, name: str = "a"
    ) -> None:
        super().__init__()

    def forward(self, output, gt):
        return (output - gt).abs().mean()


class Described(nn.Module):
    """A loss.

    Args:
        eps (float): A small number.
        levels (list[int]): Numbers.
        kind (str): A name.
        either (int | str): One or the other.
    """

    def __init__(self, eps, levels, kind="a", either=1, anything=None, on=False):
        super().__init__()


@pytest.mark.parametrize(
    ("owner", "section", "refused"),
    [
        (Annotated, {"weight": 2, "sides": [1, 2], "kind": None}, set()),
        (Annotated, {"weight": "2", "sides": ["1"], "kind": 3, "name": None}, {"weight", "sides", "kind", "name"}),
        (Annotated, {"name": "001"}, set()),
        (Described, {"eps": 1, "levels": [1], "kind": "b", "anything": [1], "on": 1}, set()),
        (Described, {"eps": "1e-6", "levels": 3, "kind": 3, "on": "no"}, {"eps", "levels", "kind", "on"}),
        (Described, {"eps": 1e-6, "levels": ["1"], "anything": "1e-6"}, {"levels", "anything"}),
        (Described, {"either": 2.5}, set()),
    ],
)
def test_types_come_from_annotation_docstring_and_default(tmp_path, owner, section, refused):
    problems = Problems(tmp_path, {})
    values.check_types((), section, owner, problems)
    assert {line.split(": ")[1] for line in problems.found} == refused


def test_a_network_may_take_a_list_for_a_number(tmp_path):
    for lenient, count in ((True, 0), (False, 1)):
        problems = Problems(tmp_path, {})
        values.check_types((), {"eps": [1, 2]}, Described, problems, lenient)
        assert len(problems.found) == count


@pytest.mark.parametrize("name", keys.OPTIMIZERS)
def test_optimizers_as_they_are_by_default(options, write_options, name):
    """Those that BasicSR's loop cannot drive are refused, and no others."""
    options["train"]["optim_g"] = {"type": name, "lr": 1e-3}
    if name in ("LBFGS", "SparseAdam", "Muon"):  # a closure, sparse gradients, matrices alone
        with pytest.raises(ConfigError, match=name):
            config.load(write_options(options), is_train=True)
    else:
        config.load(write_options(options), is_train=True)


def test_defaults_written_out_are_taken(tmp_path):
    problems = Problems(tmp_path, {})
    for registry in (LOSS_REGISTRY, METRIC_REGISTRY):
        for name, owner in registry:
            parameters = values.inspect.signature(owner).parameters.values()
            given = {p.name: p.default for p in parameters if isinstance(p.default, (bool, int, float, str))}
            values.check_types((name,), given, owner, problems)
    assert problems.found == []


@pytest.mark.parametrize("total", [1, 2, 100_000, 1_600_000])
def test_a_schedule_that_lasts_is_taken(options, write_options, total):
    options["train"]["total_iter"] = total
    options["train"]["scheduler"] = {**COSINE, "periods": [total]}
    config.load(write_options(options), is_train=True)


def test_last_good_finds_the_end():
    assert [values.last_good(lambda step, end=end: step <= end, 100) for end in (0, 1, 57, 98)] == [0, 1, 57, 98]


PERCEPTUAL = {"type": "PerceptualLoss", "layer_weights": {"conv1_1": 1}, "vgg_type": "vgg11", "style_weight": 0}


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    def fails(url, *args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fails)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)


def test_a_perceptual_loss_needs_its_network(options, write_options, tmp_path, no_network):
    options["train"]["perceptual_opt"] = PERCEPTUAL
    where = r"train\.perceptual_opt: .*vgg11.*https://.*/(vgg11-\w+\.pth) at .*/hub/checkpoints/\1 .*no network"
    with pytest.raises(ConfigError, match=where) as error:
        config.load(write_options(options), is_train=True)
    name = re.search(r"vgg11-\w+\.pth", str(error.value))[0]
    (tmp_path / "hub/checkpoints").mkdir(parents=True, exist_ok=True)
    (tmp_path / "hub/checkpoints" / name).touch()
    config.load(write_options(options), is_train=True)


def test_the_network_of_another_type_is_not_taken_for_it(options, write_options, tmp_path, no_network):
    file = tmp_path / vgg.vgg_arch.VGG_PRETRAIN_PATH
    file.parent.mkdir(parents=True)
    file.touch()
    options["train"]["perceptual_opt"] = PERCEPTUAL
    with pytest.raises(ConfigError, match=r"train\.perceptual_opt: .*vgg19.*vgg11"):
        config.load(write_options(options), is_train=True)
    options["train"]["perceptual_opt"] = {**PERCEPTUAL, "vgg_type": "vgg19"}
    config.load(write_options(options), is_train=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer_weights": {"conv9_9": 1}}, "conv9_9"),
        ({"layer_weights": {"conv1_1": "1"}}, r"layer_weights: .*quotes"),
        ({"layer_weights": ["conv1_1"]}, r"layer_weights: .*section"),
        ({"criterion": "l3"}, r"criterion: 'l3'"),
        ({"vgg_type": "vgg12"}, r"vgg_type: 'vgg12'"),
        ({"perceptual_weight": "1"}, r"perceptual_weight: .*number"),
    ],
)
def test_a_perceptual_loss_is_checked(options, write_options, no_network, change, words):
    options["train"]["perceptual_opt"] = {**PERCEPTUAL, **change}
    with pytest.raises(ConfigError, match=rf"train\.perceptual_opt.*{words}"):
        config.load(write_options(options), is_train=True)


def test_the_trial_leaves_basicsr_as_it_was():
    before = (vgg.vgg_arch.vgg, vgg.vgg_arch.VGG_PRETRAIN_PATH)
    with vgg.untrained_vgg() as asked, pytest.raises(ValueError):
        vgg.vgg_arch.VGGFeatureExtractor(["conv1_1"], "vgg11")
        raise ValueError
    assert asked == {"vgg11"}
    assert (vgg.vgg_arch.vgg, vgg.vgg_arch.VGG_PRETRAIN_PATH) == before
