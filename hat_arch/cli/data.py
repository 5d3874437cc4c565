"""``basicsr data``: preparing data sets."""

from __future__ import annotations

import argparse
from pathlib import Path

DEMO = Path("datasets/demo")


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("data", help="prepare data sets")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    demo = verbs.add_parser(
        "demo",
        help="make datasets/demo from photographs that scikit-image carries",
        description="Makes datasets/demo, 10 MB, in a few seconds, without a download: LMDB stores of sub-images for "
        "training and two held-out photographs, with bicubic LR x4.",
    )
    demo.set_defaults(run=make_demo)


def make_demo(args: argparse.Namespace) -> int:
    from ..data import prepare

    if DEMO.exists():
        print(f"{DEMO} is there already; delete it to make it anew")
        return 0
    counts = prepare.make_demo(DEMO)
    print(f"{DEMO}: {counts['train']} training pairs (LMDB), {counts['val']} held-out images")
    print("train on it with: basicsr train -opt options/train_HAT_demo_SRx4.yml")
    return 0
