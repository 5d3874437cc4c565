"""Every layer of a HAT behaves as a module: it can be watched, replaced, copied, transformed and exported."""

from __future__ import annotations

import copy
import io
import pickle
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as torch_modules
from torch.nn.utils import parametrize, prune

from hat_arch import HAT
from hat_arch.archs import attention, hat_arch, strips

# isort: split
# After hat_arch, which repairs torchvision.
from spandrel.architectures.HAT.__arch.HAT import HAT as SpandrelHAT

TINY = {"embed_dim": 12, "depths": (2,), "num_heads": (2,), "window_size": 4, "squeeze_factor": 4, "mlp_ratio": 2}
TINY |= {"upscale": 2, "conv_scale": 0.3}
LAYERS = [name for name, module in HAT(**TINY).named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]


@pytest.fixture(autouse=True)
def small_strips(monkeypatch):
    """Without gradients the image of `x` is several strips."""
    monkeypatch.setattr(strips, "STRIP_TOKENS_CPU", 1)
    monkeypatch.setattr(hat_arch, "RECONSTRUCTED_ROWS", 2)


@pytest.fixture
def net() -> HAT:
    torch.manual_seed(0)
    net = HAT(**TINY).eval()
    for parameter in net.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    for block in net.layers[0].residual_group.blocks:
        block.conv_block.cab[3].attention[1].bias.data += 1  # else nothing may pass its ReLU
    return net.double()


@pytest.fixture
def x() -> Tensor:
    return torch.rand(1, 3, 13, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def without_gradients(net: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net(x)


def assert_near(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def saves_memory(net: HAT, x: Tensor) -> bool:
    """Whether a pass without gradients overwrites what it no longer needs."""
    with mock.patch.object(torch, "add", wraps=torch.add) as add:
        without_gradients(net, x)
    return any("out" in call.kwargs for call in add.call_args_list)


# ---- hooks


def features(net: HAT, x: Tensor, grad: bool, everywhere: bool) -> list[tuple[nn.Module, Tensor]]:
    """What forward hooks, on each layer or on all modules of the process, keep of the outputs."""
    kept: list[tuple[nn.Module, Tensor]] = []

    def keep(module: nn.Module, args: object, output: Tensor) -> None:
        kept.append((module, output))

    if everywhere:
        handles = [torch_modules.register_module_forward_hook(keep)]
    else:
        handles = [module.register_forward_hook(keep) for module in net.modules()]
    with torch.set_grad_enabled(grad):
        net(x)
    for handle in handles:
        handle.remove()
    return kept


@pytest.mark.parametrize("everywhere", [True, False])
def test_hooks_see_what_was_returned_as_often_as_with_gradients(net, x, everywhere):
    seen, expected = (features(net, x, grad, everywhere) for grad in (False, True))
    assert [module for module, _ in seen] == [module for module, _ in expected]
    for (_, output), (_, wanted) in zip(seen, expected):
        assert_near(output, wanted)
    unseen = {name for name, module in net.named_modules() if module not in {module for module, _ in seen}}
    assert all(isinstance(net.get_submodule(name), nn.ModuleList) for name in unseen)


@pytest.mark.parametrize("name", ["layers.0.conv", "conv_last", "layers.0.residual_group.blocks.0.attn.qkv"])
def test_memory_is_saved_only_while_nobody_watches(net, x, name):
    assert saves_memory(net, x)
    handle = net.get_submodule(name).register_forward_hook(lambda *_: None)
    assert not saves_memory(net, x)
    handle.remove()
    assert saves_memory(net, x)


@pytest.mark.parametrize("everywhere", [True, False])
def test_hooks_before_a_layer_change_what_it_gets(net, x, everywhere):
    def halved(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor] | None:
        return (args[0] / 2,) if isinstance(module, nn.Linear) else None

    before = net(x)
    if everywhere:
        handles = [torch_modules.register_module_forward_pre_hook(halved)]
    else:
        handles = [module.register_forward_pre_hook(halved) for module in net.modules()]
    after = net(x)
    assert not torch.allclose(after, before, rtol=0, atol=1e-9)
    assert_near(without_gradients(net, x), after)
    for handle in handles:
        handle.remove()
    assert_near(without_gradients(net, x), before)


@pytest.mark.parametrize("everywhere", [True, False])
def test_backward_hooks_fire_on_every_layer(net, x, everywhere):
    fired = []
    if everywhere:
        handles = [torch_modules.register_module_full_backward_hook(lambda module, *_: fired.append(module))]
    else:
        layers = [net.get_submodule(name) for name in LAYERS]
        handles = [layer.register_full_backward_hook(lambda module, *_: fired.append(module)) for layer in layers]
    net(x.requires_grad_()).sum().backward()
    for handle in handles:
        handle.remove()
    assert {net.get_submodule(name) for name in LAYERS} <= set(fired)


# ---- replaced layers


class Adapter(nn.Module):
    """Adds a learned shift; has nothing of the layer but what it returns."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.shift = nn.Parameter(torch.linspace(0.1, 0.5, len(layer.bias)))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + (self.shift if isinstance(self.layer, nn.Linear) else self.shift.view(-1, 1, 1))


class Double(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def wrapped(net: HAT, name: str) -> None:
    net.set_submodule(name, Adapter(net.get_submodule(name)))


def forward_replaced(net: HAT, name: str) -> None:
    layer = net.get_submodule(name)
    forward = layer.forward
    layer.forward = lambda x: 2 * forward(x)


WAYS = {
    "wrapped": wrapped,
    "forward replaced": forward_replaced,
    "parametrized": lambda net, name: parametrize.register_parametrization(
        net.get_submodule(name), "weight", Double(), unsafe=True
    ),
    "pruned": lambda net, name: prune.l1_unstructured(net.get_submodule(name), "weight", 0.5),
    "hook": lambda net, name: net.get_submodule(name).register_forward_hook(lambda module, args, output: 2 * output),
}


@pytest.mark.parametrize("change", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("name", LAYERS)
def test_any_layer_can_be_replaced(net, x, name, change):
    before = without_gradients(net, x)
    change(net, name)
    after = net(x)
    after.square().sum().backward()
    assert not torch.allclose(after, before, rtol=0, atol=1e-9)
    assert_near(without_gradients(net, x), after)
    assert all(parameter.grad is not None for parameter in net.get_submodule(name).parameters())


class Opaque(nn.Module):
    """Calls a layer, and has no attributes of its."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "call", lambda x: 1.25 * layer(x) + 0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", [nn.Linear, nn.Conv2d, nn.LayerNorm, (nn.Linear, nn.Conv2d, nn.LayerNorm)])
def test_replaced_layers_give_what_the_official_network_gives_with_them(net, kind, training):
    x = torch.rand(2, 3, 8, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    options = {"drop_path_rate": 0.0, "depths": (2,)}
    ours, official = (cls(**TINY | options).double().train(training) for cls in (HAT, SpandrelHAT))
    ours.load_state_dict(net.state_dict())
    official.load_state_dict(net.state_dict())
    for other in (ours, official):
        for name in [name for name, module in other.named_modules() if isinstance(module, kind)]:
            other.set_submodule(name, Opaque(other.get_submodule(name)))
    expected = official(x).detach()
    assert not torch.allclose(expected, net(x), rtol=0, atol=1e-3)
    assert_near(ours(x), expected)
    assert_near(without_gradients(ours, x), expected)


@pytest.mark.filterwarnings("ignore")  # the old way to quantise is deprecated
def test_layers_quantised_by_their_class(net, x):
    net, x = net.float(), x.float()
    before = net(x)
    quantised = torch.ao.quantization.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    after = without_gradients(quantised, x)
    assert 0 < (after - before).abs().max() < 0.2 * before.abs().max()


def test_layers_that_reach_farther_or_pool_otherwise(net, x):
    """They are of classes that a HAT is made of, so memory is saved elsewhere."""
    net.conv_last = nn.Conv2d(64, 3, 9, padding=4).double()
    net.layers[0].residual_group.blocks[0].conv_block.cab[3].attention[0] = nn.GELU()
    assert saves_memory(net, x)
    assert_near(without_gradients(net, x), net(x))


# ---- copies


def on_meta(net: HAT) -> HAT:
    with torch.device("meta"):
        other = HAT(**TINY).double()
    other.to_empty(device="cpu").load_state_dict(net.state_dict())
    for name, buffer in net.named_buffers():  # those that are not in the weights
        other.get_buffer(name).copy_(buffer)
    return other.eval()


def through_file(net: HAT) -> HAT:
    file = io.BytesIO()
    torch.save(net, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net)), through_file, on_meta]
)
def test_copies_are_equal_and_independent(net, x, duplicate):
    expected = without_gradients(net, x)
    other = duplicate(net)
    assert torch.equal(without_gradients(other, x), expected)
    other.layers[0].residual_group.blocks[0].attn.qkv.weight.data.add_(1)
    assert not torch.equal(without_gradients(other, x), expected)
    assert torch.equal(without_gradients(net, x), expected)


def test_weights_given_for_one_call(net, x):
    weights = {name: 1.5 * weight for name, weight in net.named_parameters()}
    expected = torch.func.functional_call(net, weights, (x,))
    with torch.no_grad():
        assert_near(torch.func.functional_call(net, weights, (x,)), expected)
    assert not torch.allclose(net(x), expected)


# ---- derivatives and transforms


def test_forward_mode_derivative_is_the_backward_one(net, x):
    direction = torch.rand_like(x)
    slope = torch.func.jvp(net, (x,), (direction,))[1]
    with torch.no_grad(), forward_ad.dual_level():
        again = forward_ad.unpack_dual(net(forward_ad.make_dual(x, direction))).tangent
    torch.testing.assert_close(again, slope, rtol=0, atol=1e-12)
    cotangent = torch.rand_like(slope)
    (gradient,) = torch.autograd.grad(net(x.requires_grad_()), x, cotangent)
    torch.testing.assert_close((gradient * direction).sum(), (cotangent * slope).sum(), rtol=1e-10, atol=0)


@pytest.mark.parametrize("grad", [True, False])
def test_vmap_is_a_loop(net, x, grad):
    batch = torch.stack([x, x.flip(2), 1 - x])
    with torch.set_grad_enabled(grad):
        assert_near(torch.func.vmap(net)(batch), torch.stack([net(image) for image in batch]))


def test_forward_mode_derivative_by_the_weights_without_gradients(net, x):
    weights = {name: parameter.detach() for name, parameter in net.named_parameters()}
    directions = {name: torch.rand_like(weight) for name, weight in weights.items()}
    with torch.no_grad(), forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(weights[name], directions[name]) for name in weights}
        slope = forward_ad.unpack_dual(torch.func.functional_call(net, duals, (x,))).tangent
    cotangent = torch.rand_like(slope)
    gradients = torch.autograd.grad(net(x), list(net.parameters()), cotangent)
    product = sum((gradient * direction).sum() for gradient, direction in zip(gradients, directions.values()))
    torch.testing.assert_close((cotangent * slope).sum(), product, rtol=1e-10, atol=0)


def test_gradients_of_samples_by_vmap_are_those_of_each(net, x):
    weights = {name: parameter.detach() for name, parameter in net.named_parameters()}
    batch = torch.cat([x, x.flip(2), 1 - x])

    def loss(weights: dict[str, Tensor], image: Tensor) -> Tensor:
        return torch.func.functional_call(net, weights, (image[None],)).square().mean()

    together = torch.func.vmap(torch.func.grad(loss), (None, 0))(weights, batch)
    for i, image in enumerate(batch):
        alone = torch.autograd.grad(net(image[None]).square().mean(), list(net.parameters()))
        for gradient, expected in zip(together.values(), alone):
            assert_near(gradient[i], expected)


def test_jacobian_of_all_outputs_at_once_is_that_of_each(net):
    x = torch.rand(1, 3, 3, 2, dtype=torch.float64)
    at_once, one_by_one = (
        torch.autograd.functional.jacobian(net, x, vectorize=vectorize) for vectorize in (True, False)
    )
    assert_near(at_once, one_by_one)


def test_second_derivatives(net):
    x = torch.rand(1, 3, 3, 2, dtype=torch.float64).requires_grad_()
    weights = [net.layers[0].residual_group.blocks[1].attn.relative_position_bias_table, net.conv_first.bias]

    def run(x: Tensor, table: Tensor, bias: Tensor) -> Tensor:
        names = {id(parameter): name for name, parameter in net.named_parameters()}
        changed = {names[id(weight)]: value for weight, value in zip(weights, (table, bias))}
        return torch.func.functional_call(net, changed, (x,)).square().mean()

    inputs = (x, *(weight.detach().clone().requires_grad_() for weight in weights))
    assert torch.autograd.gradgradcheck(run, inputs)


def test_second_derivatives_of_attention(monkeypatch):
    monkeypatch.setattr(attention, "SCORES_IN_CACHE", 1)
    inputs = [torch.rand(2, 1, 3, 2), torch.rand(2, 1, 4, 2), torch.rand(2, 1, 4, 2), torch.rand(1, 3, 4)]
    inputs = [z.double().requires_grad_() for z in inputs]
    assert torch.autograd.gradgradcheck(lambda *z: attention.fast_attention(*z, 0.5), inputs)
