"""By what PyTorch computes is measured once, remembered, and changes nothing else."""

import pytest
import torch
from torch import nn

from hat_arch import HAT
from hat_arch.archs.kernels import PLAIN, Kernels
from hat_arch.archs.linear import has_onednn
from hat_arch.inference.engines import build, kernels
from hat_arch.inference.engines.kernels import fastest_kernels, measured

pytestmark = pytest.mark.skipif(not has_onednn(), reason="PyTorch was built without oneDNN")
SHAPE = (1, 3, 8, 8)


@pytest.fixture
def network():
    torch.manual_seed(0)
    sizes = {"embed_dim": 48, "depths": (2,), "num_heads": (6,), "window_size": 4}
    return HAT(**sizes, upscale=2, drop_path_rate=0.5).train()


@pytest.fixture
def clock(monkeypatch, tmp_path):
    """Sets what is measured; tells how often."""
    monkeypatch.setenv("HAT_ARCH_ENGINES", str(tmp_path))

    def clock(plain, linear, attention):
        clock.calls = 0

        def measured(*_):
            clock.calls += 1
            return {"plain": float(plain), "linear": float(linear), "attention": float(attention)}

        monkeypatch.setattr(kernels, "measured", measured)

    return clock


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        ((2, 1, 3), Kernels(linear="onednn")),
        ((2, 3, 1), Kernels(attention="products")),
        ((2, 1, 1), Kernels("onednn", "products")),
        ((1, 2, 0.99), PLAIN),
    ],
)
def test_the_faster_ones_are_taken_and_remembered(network, clock, seconds, expected):
    clock(*seconds)
    said = []
    assert [fastest_kernels(network, SHAPE, said.append) for _ in range(2)] == [expected] * 2
    assert clock.calls == len(said) == 1
    fastest_kernels(network, SHAPE, said.append, learning=True)
    fastest_kernels(network, (2, *SHAPE[1:]), said.append)
    assert clock.calls == 3


def test_what_is_kept_but_damaged_is_measured_again(network, clock, tmp_path):
    clock(2, 1, 3)
    fastest_kernels(network, SHAPE, lambda line: None)
    [file] = tmp_path.glob("*.json")
    for content in (b"", b"[]", b"{}", b'{"plain": 1, "linear": "x"}', b"\xff"):
        file.write_bytes(content)
        assert fastest_kernels(network, SHAPE, lambda line: None) == Kernels("onednn")
    assert clock.calls == 6


def test_narrow_and_other_networks_are_not_measured(clock, tmp_path):
    clock(2, 1, 3)
    narrow = HAT(embed_dim=24, depths=(1,), num_heads=(2,), window_size=4, squeeze_factor=6)
    for network in (narrow, nn.Conv2d(3, 3, 1), HAT(embed_dim=48, depths=(1,), num_heads=(6,)).double()):
        assert fastest_kernels(network, SHAPE, pytest.fail) == PLAIN
    watched = HAT(embed_dim=48, depths=(1,), num_heads=(6,), window_size=4)
    watched.conv_first.register_forward_hook(pytest.fail)  # measuring is no use of the network that a hook is told of
    assert fastest_kernels(watched, SHAPE, pytest.fail) == PLAIN
    assert clock.calls == 0 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("learning", [True, False])
def test_a_measurement_leaves_no_trace(network, monkeypatch, learning):
    monkeypatch.setattr("hat_arch.inference.measuring.SECONDS", 0.0)
    random, weights = torch.get_rng_state(), {name: one.clone() for name, one in network.state_dict().items()}
    seconds = measured(network, SHAPE, learning)
    assert set(seconds) == {"plain", "linear", "attention"} and all(0 < one < 60 for one in seconds.values())
    assert torch.equal(torch.get_rng_state(), random) and torch.is_grad_enabled()
    assert all(module.training for module in network.modules())
    assert all(weight.grad is None for weight in network.parameters())
    assert all(torch.equal(one, weights[name]) for name, one in network.state_dict().items())


def test_the_engine_computes_by_it(network, clock, monkeypatch, tmp_path):
    how = {"dtype": None, "device": torch.device("cpu"), "multiple": 4, "channels": 3, "report": lambda line: None}
    image = torch.rand(*SHAPE)
    clock(1, 2, 2)
    plain = build("torch", network, **how)
    clock(2, 1, 3)
    monkeypatch.setenv("HAT_ARCH_ENGINES", str(tmp_path / "another"))  # where nothing is kept
    engine = build("torch", network, **how)
    assert (plain.kernels, engine.kernels) == (PLAIN, Kernels("onednn"))
    assert torch.allclose(engine(image), plain(image), atol=1e-5)
    assert build("torch", network, **{**how, "dtype": torch.bfloat16}).kernels == PLAIN
