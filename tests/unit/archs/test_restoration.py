"""HAT without upsampler, which removes noise and artefacts: its head beside the official layers, and its uses."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from hat_arch import HAT, Upscaler
from hat_arch.archs import hat_arch as hat_module
from hat_arch.archs import strips as strips_module
from hat_arch.archs.presets import PRESETS, RESTORATION
from hat_arch.archs.strips import is_as_built

TINY = {
    "embed_dim": 12,
    "depths": (2,),
    "num_heads": (2,),
    "window_size": 4,
    "squeeze_factor": 4,
    "conv_scale": 0.5,
    "mlp_ratio": 2,
    "drop_path_rate": 0.0,
}


def restorer(channels=3, **changes):
    torch.manual_seed(0)
    net = HAT(**{**TINY, **RESTORATION, "in_chans": channels, **changes}).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return net


def noise(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("img_range", [1.0, 255.0])
def test_it_is_the_official_network_at_scale_1_with_the_image_in_place_of_the_mean(channels, img_range):
    net = restorer(channels, img_range=img_range).double()
    official = HAT(**{**TINY, "upscale": 1, "in_chans": channels, "img_range": img_range}).double().eval()
    state = net.state_dict()
    for layer, kind in itertools.product((0, 2), ("weight", "bias")):
        name = "conv_before_upsample.0" if layer == 0 else "conv_last"
        state[f"{name}.{kind}"] = state.pop(f"conv_last.{layer}.{kind}")
    official.load_state_dict(state)
    x = noise(2, channels, 13, 9).double()
    expected = official(x) - official.mean + x
    torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-9)
    with torch.no_grad():
        torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-9)


def test_its_body_is_that_of_the_network_of_scale_4():
    four = HAT(**{**TINY, "upscale": 4}).eval()
    net = restorer()
    tail = ("conv_before_upsample.", "upsample.", "conv_last.")
    body = {name: value for name, value in four.state_dict().items() if not name.startswith(tail)}
    left = net.load_state_dict(body, strict=False)
    assert not left.unexpected_keys and {name.partition(".")[0] for name in left.missing_keys} == {"conv_last"}
    features = []
    for network in (four, net):
        network.reconstruct = lambda x, kept=features: kept.append(x) or x[:, :3]
        network.upscale = 1
        with torch.no_grad():
            network(noise(1, 3, 8, 12))
    assert torch.equal(*features)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (8, 12), (13, 19)])
def test_any_size_gives_the_same_with_and_without_gradients_and_in_strips(channels, size, monkeypatch):
    net, x = restorer(channels), noise(2, channels, *size)
    expected = net(x)
    assert expected.shape == x.shape
    before = x.clone()
    with torch.no_grad():
        torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-5)
        monkeypatch.setattr(strips_module, "STRIP_TOKENS_CPU", 1)
        monkeypatch.setattr(hat_module, "RECONSTRUCTED_ROWS", 2)
        torch.testing.assert_close(net(x), expected, rtol=0, atol=1e-5)
    assert torch.equal(x, before)
    assert all(is_as_built(module) for module in net.modules())


@pytest.mark.parametrize("channels", [1, 3])
def test_gradients_are_those_of_differences(channels):
    net = restorer(channels, depths=(1,)).double()
    x = noise(1, channels, 3, 5).double().requires_grad_()
    weight = net.conv_last[0].bias
    assert torch.autograd.gradcheck(lambda image, _: net(image), (x, weight), eps=1e-6, atol=1e-6)


def test_checkpointing_gives_the_same_gradients():
    gradients = []
    for kept in (False, True):
        net = restorer(use_checkpoint=kept).train()
        net(noise(1, 3, 8, 8)).square().mean().backward()
        gradients.append([parameter.grad for parameter in net.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*gradients))


def test_in_bf16_the_image_itself_stays_exact():
    net, x = restorer(), noise(1, 3, 8, 8)
    nn.init.zeros_(net.conv_last[2].weight)
    nn.init.zeros_(net.conv_last[2].bias)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net(x), x)


@pytest.mark.parametrize("size", [(100, 83), (49, 131), (48, 20)])
def test_tiles_equal_the_whole_where_nothing_looks_at_all_of_the_image(size):
    net = restorer(depths=(1,), use_channel_attention=False)
    x = noise(1, 3, *size)
    whole = Upscaler(net, tile="whole")(x)
    assert whole.shape == x.shape
    tiled = Upscaler(net, tile=60, overlap=40, blend=False, batch=2)(x)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)


def test_upscaler_takes_it_for_what_keeps_the_size_of_arrays_too():
    upscaler = Upscaler(restorer(1))
    grey = (noise(7, 9).clamp(0, 1) * 255).numpy().astype("uint8")
    assert (upscaler.scale, upscaler.channels, upscaler(grey).shape) == (1, 1, (7, 9))
    with pytest.raises(ValueError, match=r"\(7, 9, 3\)"):
        upscaler(grey[..., None].repeat(3, -1))


@pytest.mark.parametrize(("name", "count"), [("HAT-light", 1_003_915), ("HAT", 20_624_795 - 147_712)])
def test_parameters_are_those_of_scale_2_without_its_upsampling(name, count):
    with torch.device("meta"):
        net = HAT(**{**PRESETS[name], **RESTORATION})
    assert sum(parameter.numel() for parameter in net.parameters()) == count


def test_it_learns_to_remove_noise_in_seconds():
    """Smooth images with noise of σ 0.1: after a few steps the output is nearer to them than the input was."""
    torch.manual_seed(0)
    net = HAT(**{**TINY, **RESTORATION, "in_chans": 1, "depths": (1,)}).train()
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)

    def batch(seed):
        generator = torch.Generator().manual_seed(seed)
        rough = torch.rand(4, 1, 4, 4, generator=generator)
        clean = F.interpolate(rough, size=(16, 16), mode="bicubic")
        return clean + 0.1 * torch.randn(clean.shape, generator=generator), clean

    losses = []
    for step in range(60):
        noisy, clean = batch(step)
        loss = F.l1_loss(net(noisy), clean)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])
    noisy, clean = batch(1000)
    with torch.no_grad():
        gain = 10 * torch.log10(F.mse_loss(noisy, clean) / F.mse_loss(net.eval()(noisy), clean))
    assert gain > 2
