"""Which engine is the fastest here: measured once on a part of the network, and remembered."""

from __future__ import annotations

import contextlib
import copy
import json
import statistics
import time
from typing import Any

import torch
from torch import nn

from ...archs.hat_arch import HAT
from ...utils import extras
from ...utils.errors import UserError
from ...utils.machine import cores, cpu_name
from ..exported_file import ExportedFile
from . import build, cache
from .base import Engine, EngineError

SIDE = 64  # pixels of the image that is timed
SECONDS = 0.3  # that each engine computes for, and three times at the least


def fastest(how: dict[str, Any], dtype: torch.dtype | None) -> Engine:
    """The fastest engine that is installed and has something for a network, device and type; says which, and why.

    That is ``torch``, without a word, if there is no other.

    Args:
        how: arguments of `engines.build`, all but the first and ``dtype``.
        dtype: as for that.
    """
    network = how["network"]
    names = [name for name in extras.ENGINES if extras.installed(name)]
    if isinstance(network, ExportedFile):
        names.remove("torch")
        if not names:
            raise EngineError(f"{network.path}: needs a runtime; pip install 'hat-arch[openvino]' or 'hat-arch[onnx]'")
    there: dict[str, Engine] = {}
    for name in names[:1] if how["compile"] else names:
        with contextlib.suppress(EngineError):  # it has nothing for this device or type
            there[name] = build(name, dtype=dtype, **how)
    if not there:
        return build(names[0], dtype=dtype, **how)  # raises, and says why
    if len(there) == 1:
        return next(iter(there.values()))
    name, line = _choose(how, dtype, list(there))
    how["report"](line)
    return there[name]


def _choose(how: dict[str, Any], dtype: torch.dtype | None, names: list[str]) -> tuple[str, str]:
    """The fastest of some engines, and a line that says so: as measured earlier, or now."""
    part, report = part_of(how["network"]), how["report"]
    facts = [cpu_name(), cores(), torch.get_num_threads(), str(how["device"]), str(dtype)]
    kept, file = cache.Cache(report), f"{cache.key(cache.structure(part), *facts, *map(cache.versions, names))}.json"
    seconds, when = _read(kept.read(file)), "when it was measured"
    if not seconds:
        report(f"engine: measuring {', '.join(names)}, once for this machine and network")
        seconds, when = measured({**how, "network": part, "dtype": dtype}, names), "here"
        kept.write(file, json.dumps(seconds).encode())
    by_time = sorted(seconds, key=lambda name: seconds[name])
    times = ", ".join(f"{name} {1000 * seconds[name]:.0f} ms" for name in by_time)
    return by_time[0], f"engine: {by_time[0]}, the fastest {when} (a part of the network takes {times})"


def _read(data: bytes | None) -> dict[str, float]:
    """Seconds by engine; empty if there are none, or they are damaged."""
    with contextlib.suppress(ValueError):
        found = json.loads(data or b"")
        if isinstance(found, dict) and all(isinstance(value, float) for value in found.values()):
            return found
    return {}


def measured(how: dict[str, Any], names: list[str]) -> dict[str, float]:
    """Median seconds of each engine for an image of `SIDE` pixels; of those alone that can run the network."""
    side = -(-SIDE // how["multiple"]) * how["multiple"]
    image = torch.rand(1, how["channels"], side, side).to(how["device"])
    seconds = {}
    for name in names:
        try:
            run = build(name, **{**how, "report": lambda line: None})
            run(image), run(image)  # the second compiles for this shape
        except UserError as error:
            how["report"](str(error))
            continue
        times: list[float] = []
        while sum(times) < SECONDS or len(times) < 3:
            begin = time.perf_counter()
            run(image).sum().item()  # waits for the device
            times.append(time.perf_counter() - begin)
        seconds[name] = statistics.median(times)
    return seconds


def part_of(network: nn.Module) -> nn.Module:
    """A network that takes a fraction of the time, in about the same proportion: of a HAT two HABs and an OCAB.

    Enlarging by convolutions and pixel shuffles is left out, which would be most of it. Other networks are taken whole.
    """
    if not isinstance(network, HAT):
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
