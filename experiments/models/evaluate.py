"""Measures a model of the package and writes the numbers into its card, which nobody does by hand.

    python experiments/models/evaluate.py hat-light-x4
    python experiments/models/evaluate.py hat-light-x4 --curve train_hat_light_x4 train_hat_light_x4_cosine

Runs ``basicsr test -opt test_hat_light_x4`` in the current folder (``datasets/`` as that file says), then replaces what
stands in the card between ``<!-- NAME -->`` and ``<!-- /NAME -->``, and the checksum at its head. ``--curve`` draws
PSNR on the held-out photographs over the iterations of runs that follow each other, from ``tb_logger/``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hat_arch.cli import main as basicsr
from hat_arch.utils.errors import UserError
from hat_arch.utils.files import sha256, write_file
from hat_arch.utils.text_tables import aligned
from hat_arch.weights import named
from hat_arch.weights.load import load

HERE = Path(__file__).parent
NAMES = {"psnr": "PSNR of Y", "ssim": "SSIM", "psnr_rgb": "PSNR of RGB", "niqe": "NIQE"}
DIGITS = {"psnr": 2, "ssim": 4, "psnr_rgb": 2, "niqe": 2}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code of ``basicsr test``."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", metavar="NAME", help="such as hat-light-x4")
    parser.add_argument("--curve", nargs="+", default=[], metavar="RUN", help="runs below tb_logger/, in their order")
    args = parser.parse_args(arguments)
    try:
        model = named.get(args.model)
        file = named.find(args.model)
        card = file.with_suffix(".md")
        if not model.inside or not card.is_file():
            raise UserError(f"{args.model}: has no card {card}")
        test = f"test_{args.model.replace('-', '_')}"
        measured = {}
        for name in filter(None, (model.mixes_with, model.name)):
            if code := basicsr(["test", "-opt", test, "--weights", name]):
                return code
            measured[name] = json.loads(Path("results", test, "results.json").read_text(encoding="utf-8"))
        texts = {"sha256": sha256(file), "facts": facts(file), "results": results(measured)}
        write_file(card, filled_in(card.read_text(encoding="utf-8"), texts).encode())
        print(card)
        if args.curve:
            print(draw_curve([Path("tb_logger", run) for run in args.curve], HERE / f"{args.model}.png"))
    except UserError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 2
    return 0


def facts(file: Path) -> str:
    """What a file of weights tells of itself."""
    network: Any = load(file).network
    count = sum(parameter.numel() for parameter in network.parameters())
    return f"{count:,} parameters, {file.stat().st_size:,} bytes."


def results(measured: dict[str, dict[str, Any]]) -> str:
    """The table of a card, from the ``results.json`` of tests by model: the card's own comes last.

    On each set it has bicubic, or the input where the size is kept, and the models.
    """
    *others, found = measured.values()
    beside = "bicubic" if found["scale"] > 1 else "input"
    lines = []
    for i, one in enumerate(found["datasets"]):
        sources = [(one, beside), *((other["datasets"][i], "ours") for other in others), (one, "ours")]
        lines.append([one["name"], str(one["images"]), *(_scores(*source) for source in sources)])
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    shown = " / ".join(NAMES[name] for name in found["datasets"][0]["metrics"])
    header = [shown, "images", beside, *list(measured)[:-1], "the model"]
    return f"{aligned(header, lines, 'pipe')}\n\n{found['date'][:10]}, {found['device']}, {versions}."


def _scores(dataset: dict[str, Any], column: str) -> str:
    return " / ".join(f"{scores[column]:.{DIGITS[name]}f}" for name, scores in dataset["metrics"].items())


def filled_in(card: str, texts: dict[str, str]) -> str:
    """A card with new texts: that of ``sha256`` at its head, the others between their markers.

    Raises:
        UserError: it lacks the place of one.
    """
    for name, text in texts.items():
        begin, end = ("sha256: ", "\n") if name == "sha256" else (f"<!-- {name} -->\n", f"\n<!-- /{name} -->")
        before, begins, rest = card.partition(begin)
        _, ends, after = rest.partition(end)
        if not (begins and ends):
            raise UserError(f"the card has no place for {name}: {begin.strip()} {end.strip()}".strip())
        card = f"{before}{begin}{text}{end}{after}"
    return card


def draw_curve(runs: Sequence[Path], file: Path) -> Path:
    """Draws PSNR over the iterations of runs that follow each other."""
    from matplotlib.figure import Figure

    from hat_arch.training.report import save, scalars

    figure = Figure(figsize=(6, 3.5), layout="constrained")
    ax, before = figure.subplots(), 0
    for run in runs:
        curves = scalars(run)
        tag = next((tag for tag in curves if re.fullmatch(r"metrics/.*/psnr", tag)), None)
        if tag is None:
            raise UserError(f"{run}: has no log of a validation's PSNR")
        ax.plot([before + step for step in curves[tag]], [*curves[tag].values()], marker=".", label=run.name)
        before += max(step for points in curves.values() for step in points)
    ax.set(xlabel="iteration", ylabel="PSNR of Y on held-out photographs")
    ax.legend()
    ax.grid(alpha=0.3)
    save(figure, file)
    return file


if __name__ == "__main__":
    sys.exit(main())
