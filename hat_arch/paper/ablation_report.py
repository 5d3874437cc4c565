"""What an ablation has come to: a table beside the papers' verified numbers, and curves."""

from __future__ import annotations

import csv
import io
import statistics
from pathlib import Path
from typing import Any

from ..compat.registration import build
from ..data.benchmark_sets import BENCHMARK_SETS
from ..data.images import DataError
from ..training.checkpoints import write_bytes
from ..training.report import plt, save, scalars
from .ablation import Plan
from .published import look_up
from .trials import Run

METRICS = ("psnr", "ssim")
Scores = dict[str, dict[str, float]]
"""Data set → metric → value; PSNR in dB."""

BENCHMARKS = tuple(one.name for one in BENCHMARK_SETS)
_PAPER: dict[str, dict[str, str]] = {
    "window": {f"window {m}": f"ablations/window_size/w{m}/psnr_ssim" for m in (8, 16)},
    "ocab_cab": {
        variant: f"ablations/ocab_cab/{key}"
        for variant, key in {"neither": "baseline", "OCAB": "ocab", "CAB": "cab", "both": "both"}.items()
    },
    "pretraining": {
        "none": "main_table/x4/HAT",
        "same task": "ablations/pretraining_strategy/same_task_finetune",
        "multi-related-task": "ablations/pretraining_strategy/multi_related_task_finetune",
    },
}
"""Study → variant → place in tables.yml of its PSNR and SSIM: on Urban100, or on each of `BENCHMARKS`."""

STATEMENTS = {
    "overlap": "The paper's text: 0.5 is best; 0 makes OCAB a standard Transformer block; 0.25 and 0.75 give no clear "
    "gain, or a drop.",
    "cab_weight": "The paper's text: 0.01 is best; 0 is without CAB.",
    "cab_size": "The papers' text: a smaller β is better and larger; 6 already helps much; 3 is the default.",
    "channel_attention": "The paper's text: channel attention gains 0.05 dB on Urban100.",
}
"""What the papers say of studies none of whose numbers could be verified (tables.yml, ``source``)."""


def paper_scores(study: str) -> dict[str, Scores]:
    """Variant → the papers' numbers at ×4, where they are verified."""
    scores = {}
    for variant, path in _PAPER.get(study, {}).items():
        cells = look_up(path)
        if cells is not None:
            named = zip(BENCHMARKS, cells) if isinstance(cells[0], list) else [("Urban100", cells)]
            scores[variant] = {name: dict(zip(METRICS, pair)) for name, pair in named}
    return scores


def curves(run: Run) -> dict[str, dict[str, dict[int, float]]]:
    """Data set → metric → iteration → value, of a run's validations."""
    found: dict[str, dict[str, dict[int, float]]] = {}
    for tag, points in scalars(run.folder / "tb_logger" / run.name).items():
        kind, _, rest = tag.partition("/")
        dataset, _, metric = rest.rpartition("/")
        if kind == "metrics" and metric in METRICS:
            found.setdefault(dataset, {})[metric] = points
    return found


def at_end(run: Run) -> Scores:
    """What a finished run's last validation measured; empty if it is not finished."""
    if not run.finished:
        return {}
    return {
        dataset: {name: points[max(points)] for name, points in metrics.items()}
        for dataset, metrics in curves(run).items()
    }


def require_logs(plan: Plan) -> None:
    """Raises `DataError` unless all that is finished can be reported."""
    for trial in plan.trials:
        run = trial.result
        if run.finished and not at_end(run):
            log = run.folder / "tb_logger" / run.name
            remedy = f"put it back, or delete {run.experiment} to train it again"
            raise DataError(f"{log}: is gone, and with it the results, but for {run.experiment}/summary.md; {remedy}")


def write_report(plan: Plan, failed: dict[str, str]) -> None:
    """Writes ``table.md``, ``table.csv``, ``runs.csv`` and ``curves.png`` to the plan's folder, from what is finished.

    Args:
        plan: what was trained.
        failed: trial → what went wrong.
    """
    ours = [(trial.variant, trial.seed, at_end(trial.result)) for trial in plan.trials]
    text = "\n".join(
        [f"# Ablation: {plan.title}", "", plan.note, "", *_table(plan, ours), "", *_notes(plan, ours, failed), ""]
    )
    write_bytes(text.encode(), plan.out / "table.md")
    write_bytes(_csv(_aggregates(plan, ours)), plan.out / "table.csv")
    rows = [
        {"variant": variant, "seed": seed, "data set": dataset, **{name: f"{value:.6f}" for name, value in m.items()}}
        for variant, seed, scores in ours
        for dataset, m in scores.items()
    ]
    write_bytes(_csv(rows), plan.out / "runs.csv")
    draw(plan, plan.out / "curves.png")


Results = list[tuple[str, int, Scores]]


def _values(ours: Results, variant: str, dataset: str, metric: str) -> list[float]:
    return [s[dataset][metric] for name, _, s in ours if name == variant and metric in s.get(dataset, {})]


def _datasets(ours: Results) -> list[str]:
    return list(dict.fromkeys(dataset for _, _, scores in ours for dataset in scores))


def parameters(plan: Plan) -> dict[str, int]:
    """Variant → number of weights."""
    return {name: sum(p.numel() for p in build(options).parameters()) for name, options in plan.networks.items()}


def _table(plan: Plan, ours: Results) -> list[str]:
    """Markdown: ours as mean ± standard deviation over the seeds, and the papers' in columns of their own."""
    datasets, paper, sizes = _datasets(ours), paper_scores(plan.study), parameters(plan)
    columns = list(dict.fromkeys(name for scores in paper.values() for name in scores))
    header = ["variant", "parameters", "seeds", *datasets, *(f"paper: {name}" for name in columns)]
    lines = [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}"]
    for variant in plan.networks:
        seeds = sum(bool(scores) for name, _, scores in ours if name == variant)
        cells = [variant, f"{sizes[variant]:,}", str(seeds)]
        for dataset in datasets:
            psnr, ssim = (_values(ours, variant, dataset, metric) for metric in METRICS)
            cells.append(f"{_spread(psnr, 2)} / {_spread(ssim, 4)}" if psnr and ssim else "")
        for name in columns:
            scores = paper.get(variant, {}).get(name)
            cells.append(f"{scores['psnr']:.2f} / {scores['ssim']:.4f}" if scores else "")
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _spread(values: list[float], digits: int) -> str:
    mean = f"{statistics.fmean(values):.{digits}f}"
    return f"{mean} ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else mean


def _notes(plan: Plan, ours: Results, failed: dict[str, str]) -> list[str]:
    """What to know when reading the table."""
    lines = ["PSNR in dB / SSIM, on Y. Ours: mean ± sample standard deviation over the seeds."]
    if plan.study in STATEMENTS:
        lines += ["", f"None of this study's numbers could be verified. {STATEMENTS[plan.study]}"]
    for dataset in _datasets(ours):
        values = [found for name in plan.networks if (found := _values(ours, name, dataset, "psnr"))]
        if len(values) > 1 and all(len(one) > 1 for one in values):
            means = [statistics.fmean(one) for one in values]
            noise = max(map(statistics.stdev, values))
            lines += [
                "",
                f"{dataset}: the variants' means differ by {max(means) - min(means):.2f} dB at most; the seeds of one "
                f"variant have a standard deviation of up to {noise:.2f} dB.",
            ]
    missing = [str(trial) for trial in plan.trials if not trial.result.finished and str(trial) not in failed]
    lines += ["", f"Not finished: {'; '.join(missing)}."] if missing else []
    lines += [line for trial, why in failed.items() for line in ("", f"Failed: {trial}: {why}.")]
    return [*lines, "", "![PSNR over the iterations, and at the end](curves.png)"]


def _aggregates(plan: Plan, ours: Results) -> list[dict[str, Any]]:
    """A row for each variant and data set, of ours and of the papers'."""
    rows, sizes = [], parameters(plan)
    for variant in plan.networks:
        for dataset in _datasets(ours):
            row: dict[str, Any] = {"variant": variant, "source": "ours", "data set": dataset}
            row["parameters"] = sizes[variant]
            for metric in METRICS:
                values = _values(ours, variant, dataset, metric)
                row["seeds"] = len(values)
                row[metric] = f"{statistics.fmean(values):.6f}" if values else ""
                row[f"{metric} std"] = f"{statistics.stdev(values):.6f}" if len(values) > 1 else ""
            rows.append(row)
        for dataset, scores in paper_scores(plan.study).get(variant, {}).items():
            rows.append({"variant": variant, "source": "paper", "data set": dataset, **scores})
    return rows


def _csv(rows: list[dict[str, Any]]) -> bytes:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def draw(plan: Plan, file: Path) -> bool:
    """PSNR on the first data set: over the iterations (mean and range of the seeds), and at the end (each seed).

    A curve is that of the last stage, and begins where the stages before it ended.

    Returns:
        Whether there was anything to draw.
    """
    found = [(trial.variant, curves(trial.result)) for trial in plan.trials if trial.result.finished]
    datasets = [dataset for _, one in found for dataset in one]
    if not datasets:
        return False
    dataset = "Urban100" if "Urban100" in datasets else datasets[0]
    figure, (over, end) = plt.subplots(1, 2, figsize=(10, 3.8), width_ratios=(3, 2), layout="constrained")
    for n, variant in enumerate(plan.networks):
        lines = [one[dataset]["psnr"] for name, one in found if name == variant and dataset in one]
        before = next(trial.before for trial in plan.trials if trial.variant == variant)
        steps = sorted(set.intersection(*map(set, lines))) if lines else []
        if not steps:
            continue
        values = [[line[step] for line in lines] for step in steps]
        places = [before + step for step in steps]
        (drawn,) = over.plot(places, [statistics.fmean(v) for v in values], marker=".", label=variant)
        over.fill_between(places, [min(v) for v in values], [max(v) for v in values], alpha=0.15, linewidth=0)
        scores = [line[max(line)] for line in lines]
        end.plot(scores, [n] * len(scores), "o", color=drawn.get_color(), alpha=0.7)
        end.plot(statistics.fmean(scores), n, "|", color="black", markersize=16)
    end.set_yticks(range(len(plan.networks)), [*plan.networks])
    end.set_ylim(len(plan.networks) - 0.5, -0.5)
    iterations = "iteration, earlier stages counted" if any(trial.before for trial in plan.trials) else "iteration"
    over.set(xlabel=iterations, ylabel="PSNR-Y (dB)", title="mean and range of the seeds")
    end.set(xlabel="PSNR-Y (dB)", title="at the end: seeds and mean")
    over.legend(fontsize=8)
    for ax in (over, end):
        ax.grid(alpha=0.3)
    figure.suptitle(f"{plan.title}: {dataset}{' (demonstration)' if plan.demo else ''}", fontsize=11)
    save(figure, file)
    return True
