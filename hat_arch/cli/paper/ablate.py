"""``basicsr paper ablate``: trains the variants of an ablation and compares them."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from .options import positive

if TYPE_CHECKING:
    from ...paper.ablation import Plan


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "ablate",
        help="train the variants of an ablation with the same data and seeds, and compare them",
        description="Trains all variants of a study and writes table.md, table.csv, runs.csv and curves.png, the "
        "papers' verified numbers beside ours. The demo takes less than half an hour on two CPU cores and makes its "
        "data itself; it shows how the study works and is no evidence. The full budget is the papers': DF2K, days on "
        "8 GPUs for each variant.",
    )
    parser.add_argument("study", metavar="NAME", help="the study; --list prints all", nargs="?")
    parser.add_argument("--list", action="store_true", help="print the studies and their variants, and end")
    parser.add_argument("--budget", choices=["demo", "full"], default="demo", help="default: demo")
    parser.add_argument("--resume", action="store_true", help="go on with runs that were begun")
    parser.add_argument("--seeds", type=positive, metavar="N", help="seeds of each variant; default: demo 3, full 1")
    parser.add_argument(
        "--iterations", type=positive, metavar="N", help="of a variant; at the full budget of each stage, for a trial"
    )
    parser.add_argument("--gpus", type=positive, metavar="N", help="full: start N processes a run, as of train")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default: experiments/ablations/NAME/demo (or /full)"
    )
    parser.set_defaults(run=run, after_stop="; the same command with --resume goes on from there")


def run(args: argparse.Namespace) -> int:
    from ...config import ConfigError
    from ...paper import ablation, ablation_report
    from ...utils.machine import cores

    if args.list:
        for study in ablation.NAMES:
            print(f"{study:<18} {ablation.title(study)}: {', '.join(ablation.option_files(study))}")
        return 0
    if args.study not in ablation.NAMES:
        what = f"no study '{args.study}'" if args.study else "NAME is missing"
        raise ConfigError(f"{what}; there are: {', '.join(ablation.NAMES)}")
    demo = args.budget == "demo"
    if args.gpus and demo:
        raise ConfigError("--gpus is for --budget full; the demo trains several variants at once instead")

    out = args.out or Path("experiments/ablations", args.study, args.budget)
    changes = {key: getattr(args, key) for key in ("seeds", "iterations") if getattr(args, key) is not None}
    plan = (ablation.plan_demo if demo else ablation.plan_full)(args.study, out, **changes)
    begun = [run for run in plan.runs if run.experiment.is_dir() and not run.finished]
    if begun and not args.resume:
        raise ConfigError(f"{begun[0].experiment}: was begun; go on with --resume, or delete it to begin anew")
    ablation_report.require_logs(plan)

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the runs stop with a checkpoint
    ready = sum(run.finished for run in plan.runs)
    finished = f", {ready} of them finished" if ready else ""
    print(f"{plan.title}: {len(plan.networks)} variants, {len(plan.runs)} runs{finished}")
    if demo:
        print("A demonstration of the harness; no evidence for the paper's ordering.", flush=True)
    at_once = min(cores(), len(plan.trials)) if demo else 1
    failed = _train(plan, at_once, out / "logs" if demo else None, ["--gpus", str(args.gpus)] if args.gpus else [])
    print(f"\n{(out / 'table.md').read_text(encoding='utf-8')}\n{out}/table.md, table.csv, runs.csv, curves.png")
    return 1 if failed else 0


def _train(plan: Plan, at_once: int, logs: Path | None, arguments: list[str]) -> dict[str, str]:
    """Trains what is not finished and reports after each trial; returns which trials failed, and why."""
    from tqdm import tqdm

    from ...paper import ablation_report, trials

    failed: dict[str, str] = {}
    (logs or plan.out).mkdir(parents=True, exist_ok=True)
    with closing(trials.train(plan.trials, at_once, logs, arguments)) as ended:
        for trial, problem in ended:
            if problem:
                failed[str(trial)] = problem
                tqdm.write(f"{trial}: failed: {problem}", file=sys.stderr)
            else:
                scores = ablation_report.at_end(ablation_report.curves(trial.result))
                tqdm.write(f"{trial}: " + "; ".join(f"{name} {one['psnr']:.2f} dB" for name, one in scores.items()))
            ablation_report.write_report(plan, failed)
    return failed
