"""``basicsr paper ablate``: trains the variants of an ablation and compares them."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from ... import config

if TYPE_CHECKING:
    from ...paper.ablation import Plan

AGAIN = "; the same command with --resume goes on from there"


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
    parser.add_argument("--seeds", type=_positive, metavar="N", help="seeds of each variant; default: demo 3, full 1")
    parser.add_argument(
        "--iterations", type=_positive, metavar="N", help="of a variant; at the full budget of each stage, for a trial"
    )
    parser.add_argument("--gpus", type=_positive, metavar="N", help="full: start N processes a run, as of train")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="default: experiments/ablations/NAME/demo (or /full)"
    )
    parser.set_defaults(run=run, after_stop=AGAIN)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number, at least 1")
    return int(text)


def train(argv: list[str]) -> int:
    """``basicsr train`` in a process of its own."""
    from .. import main

    return main(["train", *argv])


def run(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from ...data.parallel import cores
    from ...paper import ablation, ablation_report, trials

    if args.list:
        print_studies()
        return 0
    if args.study not in ablation.NAMES:
        what = f"no study '{args.study}'" if args.study else "NAME is missing"
        raise config.ConfigError(f"{what}; there are: {', '.join(ablation.NAMES)}")
    if args.gpus and args.budget == "demo":
        raise config.ConfigError("--gpus is for --budget full; the demo trains several variants at once instead")

    out = args.out or Path("experiments/ablations", args.study, args.budget)
    plan = make_plan(args, out)
    if not args.resume and (begun := ablation.begun(plan)):
        raise config.ConfigError(f"{begun[0].experiment}: was begun; go on with --resume, or delete it to begin anew")
    ablation_report.require_logs(plan)
    demo = args.budget == "demo"
    logs = out / "logs" if demo else None
    (logs or out).mkdir(parents=True, exist_ok=True)
    announce(plan)

    failed: dict[str, str] = {}
    at_once = min(cores(), len(plan.trials)) if demo else 1
    gpus = ["--gpus", str(args.gpus)] if args.gpus else []
    with closing(trials.train(plan.trials, train, at_once, logs, gpus)) as over:
        for trial, problem in over:
            if problem:
                failed[str(trial)] = problem
                tqdm.write(f"{trial}: failed: {problem}", file=sys.stderr)
            else:
                scores = ablation_report.at_end(trial.result)
                tqdm.write(f"{trial}: " + "; ".join(f"{name} {one['psnr']:.2f} dB" for name, one in scores.items()))
            ablation_report.write_report(plan, failed)
    print(f"\n{(out / 'table.md').read_text(encoding='utf-8')}\n{out}/table.md, table.csv, runs.csv, curves.png")
    return 1 if failed else 0


def make_plan(args: argparse.Namespace, out: Path) -> Plan:
    from ...paper import ablation

    changes = {key: getattr(args, key) for key in ("seeds", "iterations") if getattr(args, key) is not None}
    return (ablation.plan_demo if args.budget == "demo" else ablation.plan_full)(args.study, out, **changes)


def announce(plan: Plan) -> None:
    runs = {run.name: run for trial in plan.trials for run in trial.stages}.values()
    ready = sum(run.finished for run in runs)
    print(f"{plan.title}: {len(plan.networks)} variants, {len(runs)} runs{f', {ready} of them finished' * bool(ready)}")
    if plan.demo:
        print("A demonstration of the harness; no evidence for the paper's ordering.", flush=True)


def print_studies() -> None:
    from ...paper import ablation

    for study in ablation.NAMES:
        print(f"{study:<18} {ablation.title(study)}: {', '.join(ablation.option_files(study))}")
