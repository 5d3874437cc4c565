"""The start of a compact network as an interpolation."""

from __future__ import annotations

import pytest
import torch
from basicsr.archs.srresnet_arch import MSRResNet
from tiny import TINY_HAT
from torch.nn import functional as F

from hat_arch import HAT
from hat_arch.archs.interpolation import begin_as_interpolation, quadratic_taps

ARGUMENTS = {key: value for key, value in TINY_HAT.items() if key != "type"}


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_parabola_is_enlarged_exactly(scale, channels):
    net = HAT(**{**ARGUMENTS, "upscale": scale, "in_chans": channels, "upsampler": "pixelshuffledirect"}).double()
    begin_as_interpolation(net)

    def image(per_pixel):
        at = (torch.arange(16 * per_pixel, dtype=torch.float64) + 0.5) / (16 * per_pixel)
        y, x = at[:, None], at[None]
        return torch.stack([0.2 + 0.3 * y * y + 0.1 * c * x - 0.2 * y * x * x for c in range(channels)])[None]

    with torch.no_grad():
        inside = (slice(None), slice(None), slice(scale, -scale), slice(scale, -scale))  # the border meets zeros
        assert torch.allclose(net.eval()(image(1))[inside], image(scale)[inside], atol=1e-6)


def test_all_of_it_learns_in_two_steps():
    torch.manual_seed(0)
    net = HAT(**{**ARGUMENTS, "upsampler": "pixelshuffledirect"})
    begin_as_interpolation(net)
    lq, gt = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 32, 32)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        F.l1_loss(net(lq), gt).backward()
        optimizer.step()
    idle = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not [name for name in idle if ".cab.3." not in name]  # there a ReLU may be dead


def test_the_weights_of_each_new_pixel_sum_to_one():
    assert torch.allclose(quadratic_taps(4).sum(1), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_that_restores_begins_by_returning_its_input(channels):
    net = HAT(**{**ARGUMENTS, "upscale": 1, "upsampler": "", "in_chans": channels})
    begin_as_interpolation(net)
    x = torch.randn(2, channels, 9, 13)
    with torch.no_grad():
        assert torch.equal(net.eval()(x), x)
    optimizer = torch.optim.SGD(net.train().parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        F.l1_loss(net(x), torch.zeros_like(x)).backward()
        optimizer.step()
    idle = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not [name for name in idle if ".cab.3." not in name]  # there a ReLU may be dead


@pytest.mark.parametrize("changes", [{}, {"upsampler": "pixelshuffledirect", "resi_connection": "identity"}, None])
def test_other_networks_are_refused(changes):
    net = MSRResNet(3, 3, 8, 1) if changes is None else HAT(**{**ARGUMENTS, **changes})
    with pytest.raises(ValueError, match="pixelshuffledirect"):
        begin_as_interpolation(net)
