"""Which engine is the fastest here: measured once on a part of the network, and remembered."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import Any

import torch

from ...utils import extras
from ...utils.errors import UserError
from ..exported_file import ExportedFile
from ..graphs import ExportError
from ..measuring import SIDE, least_seconds, part_of
from . import build, cache
from .base import Engine, EngineError, Unfit


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
    facts = [*cache.of_machine(), str(how["device"]), str(dtype)]
    kept, file = cache.Cache(report), f"{cache.key(cache.structure(part), *facts, *map(cache.versions, names))}.json"
    seconds, when = kept.seconds(file), "when it was measured"
    if not seconds:
        report(f"engine: measuring {', '.join(names)}, once for this machine and network")
        (seconds, lasts), when = measured({**how, "network": part, "dtype": dtype}, names), "here"
        if lasts:
            kept.keep_seconds(file, seconds)
    if not seconds:
        raise EngineError(f"engine: none of {', '.join(names)} runs this network")
    by_time = sorted(seconds, key=lambda name: seconds[name])
    times = ", ".join(f"{name} {1000 * seconds[name]:.0f} ms" for name in by_time)
    return by_time[0], f"engine: {by_time[0]}, the fastest {when} (a part of the network takes {times})"


def measured(how: dict[str, Any], names: list[str]) -> tuple[dict[str, float], bool]:
    """Least seconds of each engine that can run the network, in turn, for an image of `SIDE` pixels.

    And whether the others never can: what failed for another reason may run at the next start.
    """
    side = getattr(how["network"], "largest_tile", None) or -(-SIDE // how["multiple"]) * how["multiple"]
    image = torch.rand(1, how["channels"], side, side).to(how["device"])
    engines: dict[str, Engine] = {}
    lasts = True
    for name in names:
        try:
            engine = build(name, **{**how, "report": lambda line: None})
            engine(image), engine(image)  # the second compiles for this shape
            engines[name] = engine
        except UserError as error:
            how["report"](str(error))
            lasts = lasts and isinstance(error, (Unfit, ExportError))

    def run(engine: Engine) -> float:
        return engine(image).sum().item()  # waits for the device

    return least_seconds({name: partial(run, engine) for name, engine in engines.items()}), lasts
