"""By what PyTorch computes a network fastest on this CPU in fp32: measured once on a part of it, and remembered."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from ...archs.hat_arch import HAT
from ...archs.kernels import PLAIN, Kernels, computed_by
from ...archs.linear import has_onednn
from ...archs.strips import is_as_built
from ..measuring import least_seconds, part_of
from ..prepared import evaluating
from . import cache
from .base import Report

OTHERS = {"linear": Kernels(linear="onednn"), "attention": Kernels(attention="products")}
"""What is measured beside `PLAIN`, by what it changes."""
LEAST_WIDTH = 48
"""Channels below which they differ by less than a measurement."""
GAIN = 0.97
"""What is taken in place of PyTorch's own choice needs at most this share of the time, not to be chosen by chance."""


def fastest_kernels(network: nn.Module, shape: Sequence[int], report: Report, learning: bool = False) -> Kernels:
    """The kernels by which a network is faster on this machine, in fp32 on the CPU.

    A part of the network is timed for a second; the result is kept beside what engines keep (`engines.cache`).

    Args:
        network: of another class than `HAT`, narrow, not on the CPU or with hooks, which would be called: `PLAIN`.
        shape: ``(B, C, H, W)`` of the images to compute.
        report: called with a line before it measures.
        learning: whether gradients are computed, too.
    """
    if type(network) is not HAT or network.conv_first.out_channels < LEAST_WIDTH or not has_onednn():
        return PLAIN
    if network.conv_first.weight.device.type != "cpu" or network.conv_first.weight.dtype != torch.float32:
        return PLAIN
    if not all(map(is_as_built, network.modules())):
        return PLAIN
    part = part_of(network)
    kept = cache.Cache(report)
    facts = *cache.of_machine(), str(torch.__version__), tuple(shape), learning
    file = f"{cache.key('kernels', cache.structure(part), *facts)}.json"
    seconds = kept.seconds(file)
    if not {"plain", *OTHERS} <= seconds.keys():
        report("measuring by what PyTorch computes linear layers and attention, once for this machine and network")
        seconds = measured(part, shape, learning)
        kept.keep_seconds(file, seconds)
    faster = {name: getattr(one, name) for name, one in OTHERS.items() if seconds[name] < GAIN * seconds["plain"]}
    return PLAIN._replace(**faster)


def measured(network: nn.Module, shape: Sequence[int], learning: bool) -> dict[str, float]:
    """Least seconds by `PLAIN` and by each of `OTHERS`, of a forward pass and, if ``learning``, all gradients."""
    image = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
    weights = [weight for weight in network.parameters() if weight.requires_grad]

    def once(kernels: Kernels) -> None:
        with computed_by(kernels):
            output = network(image)
            if learning:
                torch.autograd.grad(output.sum(), weights, allow_unused=True)

    ways = {name: partial(once, kernels) for name, kernels in {"plain": PLAIN, **OTHERS}.items()}
    with evaluating(network), torch.set_grad_enabled(learning):
        for way in ways.values():
            way()
        return least_seconds(ways)
