"""``basicsr report``: what a run has come to, in numbers and two pictures."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .parser import add_plugin_option

if TYPE_CHECKING:
    from torch import nn


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "report",
        help="training curves and a comparison picture of a run",
        description="Reads experiments/NAME and draws comparison.png (LR, bicubic, ours, GT; at scale 1 the input in "
        "place of the first two; of a fine-tuned "
        "network also what it started from) and curves.png there.",
    )
    parser.add_argument("-opt", "--opt", required=True, metavar="FILE", help="option file the run was trained with")
    parser.add_argument("--weights", metavar="FILE", help="default: experiments/NAME/models/net_g_latest.pth")
    add_plugin_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the PSNR of the validation images, and draws both pictures."""
    from .. import config
    from ..training import report
    from ..weights import named
    from ..weights.files import run_weights
    from ..weights.load import load_network

    opt = config.load(args.opt, is_train=True)
    folder = Path("experiments") / opt["name"]
    if args.weights:
        weights = named.find(args.weights)
    elif (latest := run_weights(folder)) is not None:
        weights = latest
    else:
        raise config.ConfigError(
            f"no weights '{folder}/models/net_g_latest.pth'; train first: basicsr train -opt {args.opt}"
        )

    ours = load_network(weights, network=opt["network_g"])
    before = start_of(opt)
    nets = {"ours": ours} if before is None else {"before": before, "after": ours}
    comparisons = report.compare(opt, nets)
    print(f"PSNR of Y / of RGB on held-out images, {weights}")
    mean = report.means(comparisons)
    for name, scores in [*((one.name, one.scores) for one in comparisons), ("mean", mean)]:
        print(f"  {name:<16} " + "   ".join(f"{column} {psnr}" for column, psnr in scores.items()))
    *others, last = mean
    for name in others:
        gain = report.Psnr(*(after - before for after, before in zip(mean[last], mean[name])))
        print(f"  {last} against {name}: {gain.y:+.2f} / {gain.rgb:+.2f} dB")

    picture, curves = folder / "comparison.png", folder / "curves.png"
    report.draw_comparison(comparisons, picture)
    print(picture)
    label = next(iter(mean))
    beside = {"psnr": mean[label].y, "psnr_rgb": mean[label].rgb}
    if report.draw_curves(Path("tb_logger") / opt["name"], beside, curves, label):
        print(curves)
    else:
        print("no curves: the run has no TensorBoard log (logger: use_tb_logger: true)")
    return 0


def start_of(opt: dict[str, Any]) -> nn.Module | None:
    """The network as its training found it; None if it began from nothing, or from weights of a part of it."""
    from ..weights.files import choose_to_start_from, read_weights
    from ..weights.load import load_network

    path = opt["path"]
    file = path.get("pretrain_network_g")
    if not file or not path.get("strict_load_g", True):
        return None
    key, _ = choose_to_start_from(read_weights(Path(file)), path.get("param_key_g"))
    return load_network(Path(file), key, opt["network_g"])
