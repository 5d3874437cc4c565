"""``val:`` of an option file: what it may say, and that validation then is what `Upscaler` does."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from basicsr.models import build_model

from hat_arch import HAT, config
from hat_arch.inference.padded_tiles import in_padded_tiles
from hat_arch.inference.upscaler import Upscaler


@pytest.fixture
def model(options, write_options, tmp_path):
    def build(**val):
        options["val"].update(val)
        opt = config.load(write_options(options), is_train=True)
        opt.update(dist=False, rank=0, world_size=1, is_train=True)
        opt["path"].update(models=str(tmp_path), training_states=str(tmp_path), visualization=str(tmp_path))
        return build_model(opt)

    return build


def problems(options, write_options):
    with pytest.raises(config.ConfigError) as error:
        config.load(write_options(options), is_train=True)
    return str(error.value)


TILES = {"tile": 16, "tile_overlap": 8, "tile_blend": False, "tile_batch": 2}


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize(
    "val, direct",
    [
        ({}, {"tile": "whole"}),
        (TILES, {"tile": 16, "overlap": 8, "blend": False, "batch": 2}),
        ({"self_ensemble": True}, {"tile": "whole", "self_ensemble": True}),
        ({"precision": "bf16"}, {"tile": "whole", "precision": "bf16"}),
    ],
)
def test_validation_is_what_the_upscaler_does(model, options, val, direct, ema_decay):
    options["train"]["ema_decay"] = ema_decay
    built = model(**val)
    built.lq = torch.rand(1, 3, 21, 30)
    built.test()
    network = built.net_g_ema if ema_decay else built.net_g
    assert torch.equal(built.output, Upscaler(network, 4, multiple=4, **direct)(built.lq))
    assert built.net_g.training
    with torch.no_grad():
        plain = network.eval()(built.lq)
    assert torch.equal(built.output, plain) == (not val)


def test_training_in_bf16_is_validated_by_the_saved_weights_in_fp32(model, options, tmp_path):
    options["train"].update(precision="bf16", ema_decay=0.0)
    options["network_g"]["drop_path_rate"] = 0.3
    built = model()
    built.lq, built.gt = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 32, 32)
    built.optimize_parameters(1)
    outputs = []
    for _ in range(2):
        built.test()
        outputs.append(built.output)
    built.save(0, 1)
    arguments = {key: value for key, value in options["network_g"].items() if key != "type"}
    saved = HAT(**arguments).eval()
    saved.load_state_dict(torch.load(tmp_path / "net_g_1.pth", weights_only=True)["params"])
    with torch.no_grad():
        wanted = saved(built.lq)
    assert torch.equal(outputs[0], wanted) and torch.equal(outputs[1], wanted)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("train", [{"precision": "bf16"}, {"channels_last": True}, {"compile": True}])
def test_a_copy_of_a_network_in_training_is_a_network_of_its_own(model, options, train, copied):
    options["train"].update(ema_decay=0.0, **train)
    net = model().net_g
    other = copied(net).eval()
    assert "forward" not in vars(net) and net.training
    for parameter in net.parameters():
        parameter.data.zero_()
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert not torch.equal(HAT.forward(other, x), HAT.forward(net, x))


def test_what_val_may_say(options, write_options):
    for wrong in ({"tile": 0}, {"tile": "half"}, {"tile_overlap": -1}, {"tile_batch": 0}, {"precision": "int8"}):
        options["val"] = {**options["val"], **wrong}
        assert f"val.{next(iter(wrong))}: " in problems(options, write_options)
        options["val"].pop(next(iter(wrong)))


def test_models_that_would_ignore_it_refuse_it(options, write_options):
    options["model_type"] = "SRModel"
    options["val"]["tile"] = 64
    assert "val.tile: is for model_type HATModel, not SRModel" in problems(options, write_options)


def test_the_official_section_gives_its_tiles(model, options):
    options["tile"] = {"tile_size": 12, "tile_pad": 4}
    built = model()
    built.lq = torch.rand(1, 3, 21, 30)
    built.test()
    with torch.no_grad():
        wanted = in_padded_tiles(built.net_g_ema.eval(), built.lq, 4, 12, 4, multiple=4)
    torch.testing.assert_close(built.output, wanted)
    whole = Upscaler(built.net_g_ema, 4, multiple=4, tile="whole")(built.lq)
    assert not torch.allclose(built.output, whole)
