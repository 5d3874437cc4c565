"""Parameters and multi-adds of the papers' networks and ablations, beside what the papers print.

The counting rule is that of ``complexity/counting_rule`` in ``tables.yml``: convolutions, linear layers and both
products of attention; biases, norms and softmax are not counted. Networks run on torch's ``meta`` device, on shapes
alone, under torch's own counter.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from ..archs import window_attention
from ..archs.layers import pad_to_multiple
from ..compat.registration import build
from ..config import read_network
from ..utils.errors import UserError, in_one_line
from ..utils.text_tables import Style, aligned, as_csv
from .networks import HAT, NETWORKS, STUDIES, Options, at_scale, scale_of
from .published import look_up

SIZE = 64
"""Side of the LR image for which the papers print multi-adds."""

PRINTED = {
    ("SwinIR", 4): "complexity/printed/SwinIR",
    ("HAT-S", 4): "complexity/printed/HAT-S",
    ("HAT", 4): "complexity/printed/HAT",
    ("window 8", 4): "ablations/window_size/w8",
    ("window 16", 4): "ablations/window_size/w16",
}
FOOTNOTE = (
    "The counting rule (convolutions, linear layers, both products of attention) gives to 0.1 G what is printed for "
    "windows of 8 and 16 without CAB and OCAB. For HAT and HAT-S the official README prints 102.4 and 54.9 G where the "
    "rule gives 103.88 and 54.62. One is lower and one higher, so that no kind of operation that was left out, or "
    "counted too, explains both; how the authors counted is not published."
)


@dataclass(frozen=True)
class Cost:
    """What a network takes."""

    parameters: int
    multi_adds: int
    """For one image; half of its floating-point operations."""


@dataclass(frozen=True)
class NetworkCost:
    """A network at a scale. Printed numbers are the papers', in millions and 10⁹; None where none is verified."""

    group: str
    name: str
    scale: int
    cost: Cost | None
    """None if the network does not exist at this scale."""
    printed_parameters: float | None
    printed_multi_adds: float | None


@contextlib.contextmanager
def heads_as_defined() -> Iterator[None]:
    """Attention heads of their true width: the zeros that fill them up for fused kernels are no work of the network."""
    multiple = window_attention.HEAD_DIM_MULTIPLE
    window_attention.HEAD_DIM_MULTIPLE = 1
    try:
        yield
    finally:
        window_attention.HEAD_DIM_MULTIPLE = multiple


def count(options: Options, size: int = SIZE, scale: int | None = None) -> Cost:
    """Parameters and multi-adds of the network of a ``network_g`` section for an LR image of ``size`` × ``size``.

    Raises:
        ValueError: the network does not enlarge by ``scale``; by default, that of its options.
    """
    return _count(json.dumps(options, sort_keys=True), size, scale or scale_of(options))


@cache
def _count(options_json: str, size: int, scale: int) -> Cost:
    options: Options = json.loads(options_json)
    with heads_as_defined():
        net = build(options).eval().to("meta")
        channels = int(options.get("in_chans") or options.get("num_in_ch") or 3)
        image = pad_to_multiple(torch.empty(1, channels, size, size, device="meta"), options.get("window_size", 1))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            sr = net(image)
    if sr.shape[-1] != image.shape[-1] * scale:
        raise ValueError(f"{options['type']} does not enlarge by {scale}")
    return Cost(sum(p.numel() for p in net.parameters()), counter.get_total_flops() // 2)


def own(spec: str, size: int = SIZE) -> NetworkCost:
    """Counts the network of an option file, ``[LABEL=]FILE``, at its scale.

    Raises:
        UserError: the file names no network, or one that fails.
    """
    label, _, file = spec.rpartition("=")
    options, scale = read_network(Path(file))
    try:
        cost = count(options, size, scale)
    except Exception as error:  # a network that is not ours may raise anything
        raise UserError(f"--network {spec}: {options['type']} fails at {size}×{size}: {in_one_line(error)}") from error
    return NetworkCost("Your own", label or Path(file).stem, scale, cost, None, None)


def entries(names: Iterable[str]) -> Iterator[tuple[str, str, Options]]:
    """Group, label and options at ×4 of each network and study named: keys of `NETWORKS` and `STUDIES`."""
    for name in names:
        if name in NETWORKS:
            yield "Networks", name, NETWORKS[name]
        else:
            study = STUDIES[name]
            yield from ((study.title, label, {**HAT, **changes}) for label, changes in study.variants.items())


def costs(names: Iterable[str], scales: Iterable[int], size: int = SIZE) -> list[NetworkCost]:
    """Counts networks and studies at each scale; printed multi-adds go with 64 × 64 alone."""
    found = []
    for group, name, options in tqdm([*entries(names)], leave=False, disable=None):
        for scale in scales:
            try:
                cost = count(at_scale(options, scale), size)
            except ValueError:
                cost = None
            printed = look_up(PRINTED.get((name, scale), "")) or {}
            others = look_up(f"complexity/other_nets_params_M_x{scale}/values/{name}")
            parameters = printed.get("params_M", others)
            multi_adds = printed.get("multi_adds_G") if size == SIZE else None
            found.append(NetworkCost(group, name, scale, cost, parameters, multi_adds))
    return found


def tables(found: Sequence[NetworkCost], style: Style) -> Iterator[tuple[str, str]]:
    """Each group and its table, parameters in millions and multi-adds in 10⁹."""

    def cells(value: float, printed: float | None) -> tuple[str, str, str]:
        return f"{value:.2f}", *(("", "") if printed is None else (f"{printed:.1f}", f"{value - printed:+.2f}"))

    header = ["", "scale", "params", "printed", "diff.", "multi-adds", "printed", "diff."]
    lines: dict[str, list[list[str]]] = {}
    for one in found:
        line = [one.name, f"×{one.scale}"]
        if one.cost is not None:
            line += cells(one.cost.parameters / 1e6, one.printed_parameters)
            line += cells(one.cost.multi_adds / 1e9, one.printed_multi_adds)
        lines.setdefault(one.group, []).append(line)
    for group in lines:
        yield group, aligned(header, lines[group], style)


def footnotes(found: Sequence[NetworkCost]) -> list[str]:
    """What a reader of the table has to know."""
    notes = ["Parameters in millions, multi-adds in 10⁹ (G). Difference: ours minus printed; up to 0.05 is rounding."]
    if any(one.printed_multi_adds and one.name in ("HAT", "HAT-S") for one in found):
        notes.append(FOOTNOTE)
    if absent := [f"{one.name} ×{one.scale}" for one in found if one.cost is None]:
        notes.append(f"BasicSR's implementation does not make: {', '.join(absent)}.")
    return notes


def markdown(found: Sequence[NetworkCost], size: int, command: str) -> str:
    """The tables with their footnotes, and the command that made them."""
    parts = [f"# Parameters and multi-adds for an LR image of {size}×{size}", f"Made by `{command}`."]
    for group, table in tables(found, "pipe"):
        parts += [f"## {group}", table]
    return "\n\n".join([*parts, *footnotes(found)]) + "\n"


def csv_lines(found: Sequence[NetworkCost]) -> str:
    """One line for each network and scale, exact counts."""
    header = ["group", "name", "scale", "parameters", "multi_adds", "printed_parameters_M", "printed_multi_adds_G"]
    lines = []
    for one in found:
        exact = (None, None) if one.cost is None else (one.cost.parameters, one.cost.multi_adds)
        lines.append([one.group, one.name, one.scale, *exact, one.printed_parameters, one.printed_multi_adds])
    return as_csv(header, lines)
