"""Networks as they are run for inference: the network's own result, whatever becomes of it between two calls."""

from __future__ import annotations

import functools
import os
import subprocess
import sys

import pytest
import torch
from basicsr.archs.edsr_arch import EDSR
from tiny import ROOT, TINY_HAT, needs_a_compiler
from torch import nn

from hat_arch import HAT
from hat_arch.archs.multi_task_arch import MultiTaskHAT
from hat_arch.inference.prepared import Prepared

TINY = {key: value for key, value in TINY_HAT.items() if key != "type"} | {"depths": [2, 2]}


@pytest.fixture
def network() -> HAT:
    torch.manual_seed(0)
    network = HAT(**TINY)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return network.eval()


def plain(network: nn.Module, images: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype is not None):
        return network(images)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("other", [None, MultiTaskHAT(scales=[2, 4], **TINY), EDSR(3, 3, 8, 1, 2)])
def test_the_result_is_the_networks_own(network, other, dtype):
    network, images = (other or network).eval(), torch.rand(2, 3, 19, 26)
    assert torch.equal(Prepared(network, dtype)(images), plain(network, images, dtype))


def attention(network: HAT) -> nn.Module:
    return network.layers[0].residual_group.blocks[0].attn


def write(network: HAT, change) -> None:
    for name in ("qkv.weight", "proj.weight", "relative_position_bias_table"):
        change(attention(network).get_parameter(name))


@torch.no_grad()
def in_place(network: HAT) -> None:
    write(network, lambda weight: weight.mul_(1.5))


CHANGES = {
    "in place": in_place,
    "through .data": lambda network: write(network, lambda weight: weight.data.mul_(1.5)),
    "permuted through .data": lambda network: write(network, lambda weight: weight.data.copy_(weight.data.flip(0))),
    "other .data": lambda network: write(network, lambda weight: setattr(weight, "data", weight.data * 1.5)),
    "loaded": lambda network: network.load_state_dict(
        {name: tensor * 1.5 for name, tensor in network.named_parameters()}, strict=False
    ),
    "another parameter": lambda network: setattr(attention(network).qkv, "weight", nn.Parameter(torch.rand(36, 12))),
    "another layer": lambda network: setattr(attention(network), "proj", nn.Linear(12, 12)),
    "a setting": lambda network: setattr(attention(network), "scale", 0.1),
    "a setting of the network": lambda network: setattr(network, "img_range", 255.0),
    "a hook": lambda network: network.norm.register_forward_hook(lambda module, args, output: output + 1),
}


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_follows_the_network(network, change, dtype):
    images = torch.rand(1, 3, 8, 8)
    prepared = Prepared(network, dtype)
    before = prepared(images)
    change(network)
    assert not torch.equal(prepared(images), before)
    assert torch.equal(prepared(images), plain(network, images, dtype))


@pytest.mark.parametrize("what", ["through .data", "another layer", "a setting", "a hook"])
def test_follows_the_network_when_compiled(network, what, monkeypatch):
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    torch.compiler.reset()
    images = torch.rand(1, 3, 8, 8)
    prepared = Prepared(network, compile=True)
    before = prepared(images)
    CHANGES[what](network)
    after, expected = prepared(images), plain(network, images)
    error = (after - expected).abs().max()
    assert error < 1e-5 * expected.abs().max()
    assert (after - before).abs().max() > 10 * error


def test_the_network_is_left_as_it_was():
    network = HAT(**TINY | {"drop_path_rate": 0.5}).train()
    network.layers[0].eval()
    modes = [module.training for module in network.modules()]
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    Prepared(network, torch.bfloat16)(torch.rand(1, 3, 8, 8))
    assert [module.training for module in network.modules()] == modes
    assert network.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    network(torch.rand(1, 3, 8, 8)).sum().backward()  # still learns
    assert all(parameter.grad is not None for parameter in network.parameters())


CACHED = """
import sys, torch
from hat_arch import HAT
from hat_arch.inference.prepared import Prepared
torch.manual_seed(0)
network, images = HAT(**{options}).eval(), torch.rand(1, 3, 8, 8)
compiled, plain = Prepared(network, compile=True)(images), Prepared(network)(images)
assert torch.allclose(compiled, plain, rtol=0, atol=1e-6), (compiled - plain).abs().max()
from torch._dynamo.utils import counters
print(counters["inductor"]["fxgraph_cache_hit"], counters["inductor"]["fxgraph_cache_miss"])
"""


@needs_a_compiler
def test_what_is_compiled_serves_other_processes(tmp_path):
    script = CACHED.format(options={**TINY, "depths": [1], "num_heads": [2]})
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    said = [
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
        for _ in range(2)
    ]
    assert [done.stdout.split() for done in said] == [["0", "1"], ["1", "0"]], said[0].stderr + said[1].stderr
