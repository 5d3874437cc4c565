"""``basicsr report``: what a run has come to, in two numbers and two pictures."""

from __future__ import annotations

import argparse
from pathlib import Path

from .parser import add_plugin_option


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "report",
        help="training curves and a comparison picture of a run",
        description="Reads experiments/NAME and draws comparison.png (LR, bicubic, ours, GT) and curves.png there.",
    )
    parser.add_argument("-opt", "--opt", required=True, metavar="FILE", help="option file the run was trained with")
    parser.add_argument("--weights", metavar="FILE", help="default: experiments/NAME/models/net_g_latest.pth")
    add_plugin_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prints the PSNR of the validation images, and draws both pictures."""
    from statistics import fmean

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

    comparisons = report.compare(opt, load_network(weights, network=opt["network_g"]))
    print(f"PSNR of Y / of RGB on held-out images, {weights}")
    for c in comparisons:
        print(f"  {c.name:<16} bicubic {c.bicubic}   ours {c.ours}")
    bicubic, ours = (
        report.Psnr(fmean(one.y for one in column), fmean(one.rgb for one in column))
        for column in ([c.bicubic for c in comparisons], [c.ours for c in comparisons])
    )
    gain = f"{ours.y - bicubic.y:+.2f} / {ours.rgb - bicubic.rgb:+.2f} dB"
    print(f"  {'mean':<16} bicubic {bicubic}   ours {ours}   {gain}")

    picture, curves = folder / "comparison.png", folder / "curves.png"
    report.draw_comparison(comparisons, picture)
    print(picture)
    baseline = {"psnr": bicubic.y, "psnr_rgb": bicubic.rgb}
    if report.draw_curves(Path("tb_logger") / opt["name"], baseline, curves):
        print(curves)
    else:
        print("no curves: the run has no TensorBoard log (logger: use_tb_logger: true)")
    return 0
