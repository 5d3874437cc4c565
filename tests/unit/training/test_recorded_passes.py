"""Forward and backward by CUDA graphs: what the network itself computes, whatever becomes of its weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from hat_arch.archs.hat_arch import HAT
from hat_arch.training.recorded_passes import RecordedPasses

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
SMALL = {"embed_dim": 16, "depths": [2], "num_heads": [2], "window_size": 4, "squeeze_factor": 4, "upscale": 2}


class Normalized(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 3, 1, 1))
        self.unused = nn.Parameter(torch.ones(1))
        self[0].bias.requires_grad_(False)


NETWORKS = {"HAT": lambda: HAT(**SMALL, drop_path_rate=0.0), "batch norm": Normalized}


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]().cuda().train()


def images(seed, size=2, side=8):
    return torch.rand(size, 3, side, side, generator=torch.Generator().manual_seed(seed)).cuda()


def gradients(network, compute, x):
    network.zero_grad()
    output = compute(x)
    (output**2).mean().backward()
    return output, {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}


def test_outputs_and_gradients_are_those_of_the_network(network):
    before = copy.deepcopy(network.state_dict())
    generator = torch.cuda.get_rng_state()
    recorded = RecordedPasses(network, network, images(0))
    assert torch.equal(torch.cuda.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    reference = copy.deepcopy(network)
    earlier = None
    for seed in (1, 2, 3):
        output, found = gradients(network, recorded, images(seed))
        expected_output, expected = gradients(reference, reference, images(seed))
        assert earlier is None or not torch.equal(output, earlier)
        torch.testing.assert_close(output, expected_output, rtol=1e-4, atol=1e-5)
        assert found.keys() == expected.keys()
        for name in found:
            assert found[name].stride() == dict(network.named_parameters())[name].stride()
            torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(dict(network.named_buffers()), dict(reference.named_buffers()))
        with torch.no_grad():
            for net in (network, reference):
                for weight in net.parameters():
                    weight.mul_(1.1)
        earlier = output


def test_an_output_outlives_the_next_call(network):
    recorded = RecordedPasses(network, network, images(0))
    first = recorded(images(1))
    kept = first.detach().clone()
    recorded(images(2))
    assert torch.equal(first, kept)


def test_what_is_random_is_drawn_anew():
    network = HAT(**{**SMALL, "depths": [6]}, drop_path_rate=0.9).cuda().train()
    recorded = RecordedPasses(network, network, images(0))
    outputs = [recorded(images(1)) for _ in range(8)]
    assert any(not torch.equal(outputs[0], output) for output in outputs[1:])


def test_a_network_that_waits_for_a_value_is_refused():
    class Waits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.layer(x) * float(x.mean())

    network = Waits().cuda()
    with pytest.raises(RuntimeError):
        RecordedPasses(network, network, images(0))
    torch.cuda.synchronize()


def test_a_second_backward_does_not_overwrite_gradients(network):
    recorded = RecordedPasses(network, network, images(0))
    recorded(images(1)).sum().backward()
    kept = {name: weight.grad.clone() for name, weight in network.named_parameters() if weight.grad is not None}
    with pytest.raises(RuntimeError, match="set to None"):
        recorded(images(2)).sum().backward()
    assert kept and all(torch.equal(dict(network.named_parameters())[name].grad, value) for name, value in kept.items())
