"""Whether a network's linear layers are faster by oneDNN than by PyTorch's BLAS here: measured once, and remembered."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn

from ...archs.hat_arch import HAT
from ...archs.linear import Library, computed_by, has_onednn
from ...utils.machine import cores, cpu_name
from ..measuring import least_seconds, part_of
from ..prepared import evaluating
from . import cache
from .base import Report

LIBRARIES: tuple[Library, ...] = ("blas", "onednn")
LEAST_WIDTH = 48
"""Channels below which the libraries differ by less than a measurement."""
GAIN = 0.97
"""oneDNN is taken if it needs at most this share of the time: what is alike is not to be chosen by chance."""


def fastest_library(
    network: nn.Module,
    shape: Sequence[int],
    report: Report,
    learning: bool = False,
) -> Library:
    """The library by which a network's linear layers are faster on this machine, in fp32 on the CPU.

    A part of the network is timed for a second; the result is kept beside what engines keep (`engines.cache`).

    Args:
        network: of other classes than `HAT`, narrow or not on the CPU: ``blas``.
        shape: ``(B, C, H, W)`` of the images to compute, H and W multiples of what the network needs.
        report: called with a line before it measures.
        learning: whether gradients are computed, too.
    """
    if type(network) is not HAT or network.mean.device.type != "cpu" or not has_onednn():
        return "blas"
    if network.conv_first.out_channels < LEAST_WIDTH or network.conv_first.weight.dtype != torch.float32:
        return "blas"
    part = part_of(network)
    kept = cache.Cache(report)
    facts = cpu_name(), cores(), torch.get_num_threads(), str(torch.__version__), tuple(shape), learning
    file = f"{cache.key('linear layers', cache.structure(part), *facts)}.json"
    seconds = _read(kept.read(file))
    if seconds is None:
        report("linear layers: measuring PyTorch's BLAS and oneDNN, once for this machine and network")
        seconds = measured(part, shape, learning)
        kept.write(file, json.dumps(seconds).encode())
    return "onednn" if seconds["onednn"] < GAIN * seconds["blas"] else "blas"


def _read(data: bytes | None) -> dict[str, float] | None:
    with contextlib.suppress(ValueError):
        found = json.loads(data or b"")
        if isinstance(found, dict) and all(isinstance(found.get(name), float) for name in LIBRARIES):
            return found
    return None


def measured(network: nn.Module, shape: Sequence[int], learning: bool) -> dict[str, float]:
    """Least seconds by each library, in turn, of a forward pass and, if ``learning``, the gradients of all weights."""
    image = torch.rand(*shape, generator=torch.Generator().manual_seed(0))
    weights = [weight for weight in network.parameters() if weight.requires_grad]

    def once(library: Library) -> None:
        with computed_by(library):
            output = network(image)
            if learning:
                torch.autograd.grad(output.sum(), weights, allow_unused=True)

    with evaluating(network), torch.set_grad_enabled(learning):
        for library in LIBRARIES:
            once(library)
        return least_seconds({library: partial(once, library) for library in LIBRARIES})
