"""Linear layers by oneDNN are those of PyTorch, with gradients of every order, where nothing else is wanted."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F

from hat_arch import HAT
from hat_arch.archs.kernels import Kernels, computed_by
from hat_arch.archs.linear import has_onednn, linear, through

pytestmark = pytest.mark.skipif(not has_onednn(), reason="PyTorch was built without oneDNN")
ONEDNN = Kernels(linear="onednn")
TINY = {"embed_dim": 24, "depths": (2,), "num_heads": (3,), "window_size": 4, "upscale": 2, "squeeze_factor": 6}


def operations(run):
    """Names of what PyTorch computes with."""
    with torch.profiler.profile() as profile:
        run()
    return {event.key for event in profile.key_averages()}


@pytest.mark.parametrize("shape", [(7,), (1, 7), (16, 7), (3, 5, 7), (2, 8, 8, 7)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("learning", [True, False])
def test_it_is_a_linear_layer(shape, bias, learning):
    torch.manual_seed(0)
    x, weight = torch.randn(shape), torch.randn(12, 7)
    bias = torch.randn(12) if bias else None
    leaves = [z.requires_grad_(learning) for z in (x, weight, bias) if z is not None]
    with computed_by(ONEDNN):
        actual = linear(x, weight, bias)
    expected = F.linear(x.double(), weight.double(), None if bias is None else bias.double())
    assert actual.shape == expected.shape and torch.allclose(actual.double(), expected, atol=1e-5)
    if learning:
        slopes = torch.randn(expected.shape)
        pairs = zip(torch.autograd.grad(actual, leaves, slopes), torch.autograd.grad(expected, leaves, slopes.double()))
        assert all(torch.allclose(mine, theirs, atol=1e-4) for mine, theirs in pairs)


def test_a_network_is_the_same_and_none_of_its_layers_is_left_to_the_blas():
    torch.manual_seed(0)
    network, image = HAT(**TINY), torch.rand(2, 3, 9, 14)
    expected = network.eval()(image)
    loss = torch.autograd.grad(expected.square().sum(), list(network.parameters()))
    with computed_by(ONEDNN):
        actual = network(image)
        slopes = torch.autograd.grad(actual.square().sum(), list(network.parameters()))
        with torch.no_grad():
            assert torch.allclose(network(image), expected, atol=1e-5)
            assert "aten::linear" not in operations(lambda: network(image))
        assert "aten::linear" not in operations(lambda: network(image))
    assert torch.allclose(actual, expected, atol=1e-5)
    assert all(torch.allclose(mine, theirs, rtol=1e-3, atol=1e-3) for mine, theirs in zip(slopes, loss))
    assert "aten::linear" in operations(lambda: network(image))


def test_second_derivatives():
    x, weight = torch.randn(16, 3, requires_grad=True), torch.randn(4, 3, requires_grad=True)
    with computed_by(ONEDNN):
        [first] = torch.autograd.grad(linear(x, weight).square().sum(), x, create_graph=True)
        [second] = torch.autograd.grad(first.sum(), weight)
    [expected] = torch.autograd.grad((2 * x @ weight.t() @ weight).sum(), weight)
    assert torch.allclose(second, expected, atol=1e-4)


@pytest.mark.parametrize("checkpoint", [True, False])
def test_activations_that_are_computed_again(checkpoint):
    torch.manual_seed(0)
    network = HAT(**TINY, use_checkpoint=checkpoint, drop_path_rate=0.0).train()
    with computed_by(ONEDNN):
        network(torch.rand(1, 3, 8, 8)).sum().backward()
    assert all(weight.grad is not None for weight in network.parameters())


def test_replaced_and_watched_layers_are_called():
    layer, seen = nn.Linear(3, 2), []
    layer.register_forward_hook(lambda *_: seen.append(1))

    class Doubled(nn.Linear):
        def forward(self, x):
            return 2 * super().forward(x)

    doubled, x = Doubled(3, 2), torch.rand(4, 3)
    with computed_by(ONEDNN):
        through(layer, x)
        assert torch.equal(through(doubled, x), 2 * F.linear(x, doubled.weight, doubled.bias))
    assert seen == [1]


def test_transforms_other_types_and_autocast_take_the_plain_operation():
    layer, x = nn.Linear(3, 2), torch.rand(5, 3)
    weights = dict(layer.named_parameters())

    def loss(weights, x):
        return functional_call(layer, weights, x).square().sum()

    with computed_by(ONEDNN):
        each = vmap(grad(lambda weights, x: through(layer, x).sum() + loss(weights, x)), (None, 0))(weights, x)
        assert each["weight"].shape == (5, 2, 3)
        assert linear(x.double(), layer.weight.double()).dtype == torch.float64
        with torch.autocast("cpu", torch.bfloat16):
            assert linear(x, layer.weight, layer.bias).dtype == torch.bfloat16
        assert linear(x[:0], layer.weight, layer.bias).shape == (0, 2)
        program = torch.export.export(HAT(**TINY).eval(), (torch.rand(1, 3, 8, 8),))
    assert not [node for node in program.graph.nodes if "mkldnn" in str(node.target)]
