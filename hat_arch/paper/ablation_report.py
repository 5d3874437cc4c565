"""What an ablation has come to: a table beside the papers' verified numbers, and curves."""

from __future__ import annotations

import statistics
from pathlib import Path

from filelock import FileLock
from matplotlib.figure import Figure

from ..compat.registration import build
from ..data.images import DataError
from ..training.report import save, scalars
from ..utils.files import write_file
from ..utils.text_tables import aligned, as_csv
from .ablation import Plan, option_files
from .tables import TABLES, Scores
from .trials import Run, Trial

METRICS = ("psnr", "ssim")
Curves = dict[str, dict[str, dict[int, float]]]
"""Data set → metric → iteration → value."""


def paper_scores(study: str) -> dict[str, Scores]:
    """Variant → the papers' verified numbers at ×4: of the table's row whose weights the variant's last run makes."""
    table, scores = TABLES[study], {}
    for variant, runs in option_files(study).items():
        row = next(row for row in table.rows if runs[-1] in row.runs.get(4, ()))
        if found := table.paper(row, 4):
            scores[variant] = found
    return scores


def curves(run: Run) -> Curves:
    """What the validations of a finished run measured; empty if it is not finished."""
    found: Curves = {}
    for tag, points in scalars(run.folder / "tb_logger" / run.name).items() if run.finished else ():
        kind, _, rest = tag.partition("/")
        dataset, _, metric = rest.rpartition("/")
        if kind == "metrics" and metric in METRICS:
            found.setdefault(dataset, {})[metric] = points
    return found


def at_end(measured: Curves) -> Scores:
    """What the last validation measured."""
    return {dataset: {m: points[max(points)] for m, points in one.items()} for dataset, one in measured.items()}


def require_logs(plan: Plan) -> None:
    """Raises `DataError` unless all that is finished can be reported."""
    for run in (trial.result for trial in plan.trials):
        if run.finished and not curves(run):
            log = run.folder / "tb_logger" / run.name
            remedy = f"put it back, or delete {run.experiment} to train it again"
            raise DataError(f"{log}: is gone, and with it the results, but for {run.experiment}/summary.md; {remedy}")


class Results:
    """What the finished trials of a plan measured."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.curves: dict[Trial, Curves] = {trial: curves(trial.result) for trial in plan.trials}
        self.ends: dict[Trial, Scores] = {trial: at_end(measured) for trial, measured in self.curves.items()}
        self.datasets = list(dict.fromkeys(dataset for scores in self.ends.values() for dataset in scores))
        self.parameters = {
            variant: sum(p.numel() for p in build(options).parameters()) for variant, options in plan.networks.items()
        }

    def values(self, variant: str, dataset: str, metric: str) -> list[float]:
        """A metric at the end, of each seed."""
        of_variant = [scores for trial, scores in self.ends.items() if trial.variant == variant]
        return [scores[dataset][metric] for scores in of_variant if metric in scores.get(dataset, {})]


def write_report(plan: Plan, failed: dict[str, str]) -> None:
    """Writes ``table.md``, ``table.csv``, ``runs.csv`` and ``curves.png`` to the plan's folder, from what is finished.

    ``failed`` says for some trials what went wrong.
    """
    results = Results(plan)
    parts = [f"# Ablation: {plan.title}", plan.note, _table(results), *_notes(results, failed)]
    runs = [
        [trial.variant, trial.seed, dataset, *(f"{one[metric]:.6f}" for metric in METRICS)]
        for trial, scores in results.ends.items()
        for dataset, one in scores.items()
    ]
    with FileLock(plan.out / ".lock"):  # two commands may report to the same folder
        write_file(plan.out / "table.md", ("\n\n".join(parts) + "\n").encode())
        write_file(plan.out / "table.csv", _means(results).encode())
        write_file(plan.out / "runs.csv", as_csv(["variant", "seed", "data set", *METRICS], runs).encode())
        draw(results, plan.out / "curves.png")


def _table(results: Results) -> str:
    """Markdown: ours as mean ± standard deviation over the seeds, and the papers' in columns of their own."""
    paper = paper_scores(results.plan.study)
    columns = list(dict.fromkeys(name for scores in paper.values() for name in scores))
    header = ["variant", "parameters", "seeds", *results.datasets, *(f"paper: {name}" for name in columns)]
    rows = []
    for variant in results.plan.networks:
        seeds = sum(bool(scores) for trial, scores in results.ends.items() if trial.variant == variant)
        row = [variant, f"{results.parameters[variant]:,}", str(seeds)]
        for dataset in results.datasets:
            psnr, ssim = (results.values(variant, dataset, metric) for metric in METRICS)
            cells = (_mean_and_deviation(psnr, 2), _mean_and_deviation(ssim, 4))
            row.append(" / ".join(" ± ".join(filter(None, cell)) for cell in cells if any(cell)))
        for name in columns:
            scores = paper.get(variant, {}).get(name)
            row.append(f"{scores['psnr']:.2f} / {scores['ssim']:.4f}" if scores else "")
        rows.append(row)
    return aligned(header, rows, "pipe")


def _mean_and_deviation(values: list[float], digits: int) -> tuple[str, str]:
    """Mean and sample standard deviation; empty where there are too few values."""
    mean = f"{statistics.fmean(values):.{digits}f}" if values else ""
    return mean, f"{statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""


def _notes(results: Results, failed: dict[str, str]) -> list[str]:
    """What to know when reading the table: paragraphs."""
    plan = results.plan
    notes = ["PSNR in dB / SSIM, on Y. Ours: mean ± sample standard deviation over the seeds."]
    notes += TABLES[plan.study].notes
    for dataset in results.datasets:
        values = [found for variant in plan.networks if (found := results.values(variant, dataset, "psnr"))]
        if len(values) > 1 and all(len(one) > 1 for one in values):
            means = [statistics.fmean(one) for one in values]
            notes.append(
                f"{dataset}: the variants' means differ by {max(means) - min(means):.2f} dB at most; the seeds of one "
                f"variant have a standard deviation of up to {max(map(statistics.stdev, values)):.2f} dB. Differences "
                "below that are no evidence."
            )
    missing = [str(trial) for trial in plan.trials if not trial.result.finished and str(trial) not in failed]
    notes += [f"Not finished: {'; '.join(missing)}."] if missing else []
    notes += [f"Failed: {trial}: {why}." for trial, why in failed.items()]
    return [*notes, "![PSNR over the iterations, and at the end](curves.png)"]


def _means(results: Results) -> str:
    """CSV: a line for each variant and data set, of ours and of the papers'."""
    lines: list[list[object]] = []
    paper = paper_scores(results.plan.study)
    for variant, parameters in results.parameters.items():
        for dataset in results.datasets:
            psnr, ssim = (results.values(variant, dataset, metric) for metric in METRICS)
            scores = (*_mean_and_deviation(psnr, 6), *_mean_and_deviation(ssim, 6))
            lines.append([variant, "ours", dataset, parameters, len(psnr), *scores])
        for dataset, printed in paper.get(variant, {}).items():
            lines.append([variant, "paper", dataset, None, None, printed["psnr"], None, printed["ssim"], None])
    names = ["variant", "source", "data set", "parameters", "seeds", "psnr", "psnr std", "ssim", "ssim std"]
    return as_csv(names, lines)


def draw(results: Results, file: Path) -> None:
    """PSNR on Urban100, or the first data set: over the iterations (mean and range of the seeds), and at the end.

    A curve is that of the last stage, and begins where the stages before it ended. Nothing is drawn if nothing is
    finished.
    """
    plan = results.plan
    if not results.datasets:
        return
    dataset = "Urban100" if "Urban100" in results.datasets else results.datasets[0]
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    over, end = figure.subplots(1, 2, width_ratios=(3, 2))
    for n, variant in enumerate(plan.networks):
        trials = [trial for trial, scores in results.ends.items() if trial.variant == variant and dataset in scores]
        lines = [results.curves[trial][dataset]["psnr"] for trial in trials]
        steps = sorted(set.intersection(*map(set, lines))) if lines else []
        if not steps:
            continue
        values = [[line[step] for line in lines] for step in steps]
        places = [trials[0].before + step for step in steps]
        (drawn,) = over.plot(places, [statistics.fmean(v) for v in values], marker=".", label=variant)
        over.fill_between(places, [min(v) for v in values], [max(v) for v in values], alpha=0.15, linewidth=0)
        scores = results.values(variant, dataset, "psnr")
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
