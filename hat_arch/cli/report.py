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
    from ..weights.load import load_network

    opt = config.load(args.opt, is_train=True)
    folder = Path("experiments") / opt["name"]
    weights = Path(args.weights) if args.weights else folder / "models" / "net_g_latest.pth"
    if not weights.is_file():
        raise config.ConfigError(f"no weights '{weights}'; train first: basicsr train -opt {args.opt}")
    if not any(name.startswith("val") for name in opt["datasets"]):
        raise config.ConfigError(f"{args.opt}: datasets has no validation set to report on")

    comparisons = report.compare(opt, load_network(weights, network=opt["network_g"]))
    print(f"PSNR-Y on held-out images, {weights}")
    for c in comparisons:
        print(f"  {c.name:<16} bicubic {c.psnr_bicubic:.2f} dB   ours {c.psnr_ours:.2f} dB")
    bicubic, ours = fmean(c.psnr_bicubic for c in comparisons), fmean(c.psnr_ours for c in comparisons)
    print(f"  {'mean':<16} bicubic {bicubic:.2f} dB   ours {ours:.2f} dB   {ours - bicubic:+.2f} dB")

    picture, curves = folder / "comparison.png", folder / "curves.png"
    report.draw_comparison(comparisons, picture)
    print(picture)
    if report.draw_curves(Path("tb_logger") / opt["name"], bicubic, curves):
        print(curves)
    else:
        print("no curves: the run has no TensorBoard log (logger: use_tb_logger: true)")
    return 0
