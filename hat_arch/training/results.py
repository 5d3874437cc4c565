"""What ``basicsr test`` has measured: a table on the terminal, and the same as results.md and results.json."""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any

import torch

from ..config.reading import Options
from ..utils.files import write_file
from ..utils.machine import cpu_name
from ..utils.text_tables import aligned
from .checkpoints import versions
from .measuring import Scores, baseline
from .run_folder import folder


def write_results(opt: Options, measured: dict[str, Scores]) -> None:
    """Prints the table of a test, and writes results.md and results.json into its folder.

    Args:
        opt: the pipeline's options; ``published`` has the numbers to compare with.
        measured: what was found on each data set.
    """
    found = results(opt, measured)
    header, lines = table(found)
    title = f"{opt['name']}: {found['weights'] or 'untrained'}"
    units = f"{' / '.join(found['metrics'])}; PSNR in dB" if found["metrics"] else "not measured: no ground truth"
    print(f"\n{title}\n{aligned(header, lines)}\n{units}")
    text = f"# {title}\n\n{aligned(header, lines, 'pipe')}\n\n{units}. {found['device']}, {found['date']}.\n"
    write_file(folder(opt) / "results.md", text.encode())
    write_file(folder(opt) / "results.json", f"{json.dumps(found, indent=1)}\n".encode())
    print(os.path.relpath(folder(opt) / "results.md"), "results.json", sep=", ")


def results(opt: Options, measured: dict[str, Scores]) -> dict[str, Any]:
    """Means over each data set, for JSON; None where a number is not known."""
    metrics = list((opt["val"] or {}).get("metrics") or ())
    published, scale = opt.get("published") or {}, opt.get("scale", 1)
    datasets = []
    for name, scores in measured.items():
        ours, plain = (
            {metric: value / scores.images for metric, value in sums.items()} for sums in (scores.ours, scores.baseline)
        )
        columns = {baseline(scale): plain, "ours": ours, "published": published.get(name, {})}
        by_metric = {metric: {column: values.get(metric) for column, values in columns.items()} for metric in metrics}
        seconds = scores.seconds / scores.images if scores.images else None
        datasets.append({"name": name, "images": scores.images, "seconds_per_image": seconds, "metrics": by_metric})
    return {
        "name": opt["name"],
        "network": opt["network_g"]["type"],
        "scale": opt.get("scale"),
        "weights": opt["path"].get("pretrain_network_g"),
        "metrics": metrics if any(scores.ours for scores in measured.values()) else [],
        "datasets": datasets,
        "device": torch.cuda.get_device_name() if opt["num_gpu"] else cpu_name(),
        "versions": versions(),
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
    }


def table(found: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and lines: data set, images, bicubic (or the input), ours, published, seconds per image.

    A column without any number is left out.
    """
    columns = (baseline(found["scale"] or 1), "ours", "published")
    rows = [
        (one, {column: [scores[column] for scores in one["metrics"].values()] for column in columns})
        for one in found["datasets"]
    ]
    shown = [column for column in columns if any(value is not None for _, row in rows for value in row[column])]
    lines = [
        [
            one["name"],
            f"{one['images']:,}",
            *(_cell(found["metrics"], row[column]) for column in shown),
            f"{one['seconds_per_image']:.3g}" if one["seconds_per_image"] is not None else "",
        ]
        for one, row in rows
    ]
    return ["data set", "images", *shown, "seconds per image"], lines


def _cell(metrics: list[str], values: list[float | None]) -> str:
    """Values of the metrics, PSNR with two digits and others with four, as the papers print them."""
    if all(value is None for value in values):
        return "–"
    digits = [2 if metric.startswith("psnr") else 4 for metric in metrics]
    return " / ".join("–" if value is None else f"{value:.{n}f}" for value, n in zip(values, digits))
