"""Short measurements by which the faster of several ways is chosen, on a part of a network that stands for it."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from ..archs.hat_arch import HAT

SIDE = 64  # pixels of the image that is timed
SECONDS = 1.0  # for which all ways together are timed, and three times each at the least
ROUNDS = 3


def least_seconds(ways: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Least seconds of each way, in turn; each has run before, if its first call takes longer."""
    seconds = dict.fromkeys(ways, math.inf)
    end, rounds = time.perf_counter() + SECONDS, 0
    while ways and (rounds < ROUNDS or time.perf_counter() < end):
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            seconds[name] = min(seconds[name], time.perf_counter() - begin)
        rounds += 1
    return seconds


def part_of(network: nn.Module) -> nn.Module:
    """A network that takes a fraction of the time, in about the same proportion: of a HAT two HABs and an OCAB.

    Enlarging by convolutions and pixel shuffles is left out, which would be most of it. Other networks are taken whole.
    """
    if type(network) is not HAT:
        return network
    part = copy.copy(network)
    part._modules = dict(network._modules)
    group: Any = copy.copy(network.layers[0])
    group._modules = dict(group._modules)
    inner = copy.copy(group.residual_group)
    inner._modules = dict(inner._modules)
    inner.blocks = inner.blocks[:2]
    group.residual_group = inner
    part.layers = nn.ModuleList([group])
    if not isinstance(part.conv_last, nn.Identity):  # of pixelshuffledirect, whose one convolution is needed
        part.upsample, part.upscale = nn.Identity(), 1
    part.reconstruction_as_built = part._reconstruction()
    return part
