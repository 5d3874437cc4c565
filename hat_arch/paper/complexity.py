"""Parameters and multi-adds of the papers' networks and ablations, beside what the papers print.

The counting rule is that of ``complexity/counting_rule`` in ``tables.yml``: convolutions, linear layers and both
products of attention; biases, norms and softmax are not counted. Networks run on torch's ``meta`` device, on shapes
alone, under torch's own counter.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from ..archs import window_attention
from ..archs.layers import pad_to_multiple
from ..compat.registration import build
from .facts import look_up
from .networks import HAT, NETWORKS, STUDIES, Options, at_scale, scale_of

SCALES = (2, 3, 4)
SIZE = 64
"""Side of the LR image for which the papers print multi-adds."""

PRINTED = {
    ("SwinIR", 4): "complexity/printed/SwinIR",
    ("HAT-S", 4): "complexity/printed/HAT-S",
    ("HAT", 4): "complexity/printed/HAT",
    ("window 8", 4): "ablations/window_size/w8",
    ("window 16", 4): "ablations/window_size/w16",
}
PRINTED_PARAMETERS = {
    ("EDSR", 4): "complexity/other_nets_params_M_x4/values/EDSR",
    ("RCAN", 4): "complexity/other_nets_params_M_x4/values/RCAN",
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
class Row:
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


def count(options: Options, size: int = SIZE) -> Cost:
    """Parameters and multi-adds of the network of a ``network_g`` section for an LR image of ``size`` × ``size``.

    Raises:
        ValueError: the network does not enlarge by the scale of its options.
    """
    return _count(json.dumps(options, sort_keys=True), size)


@cache
def _count(options_json: str, size: int) -> Cost:
    options: Options = json.loads(options_json)
    scale = scale_of(options)
    with heads_as_defined():
        net = build(options).eval().to("meta")
        image = pad_to_multiple(torch.empty(1, 3, size, size, device="meta"), options.get("window_size", 1))
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            sr = net(image)
    if sr.shape[-1] != image.shape[-1] * scale:
        raise ValueError(f"{options['type']} does not enlarge by {scale}")
    return Cost(sum(p.numel() for p in net.parameters()), counter.get_total_flops() // 2)


def entries(names: Iterable[str]) -> Iterator[tuple[str, str, Options]]:
    """Group, label and options at ×4 of each network and study named: keys of `NETWORKS` and `STUDIES`."""
    for name in names:
        if name in NETWORKS:
            yield "Networks", name, NETWORKS[name]
        else:
            study = STUDIES[name]
            yield from ((study.title, label, {**HAT, **changes}) for label, changes in study.variants.items())


def rows(
    names: Iterable[str] = (*NETWORKS, *STUDIES),
    scales: Iterable[int] = SCALES,
    size: int = SIZE,
    progress: Callable[[str], object] = lambda name: None,
) -> list[Row]:
    """Counts networks and studies at each scale; printed numbers go with 64 × 64 alone."""
    table = []
    for group, name, options in entries(names):
        progress(name)
        for scale in scales:
            try:
                cost = count(at_scale(options, scale), size)
            except ValueError:
                cost = None
            printed = look_up(PRINTED.get((name, scale), "")) or {}
            parameters = printed.get("params_M", look_up(PRINTED_PARAMETERS.get((name, scale), "")))
            multi_adds = printed.get("multi_adds_G") if size == SIZE else None
            table.append(Row(group, name, scale, cost, parameters, multi_adds))
    return table


HEADER = ("", "scale", "params", "printed", "diff.", "multi-adds", "printed", "diff.")


def cells(row: Row) -> list[str]:
    """A row as text: parameters in millions and multi-adds in 10⁹."""
    if row.cost is None:
        return [row.name, f"×{row.scale}", *[""] * 6]
    texts = []
    for value, printed in (
        (row.cost.parameters / 1e6, row.printed_parameters),
        (row.cost.multi_adds / 1e9, row.printed_multi_adds),
    ):
        texts += [f"{value:.2f}", *(("", "") if printed is None else (f"{printed:.1f}", f"{value - printed:+.2f}"))]
    return [row.name, f"×{row.scale}", *texts]


def footnotes(table: list[Row]) -> list[str]:
    """What a reader of the table has to know."""
    notes = ["Parameters in millions, multi-adds in 10⁹ (G). Difference: ours minus printed; up to 0.05 is rounding."]
    if any(row.printed_multi_adds and row.name in ("HAT", "HAT-S") for row in table):
        notes.append(FOOTNOTE)
    absent = [f"{row.name} ×{row.scale}" for row in table if row.cost is None]
    if absent:
        notes.append(f"BasicSR's implementation does not make: {', '.join(absent)}.")
    return notes


def markdown(table: list[Row], size: int) -> str:
    """The table, a section for each group, with its footnotes."""
    lines = [f"# Parameters and multi-adds for an LR image of {size}×{size}", ""]
    for group in dict.fromkeys(row.group for row in table):
        lines += [f"## {group}", "", _markdown_row(HEADER), _markdown_row(["---", *["---:"] * (len(HEADER) - 1)])]
        lines += [_markdown_row(cells(row)) for row in table if row.group == group]
        lines.append("")
    return "\n".join([*lines, *(f"{note}\n" for note in footnotes(table))])


def _markdown_row(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def as_csv(table: list[Row]) -> str:
    """One line for each row, exact counts."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        ["group", "name", "scale", "parameters", "multi_adds", "printed_parameters_M", "printed_multi_adds_G"]
    )
    for row in table:
        exact = ("", "") if row.cost is None else (row.cost.parameters, row.cost.multi_adds)
        writer.writerow([row.group, row.name, row.scale, *exact, row.printed_parameters, row.printed_multi_adds])
    return text.getvalue()


def as_json(table: list[Row], size: int, command: str) -> str:
    """Rows, footnotes, the counting rule and the command that made them."""
    content: dict[str, Any] = {
        "size": size,
        "counting_rule": look_up("complexity/counting_rule/rule"),
        "rows": [asdict(row) for row in table],
        "footnotes": footnotes(table),
        "command": command,
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
