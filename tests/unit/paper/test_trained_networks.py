"""The networks that ``--arch`` and ``--network`` name."""

from __future__ import annotations

import pytest
import torch
import yaml
from tiny import TINY_HAT

from hat_arch.compat.registration import build
from hat_arch.paper import trained_networks
from hat_arch.paper.trained_networks import load
from hat_arch.utils.errors import UserError

SWINIR = {**TINY_HAT, "type": "SwinIR", "depths": [2], "num_heads": [2], "upsampler": "pixelshuffle"}
del SWINIR["squeeze_factor"]


@pytest.fixture
def two_sets(tmp_path, make):
    """A weights file whose averaged weights differ from the plain ones."""
    plain, averaged = make("a", TINY_HAT).network.state_dict(), make("b", TINY_HAT, 1).network.state_dict()
    file = tmp_path / "two.pth"
    torch.save({"params": plain, "params_ema": averaged}, file)
    return file, plain, averaged


def test_a_network_that_cannot_pad_is_padded(make):
    assert make("SwinIR", SWINIR)(torch.rand(1, 3, 6, 9)).shape == (1, 3, 24, 36)


def test_averaged_weights_are_preferred(two_sets, monkeypatch, tmp_path):
    file, plain, averaged = two_sets
    monkeypatch.setitem(trained_networks.NETWORKS, "HAT", TINY_HAT)
    loaded = load(f"HAT={file}")
    assert torch.equal(loaded.network.conv_first.weight, averaged["conv_first.weight"])
    assert not any(p.requires_grad for p in loaded.network.parameters())
    options = {"network_g": TINY_HAT, "path": {"pretrain_network_g": str(file), "param_key_g": "params"}}
    (tmp_path / "o.yml").write_text(yaml.safe_dump(options))
    loaded = load(str(tmp_path / "o.yml"))
    assert torch.equal(loaded.network.conv_first.weight, plain["conv_first.weight"])
    assert loaded.label == "o"


def test_a_hat_is_known_by_its_weights_alone(two_sets, tmp_path):
    file, _, averaged = two_sets
    loaded = load(str(file))
    assert (loaded.label, loaded.scale, loaded.weights) == ("two", 4, str(file))
    network = build(TINY_HAT).eval()
    network.load_state_dict(averaged)
    image = torch.rand(1, 3, 9, 10)
    assert torch.allclose(loaded(image), network(image), rtol=0, atol=1e-6)
    torch.save({"params": {"weight": torch.ones(1)}}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"other.pth: holds no HAT: .* another network needs its option file"):
        load(str(tmp_path / "other.pth"))


def test_a_network_may_have_a_label_of_its_own(two_sets, tmp_path):
    folder = tmp_path / "lr=1e-4"
    folder.mkdir()
    file = two_sets[0].rename(folder / "w.pth")
    assert load(f"mine={file}").label == "mine"
    assert load(str(file)).label == "w"


def test_the_scale_of_an_option_file_serves_where_the_network_has_none(tmp_path):
    network = {"type": "MSRResNet", "num_feat": 4, "num_block": 1}
    for options, scale in ((network, 3), ({**network, "upscale": 2}, 2)):
        (tmp_path / "o.yml").write_text(yaml.safe_dump({"name": "o", "scale": 3, "network_g": options}))
        assert load(str(tmp_path / "o.yml"), untrained=True).scale == scale


def test_weights_of_another_network_are_refused(two_sets, monkeypatch):
    file = two_sets[0]
    monkeypatch.setitem(trained_networks.NETWORKS, "HAT", {**TINY_HAT, "embed_dim": 24})
    with pytest.raises(UserError, match=r"two.pth: .* do not fit HAT: .* of another shape"):
        load(f"HAT={file}")
    file.write_bytes(b"x" * 99)
    with pytest.raises(UserError, match=r"two.pth: is text"):
        load(f"HAT={file}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a"}, "network_g must name a network of the registry"),
        ({"name": "a", "network_g": {"type": "Nix"}}, "network_g must name a network of the registry"),
        ({"name": "a", "network_g": {"type": ["HAT"]}}, "network_g must name a network of the registry"),
        ({"name": "a", "network_g": TINY_HAT, "path": "x"}, "path: pretrain_network_g and param_key_g"),
        ({"name": "a", "network_g": TINY_HAT, "path": {"param_key_g": [1]}}, "path: pretrain_network_g and"),
        ({"name": "a", "network_g": TINY_HAT}, "experiments/a/models/net_g_latest.pth: no such file"),
    ],
)
def test_option_files_that_do_not_work(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "o.yml").write_text(yaml.safe_dump(options))
    with pytest.raises(UserError, match=f"--arch o.yml: {message}"):
        load("o.yml")


@pytest.mark.parametrize("untrained", [False, True])
def test_an_argument_that_the_network_does_not_have_is_named(untrained, two_sets, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = {} if untrained else {"pretrain_network_g": str(two_sets[0])}
    (tmp_path / "o.yml").write_text(yaml.safe_dump({"network_g": {**TINY_HAT, "depth": 1}, "path": path}))
    with pytest.raises(UserError, match=r"o.yml: .*HAT cannot be built: .*depth"):
        load("o.yml", untrained=untrained)
