"""Tables and a picture of what ``engines.py`` has measured, for docs/engines.md: ``python engines_page.py``."""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import common
from common import PEER, Result, show_size
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hat_arch.utils.errors import UserError
from hat_arch.utils.files import write_file

HERE = Path(__file__).resolve().parent
DOCS = HERE.parents[1] / "docs"
SPOT = re.compile(r"(<!-- measured -->\n).*?(<!-- /measured -->)", re.DOTALL)
NAMES = {
    PEER: "spandrel, PyTorch",
    "spandrel openvino": "spandrel, OpenVINO",
    "spandrel onnxruntime": "spandrel, ONNX Runtime",
    "torch": "ours, `torch`",
    "openvino": "ours, `openvino`",
    "onnxruntime": "ours, `onnxruntime`",
}
"""Candidate of ``engines.py`` → what a reader knows it by."""
COLOURS = ("#a9b4b2", "#c3cbc9", "#dbe1e0", common.COLOUR, "#7d5fc0", "#c98a1b")
Cell = Callable[[Result, str], str]


def page_part(results: Sequence[Result], picture: str) -> str:
    """Markdown: the picture and the tables of what was measured on one device, on what machine, and by what command."""
    machines = dict.fromkeys(common.describe(result["environment"]) for result in results)
    commands = dict.fromkeys(result["command"] for result in results)
    lines = [f"![how many times as fast as spandrel's network in PyTorch each engine is]({picture})", ""]
    for title, cell in (
        ("Milliseconds for an image, and in brackets how many times as fast as spandrel's network in PyTorch", speed),
        ("Most memory of one image beside the network, MiB", memory),
        ("Seconds until the first result, conversion included; in brackets at a second start", start),
    ):
        lines += [f"**{title}**", "", *table(results, cell), ""]
    lines += ["Measured on:", "", *(f"- {machine}." for machine in machines)]
    lines += ["", "```", "cd experiments/benchmarks", *commands, "python engines_page.py", "```", "", ""]
    return "\n".join(lines)


def table(results: Sequence[Result], cell: Cell) -> list[str]:
    """The lines of a Markdown table: a row for each result, a column for each candidate."""
    names = [name for name in NAMES if any(name in result["seconds"] for result in results)]
    rows = [["network", "input", "precision", *(NAMES[name] for name in names)], ["---"] * (3 + len(names))]
    for result in results:
        cells = [cell(result, name) if name in result["seconds"] else "" for name in names]
        rows.append([result["network"], show_size(result["size"]), result["precision"], *cells])
    return [f"| {' | '.join(row)} |" for row in rows]


def speed(result: Result, name: str) -> str:
    milliseconds = f"{1000 * result['seconds'][name]['median']:.0f}"
    return milliseconds if name == PEER else f"{milliseconds} ({times_as_fast(result, name):.2f})"


def times_as_fast(result: Result, name: str) -> float:
    return 1.0 if name == PEER else 1 / result["time_ratio"][name]["median"]


def memory(result: Result, name: str) -> str:
    return f"{result['memory']['extra_mib'][name]:.0f}"


def start(result: Result, name: str) -> str:
    seconds = result["start_seconds"][name]
    return f"{seconds['first']:.1f}" + (f" ({seconds['second']:.1f})" if "second" in seconds else "")


def draw(results: Sequence[Result]) -> Figure:
    """A bar for each candidate in each setting: how many times as fast as the peer."""
    colours = dict(zip(NAMES, COLOURS))
    figure = Figure((9, 1.2 + 0.24 * sum(len(result["seconds"]) + 1 for result in results)), layout="constrained")
    axes = figure.subplots()
    labels, places, place = [], [], 0
    for result in results:
        names = [name for name in NAMES if name in result["seconds"]]
        labels.append(f"{result['network']}, {show_size(result['size'])}, {result['precision']}")
        places.append(place + (len(names) - 1) / 2)
        for name in names:
            value = times_as_fast(result, name)
            axes.barh(place, value, color=colours[name])
            axes.text(value, place, f" {value:.2f}", va="center", fontsize=8)
            place += 1
        place += 1
    axes.set_yticks(places, labels)
    axes.set_ylim(place - 1.4, -0.6)
    axes.set_xlabel("times as fast as spandrel's network in PyTorch")
    axes.margins(x=0.08)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    there = [name for name in NAMES if any(name in result["seconds"] for result in results)]
    handles = [Patch(color=colours[name]) for name in there]
    words = [NAMES[name].replace("`", "") for name in there]
    figure.legend(handles, words, loc="outside upper left", ncols=3, frameon=False)
    return figure


def read(files: Sequence[Path]) -> list[Result]:
    """Results of ``engines.py``: small images before large ones.

    Raises:
        UserError: there are none, or a file is another.
    """
    results = []
    for file in files:
        result = json.loads(file.read_text(encoding="utf-8"))
        if result.get("suite") != "engines":
            raise UserError(f"{file}: is no result of engines.py")
        results.append(result)
    if not results:
        raise UserError(f"{HERE}: no engines_*.json; measure first: python engines.py")
    order = {name: place for place, name in enumerate(common.PRESETS)}
    return sorted(results, key=lambda one: (order[one["network"]], one["size"], one["precision"] != "fp32"))


def main() -> None:
    """Writes a picture for each device beside the page, and the tables into it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path, metavar="JSON", help="default: all engines_*.json here")
    parser.add_argument(
        "--page", type=Path, default=DOCS / "engines.md", metavar="FILE", help="default: docs/engines.md"
    )
    args = parser.parse_args()
    try:
        results = read(args.files or sorted(HERE.glob("engines_*.json")))
        text = args.page.read_text(encoding="utf-8")
        if not SPOT.search(text):
            raise UserError(f"{args.page}: has no place for them, <!-- measured --> to <!-- /measured -->")
        parts = "\n"
        for device in dict.fromkeys(result["environment"]["device"] for result in results):
            of_device = [result for result in results if result["environment"]["device"] == device]
            picture = args.page.with_name(f"{args.page.stem}_{device}.png")
            buffer = io.BytesIO()
            draw(of_device).savefig(buffer, dpi=130, format="png")
            write_file(picture, buffer.getbuffer())
            parts += page_part(of_device, picture.name)
        write_file(args.page, SPOT.sub(lambda spot: f"{spot[1]}{parts}{spot[2]}", text).encode())
        print(f"{args.page}: {len(results)} results")
    except (UserError, OSError) as error:
        sys.exit(f"engines_page.py: {error}")


if __name__ == "__main__":
    main()
