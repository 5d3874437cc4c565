"""One body for several scales: each task is a HAT of its own, and fine-tuning takes what it needs."""

from __future__ import annotations

import pytest
import torch

from hat_arch import HAT, MultiTaskHAT
from hat_arch.weights.files import fitting

SMALL = {
    "window_size": 4,
    "img_size": 8,
    "depths": [2],
    "embed_dim": 12,
    "num_heads": [2],
    "squeeze_factor": 4,
    "mlp_ratio": 2,
}


@pytest.fixture(params=["pixelshuffle", "pixelshuffledirect"])
def upsampler(request):
    return request.param


@pytest.fixture
def network(upsampler):
    torch.manual_seed(0)
    return MultiTaskHAT(scales=(2, 3, 4), upscale=4, upsampler=upsampler, **SMALL).double().eval()


def single(network, scale, upsampler):
    """The HAT that one task is."""
    weights = {k: v for k, v in network.state_dict().items() if not k.startswith("other_tasks.")}
    if scale != network.upscale:
        prefix = f"other_tasks.x{scale}."
        own = {k.removeprefix(prefix): v for k, v in network.state_dict().items() if k.startswith(prefix)}
        tails = ("upsample.", "conv_before_upsample.", "conv_last.", "conv_first.")
        weights = {k: v for k, v in weights.items() if not k.startswith(tails)} | own
    net = HAT(upscale=scale, upsampler=upsampler, **SMALL).double().eval()
    net.load_state_dict(weights)  # strict: all of it, and nothing else
    return net


def test_each_task_is_the_hat_of_its_head_and_tail_around_the_shared_body(network, upsampler):
    x = torch.rand(2, 9, 8, 12, dtype=torch.float64)
    parts = network(x).split([96 * scale**2 for scale in (2, 3, 4)], -1)
    for scale, image, part in zip((2, 3, 4), x.chunk(3, 1), parts):
        sr = part.unflatten(-1, (8 * scale, 12 * scale))
        torch.testing.assert_close(sr, single(network, scale, upsampler)(image), rtol=0, atol=1e-12)


def test_images_of_the_main_task_go_through_it_as_through_hat_whatever_their_size(network, upsampler):
    x = torch.rand(1, 3, 7, 10, dtype=torch.float64)
    assert torch.equal(network(x), single(network, 4, upsampler)(x))


def test_all_weights_learn_from_one_batch(network):
    network.train()(torch.rand(1, 9, 8, 8, dtype=torch.float64)).square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_hat_takes_everything_that_it_needs_from_it(network, upsampler):
    fit = fitting(network.state_dict(), HAT(upscale=4, upsampler=upsampler, **SMALL).state_dict())
    assert not fit.missing and not fit.other_shape
    assert fit.unknown and all(name.startswith(("other_tasks.x2.", "other_tasks.x3.")) for name in fit.unknown)


@pytest.mark.parametrize("scales", [(2, 3), (2, 4, 4), ()])
def test_scales_must_hold_the_main_one_and_none_twice(scales):
    with pytest.raises(ValueError, match="scales is"):
        MultiTaskHAT(scales=scales, upscale=4, **SMALL)
