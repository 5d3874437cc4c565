"""A HAT from its weights alone, beside the arguments it was made with and beside spandrel's detection."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from hat_arch import HAT
from hat_arch.compat.registration import build
from hat_arch.paper.networks import NETWORKS
from hat_arch.weights import others
from hat_arch.weights.files import WeightsError
from hat_arch.weights.load import _ratio, another_task, hyper_parameters, load, load_network

# isort: split
# After hat_arch, which repairs torchvision.
from spandrel.architectures.HAT import HATArch

TINY = {"embed_dim": 12, "depths": [1, 2], "num_heads": [2, 3], "window_size": 4, "squeeze_factor": 4, "upscale": 2}
SHAPES = st.fixed_dictionaries(
    {
        "in_chans": st.sampled_from([1, 3, 4]),
        "embed_dim": st.sampled_from([12, 18, 30]),
        "groups": st.lists(st.tuples(st.integers(1, 2), st.sampled_from([1, 2, 3, 6])), min_size=1, max_size=3),
        "window_size": st.integers(2, 9),
        "overlap_ratio": st.sampled_from([0, 0.1, 0.25, 0.3, 0.5, 0.75, 1, 1.3]),
        "compress_ratio": st.integers(1, 12),
        "squeeze_factor": st.integers(1, 12),
        "mlp_ratio": st.sampled_from([0.5, 1, 1.37, 2, 4]),
        "qkv_bias": st.booleans(),
        "ape": st.booleans(),
        "patch_norm": st.booleans(),
        "enlarges": st.sampled_from(
            [*itertools.product([1, 2, 3, 4, 8], ["pixelshuffle", "pixelshuffledirect"]), (1, "")]
        ),
        "resi_connection": st.sampled_from(["1conv", "identity"]),
        "use_cab": st.booleans(),
        "use_ocab": st.booleans(),
        "use_channel_attention": st.booleans(),
    }
)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@settings(deadline=None, max_examples=40)
@given(SHAPES)
def test_any_hat_is_made_again_from_its_shapes(arguments):
    depths, heads = zip(*arguments.pop("groups"))
    arguments["upscale"], arguments["upsampler"] = arguments.pop("enlarges")
    network = HAT(img_size=16, depths=depths, num_heads=heads, **arguments).eval()
    again = HAT(**hyper_parameters(network.state_dict())).eval()
    again.load_state_dict(network.state_dict())
    if 16 % arguments["window_size"] == 0 or not arguments["ape"]:  # an embedding is for one (padded) size
        lq = torch.rand(1, arguments["in_chans"], 16, 16)
        with torch.no_grad():
            assert torch.equal(again(lq), network(lq))


def test_ratios_survive_rounding():
    for whole, part in itertools.product(range(1, 200), range(200)):
        assert int(whole * _ratio(part, whole)) == part


@pytest.mark.parametrize("name", ["HAT-S", "HAT"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_papers_arguments_are_found_as_spandrel_finds_them(name, scale):
    arguments = {**NETWORKS[name], "upscale": scale, "depths": [2, 1], "num_heads": [6, 6]}
    state = build(arguments).state_dict()
    found, theirs = hyper_parameters(state), HATArch().load(dict(state))
    for key in ("window_size", "overlap_ratio", "upscale", "embed_dim", "in_chans", "mlp_ratio", "resi_connection"):
        assert found[key] == arguments[key], key
    assert (list(found["depths"]), list(found["num_heads"])) == ([2, 1], [6, 6])
    assert theirs.scale == found["upscale"] and theirs.input_channels == found["in_chans"]
    model = theirs.model
    assert (model.window_size, model.embed_dim, model.overlap_ratio) == (16, found["embed_dim"], 0.5)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    assert shapes == {key: tuple(value.shape) for key, value in HAT(**found).state_dict().items()}


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5])
def test_the_direct_upsampler_is_recognised_in_a_file(scale, tmp_path):
    network = HAT(**{**TINY, "upscale": scale}, upsampler="pixelshuffledirect").eval()
    torch.save({"params_ema": network.state_dict()}, tmp_path / "net.pth")
    again = load_network(tmp_path / "net.pth")
    lq = torch.rand(1, 3, 9, 13)
    with torch.no_grad():
        assert again.upscale == scale and torch.equal(again(lq), network(lq))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"upscale": 4}, {"upscale": 1, "upsampler": ""}),
        ({"upscale": 1, "upsampler": ""}, {"upscale": 4}),
        ({"upscale": 1, "upsampler": "", "in_chans": 1}, {"upscale": 1, "upsampler": ""}),
        ({"upscale": 2, "upsampler": "pixelshuffledirect"}, {"upscale": 4, "upsampler": "pixelshuffledirect"}),
    ],
)
def test_weights_of_another_scale_or_of_grey_images_are_said_so(theirs, ours, tmp_path):
    file = tmp_path / "net.pth"
    torch.save({"params_ema": HAT(**{**TINY, **theirs}).state_dict()}, file)
    network = {"type": "HAT", **TINY, **ours}
    told = [f"x{given['upscale']}.*{given.get('in_chans', 3)} channel" for given in (theirs, ours)]
    with pytest.raises(WeightsError, match=rf"they are of a HAT of {told[0]}s?, this is one of {told[1]}") as caught:
        load_network(file, network=network)
    assert "\n" not in str(caught.value)
    assert another_task(HAT(**{**TINY, **ours}).state_dict(), HAT(**{**TINY, **ours})) == []
    assert another_task({"weight": torch.zeros(1)}, HAT(**TINY)) == []


@pytest.fixture
def hat():
    torch.manual_seed(0)
    return HAT(**TINY, img_size=16)


def same(network, state):
    return all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_the_average_is_preferred_and_any_other_can_be_had(hat, tmp_path):
    plain, average = hat.state_dict(), {key: value + 1 for key, value in hat.state_dict().items()}
    path = tmp_path / "net.pth"
    torch.save({"params": plain, "params_ema": average}, path)
    assert same(load_network(path), average) and not load_network(path).training
    assert same(load_network(path, "params"), plain)
    torch.save(plain, path)
    assert same(load_network(path), plain)
    torch.save({"generator": plain}, path)
    assert same(load_network(path), plain)
    save_file(plain, tmp_path / "net.safetensors")
    assert same(load_network(tmp_path / "net.safetensors"), plain)


def test_another_network_needs_its_options(tmp_path):
    options = {"type": "MSRResNet", "num_feat": 8, "num_block": 1, "upscale": 2}
    torch.save({"params": build(options).state_dict()}, tmp_path / "it.pth")
    assert type(load_network(tmp_path / "it.pth", network=options)).__name__ == "MSRResNet"
    for network, message in (
        (None, "holds no HAT: it is a.*needs its option file"),
        ({**options, "num_feat": 9}, "do not fit MSRResNet: .*of another shape"),
        ({**options, "num_feet": 9}, "cannot be built: .*num_feet"),
    ):
        with pytest.raises(WeightsError, match=rf"it\.pth: .*{message}"):
            load_network(tmp_path / "it.pth", network=network)


def test_weights_that_cannot_be_used_are_named(hat, tmp_path):
    path = tmp_path / "net.pth"
    with pytest.raises(WeightsError, match="no such file"):
        load_network(path)
    path.write_bytes(b"none")
    with pytest.raises(WeightsError, match=r"net\.pth: is text"):
        load_network(path)
    state = hat.state_dict()
    torch.save({"params": state}, path)
    with pytest.raises(WeightsError, match="no weights named params_ema; it has: params"):
        load_network(path, "params_ema")
    torch.save({"a": state, "b": state}, path)
    with pytest.raises(WeightsError, match="holds no weights; it has: a, b"):
        load_network(path)
    for change in ({"conv_last.bias": torch.zeros(7)}, {"layers.0.more": torch.zeros(1)}, {"conv_first.weight": None}):
        torch.save({key: value for key, value in {**state, **change}.items() if value is not None}, path)
        with pytest.raises(WeightsError, match=r"net\.pth: "):
            load_network(path)
    torch.save({**state, "conv_first.weight": torch.zeros(3)}, path)
    with pytest.raises(WeightsError, match=r"net\.pth: "):
        load_network(path)


@pytest.mark.parametrize(("installed", "name"), [(True, "SwinIR"), (False, "a SwinIR")])
def test_another_network_is_called_what_it_is(monkeypatch, installed, name):
    options = {"type": "SwinIR", "embed_dim": 12, "depths": [2], "num_heads": [2], "window_size": 4, "upscale": 2}
    state = build({**options, "img_size": 8, "upsampler": "pixelshuffle"}).state_dict()
    if not installed:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert name in others.name_of(state)
    with pytest.raises(WeightsError, match=f"holds no HAT: it is .*{name.split()[-1]}.*--loader spandrel"):
        hyper_parameters(state)
    assert others.name_of({"what.is.this": torch.ones(1)}) is None


def test_spandrel_loads_what_it_knows(tmp_path):
    options = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "scale": 4, "num_feat": 8, "num_block": 1}
    network = build({**options, "num_grow_ch": 32}).eval()
    torch.save({"params_ema": network.state_dict()}, tmp_path / "it.pth")
    loaded = load(tmp_path / "it.pth", by_spandrel=True)
    assert (loaded.name, loaded.scale, loaded.channels) == ("it", 4, 3)
    lq = torch.rand(1, 3, 8, 12)
    with torch.no_grad():
        assert torch.allclose(loaded.network(lq), network(lq), atol=1e-5)
    torch.save({"params": {"what": torch.ones(1)}}, tmp_path / "it.pth")
    with pytest.raises(WeightsError, match=r"it\.pth: spandrel cannot load it"):
        load(tmp_path / "it.pth", by_spandrel=True)


@pytest.mark.parametrize(("scale", "multiple"), [(1, 4), (2, 2), (4, 1)])
def test_what_sides_must_be_multiples_of_is_found(tmp_path, scale, multiple):
    options = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "scale": scale, "num_feat": 8, "num_block": 1}
    options["num_grow_ch"] = 4
    torch.save({"params": build(options).state_dict()}, tmp_path / "it.pth")
    assert load(tmp_path / "it.pth", options=(options, scale)).multiple == multiple
