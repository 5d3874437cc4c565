"""Prepared networks: the same to the last bit, for the weights of the moment, and the network itself untouched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import Any

import pytest
import torch
from basicsr.archs.edsr_arch import EDSR
from tiny import ROOT, TINY_HAT

from hat_arch import HAT
from hat_arch.archs.multi_task_arch import MultiTaskHAT
from hat_arch.inference.prepared import Prepared, tensors

TINY = {key: value for key, value in TINY_HAT.items() if key != "type"} | {"depths": [2, 2]}


def make(kind: type[HAT] = HAT, **changes: Any) -> HAT:
    torch.manual_seed(0)
    network = kind(**TINY | changes)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.05)
    return network.eval()


def plain(network: torch.nn.Module, images: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    with torch.no_grad(), torch.autocast("cpu", dtype, enabled=dtype is not None):
        return network(images)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"qkv_bias": False},
        {"qk_scale": 0.3},
        {"num_heads": [1, 3]},
        {"embed_dim": 16},
        {"img_size": 4},
        {"use_ocab": False},
        {"use_cab": False},
        {"overlap_ratio": 0.75, "window_size": 8},
        {"kind": MultiTaskHAT, "scales": [2, 4]},
    ],
    ids=str,
)
def test_the_result_is_the_networks_own(changes, dtype):
    network = make(**changes)
    prepared = Prepared(network, dtype)
    for size in ((8, 8), (19, 26)):
        images = torch.rand(2, 3, *size)
        assert torch.equal(prepared(images), plain(network, images, dtype))
    assert prepared.prepared is not network


def test_what_is_no_hat_runs_as_it_is():
    network = EDSR(3, 3, num_feat=8, num_block=1, upscale=2).eval()
    images = torch.rand(1, 3, 9, 8)
    assert torch.equal(Prepared(network, torch.bfloat16)(images), plain(network, images, torch.bfloat16))


@pytest.mark.parametrize("change", ["in place", "loaded", "replaced"])
def test_follows_the_weights(change):
    network, images = make(), torch.rand(1, 3, 8, 8)
    prepared = Prepared(network)
    before, copy = prepared(images), prepared.prepared
    assert torch.equal(prepared(images), before) and prepared.prepared is copy  # not made again for nothing
    attention = network.layers[0].residual_group.blocks[0].attn
    if change == "in place":
        with torch.no_grad():
            attention.relative_position_bias_table.add_(torch.randn_like(attention.relative_position_bias_table))
    elif change == "loaded":
        network.load_state_dict({name: tensor * 1.5 for name, tensor in network.named_parameters()}, strict=False)
    else:
        attention.qkv.weight = torch.nn.Parameter(attention.qkv.weight * 2)
    assert not torch.equal(prepared(images), before)
    assert torch.equal(prepared(images), plain(network, images, None))


def test_the_network_is_left_as_it_was():
    network = make(drop_path_rate=0.5).train()
    network.layers[0].eval()
    modes = [module.training for module in network.modules()]
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    Prepared(network, torch.bfloat16)(torch.rand(1, 3, 8, 8))
    assert [module.training for module in network.modules()] == modes
    assert network.state_dict().keys() == state.keys()
    assert all(tensor.dtype == state[name].dtype for name, tensor in network.state_dict().items())
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    network(torch.rand(1, 3, 8, 8)).sum().backward()  # still learns
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_the_copy_shares_what_it_does_not_change():
    network = make()
    prepared = Prepared(network)
    prepared(torch.rand(1, 3, 8, 8))
    shared = {tensor.data_ptr() for tensor in tensors(network)} & {t.data_ptr() for t in tensors(prepared.prepared)}
    replaced = 3 * (4 + 2)  # two weights and a bias of the projections in each of 4 HABs and 2 OCABs
    assert len(shared) == len(tensors(network)) - replaced


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


@pytest.mark.skipif(not shutil.which("g++") and not shutil.which("clang++"), reason="needs a C++ compiler")
def test_what_is_compiled_serves_other_processes(tmp_path):
    script = CACHED.format(options={**TINY, "depths": [1], "num_heads": [2]})
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    said = [
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True)
        for _ in range(2)
    ]
    assert [done.stdout.split() for done in said] == [["0", "1"], ["1", "0"]], said[0].stderr + said[1].stderr
