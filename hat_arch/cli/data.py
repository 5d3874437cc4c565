"""``basicsr data``: preparing and checking data sets."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data.check import Contents
    from ..data.folders import Outcome

DEMO = Path("datasets/demo")
SHOWN = 20  # lines of a kind

AGAIN = (
    "Stop it at any time: the same command goes on where it stopped. What is complete is never made again or "
    "overwritten, unless you say --overwrite."
)


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "data",
        help="prepare and check data sets",
        description="From raw images to verified LMDB stores. For DF2K, ImageNet, benchmarks: `prepare`.",
    )
    parser.set_defaults(after_stop="; the same command goes on from there")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    _add_prepare(verbs)
    _add_check(verbs)
    _add_verbs(verbs)
    demo = verbs.add_parser(
        "demo",
        help="make datasets/demo from photographs that scikit-image carries",
        description="Makes datasets/demo, 10 MB, in a few seconds, without a download: LMDB stores of sub-images for "
        "training and two held-out photographs, with bicubic LR x4.",
    )
    demo.set_defaults(run=make_demo)


def _verb(
    verbs: argparse._SubParsersAction, name: str, help: str, description: str, run: Any
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=help, description=f"{description} {AGAIN}")
    parser.add_argument("source", type=Path, metavar="SRC", help="folder of images, with or without folders in it")
    parser.add_argument("--overwrite", action="store_true", help="make again, and replace, what is there")
    parser.add_argument("--skip_bad", action="store_true", help="finish without the images that cannot be used")
    parser.set_defaults(run=run)
    return parser


def _add_prepare(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser("prepare", help="make a whole data set: df2k, imagenet, benchmarks")
    sets = parser.add_subparsers(metavar="SET", required=True)
    df2k = _verb(
        sets,
        "df2k",
        "DIV2K and Flickr2K, or photographs of your own, as LMDB stores of sub-images",
        "Reads the HR images below SRC. Writes OUT/DF2K_HR_sub.lmdb and OUT/DF2K_bicx{2,3,4}_sub.lmdb: sub-images of "
        "480x480, 240 apart, and their MATLAB bicubic LR. Costs, for DF2K: 70 GB of disk, an hour of a core.",
        prepare_df2k,
    )
    df2k.add_argument("--out", type=Path, default=Path("datasets/DF2K"), help="default: datasets/DF2K")
    df2k.add_argument("--scale", type=int, nargs="+", default=[2, 3, 4], metavar="S", help="of the LR; default: 2 3 4")
    df2k.add_argument("--name", default="DF2K", help="beginning of the stores' names; default: DF2K")
    df2k.add_argument(
        "--format", choices=["png", "bmp"], default="png", help="bmp: uncompressed, twice the disk, read far faster"
    )
    _sub_image_options(df2k)
    _convention(df2k)
    imagenet = _verb(
        sets,
        "imagenet",
        "ImageNet's training images as one LMDB store",
        "Reads the images below SRC (ILSVRC2012, train). Writes OUT/GT.lmdb with the same bytes; ImageNetPairedDataset "
        "makes the LR while it trains. Costs as much disk as the images, 140 GB. Some two dozen of them are CMYK and "
        "have to be left out, with --skip_bad.",
        prepare_imagenet,
    )
    imagenet.add_argument("--out", type=Path, default=Path("datasets/ImageNet"), help="default: datasets/ImageNet")
    benchmarks = _verb(
        sets,
        "benchmarks",
        "Set5, Set14, BSDS100, urban100, manga109: cropped GT and bicubic LR",
        "Reads SRC/Set5, SRC/Set14, …, as many as there are (images in the folder itself, or in HR, GT or original). "
        "Writes OUT/Set5/GTmod{2,3,4} and OUT/Set5/LRbicx{2,3,4}, …, MATLAB's to the pixel. Costs 1 GB for all five.",
        prepare_benchmarks,
    )
    benchmarks.add_argument("--out", type=Path, default=Path("datasets"), help="default: datasets")
    benchmarks.add_argument("--scale", type=int, nargs="+", default=[2, 3, 4], metavar="S", help="default: 2 3 4")


def _add_check(verbs: argparse._SubParsersAction) -> None:
    check = verbs.add_parser(
        "check",
        help="verify stores and folders",
        description="Reads all of the stores and folders named, writes nothing. Finds truncated stores, missing and "
        "duplicate keys, damaged images, and pairs that do not fit; exits with 1 if there are any.",
        epilog="basicsr data check datasets/Set5/GTmod4   or   --gt A.lmdb --lq B.lmdb --scale 4   or   "
        "-opt options/train_HAT_SRx4.yml",
    )
    check.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="folder, or store (its name ends in .lmdb)")
    check.add_argument("--gt", type=Path, help="ground truth of a paired set")
    check.add_argument("--lq", type=Path, help="its low resolution")
    check.add_argument("--scale", type=int, help="GT side / LR side")
    check.add_argument(
        "--template", default="{}", help="LR name of a GT, as BasicSR's filename_tmpl: {}x4; default: {}"
    )
    check.add_argument("-opt", "--opt", metavar="FILE", help="check all data sets of an option file")
    check.set_defaults(run=run_check)


def _add_verbs(verbs: argparse._SubParsersAction) -> None:
    parser = _verb(
        verbs,
        "modcrop",
        "crop images to a multiple of the scale",
        "Reads the images below SRC, writes them to OUT as PNG, without the last rows and columns that are too many.",
        run_modcrop,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder")
    parser.add_argument("--scale", type=int, required=True, help="what both sides shall be a multiple of")

    parser = _verb(
        verbs,
        "downsample",
        "reduce images by MATLAB's bicubic",
        "Reads the images below SRC, crops each to a multiple of the scale, and writes it to OUT as PNG, reduced.",
        run_downsample,
    )
    parser.add_argument("out", metavar="OUT", help="folder; with several scales, with {} where the scale goes")
    parser.add_argument("--scale", type=int, nargs="+", default=[2, 3, 4], metavar="S", help="default: 2 3 4")
    _convention(parser)

    parser = _verb(
        verbs,
        "sub-images",
        "cut images into overlapping squares",
        "Reads the images below SRC, writes squares of them to OUT as PNG: 0001_s001.png, …. For LR of scale x4, give "
        "a quarter of each number. Costs four times the disk of SRC.",
        run_sub_images,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder")
    _sub_image_options(parser)

    parser = _verb(
        verbs,
        "lmdb",
        "pack a folder into an LMDB store",
        "Reads the images below SRC, writes them to OUT.lmdb byte for byte, each verified. Costs the disk of SRC.",
        run_lmdb,
    )
    parser.add_argument("out", type=Path, metavar="OUT.lmdb", help="store")
    parser.add_argument("--strip", default="", metavar="X", help="dropped from the end of names, such as x4 of 0001x4")

    parser = _verb(
        verbs,
        "meta-info",
        "list a folder's images for meta_info_file",
        "Reads the first bytes of the images below SRC, writes OUT: a line for each, with its size.",
        run_meta_info,
    )
    parser.add_argument("out", type=Path, metavar="OUT.txt", help="text file")


def _sub_image_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, default=480, help="side in pixels; default: 480")
    parser.add_argument("--step", type=int, default=240, help="pixels from one to the next; default: 240")
    parser.add_argument(
        "--threshold",
        type=int,
        default=0,
        help="pixels left at the far border beyond which there is one more; default: 0",
    )


def _convention(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--convention",
        choices=["uint8", "double"],
        default="uint8",
        help="MATLAB's imresize on uint8, which rounds after each side (default), or on double",
    )


def prepare_df2k(args: argparse.Namespace) -> int:
    from ..data import prepare

    outcome = prepare.df2k(
        args.source,
        args.out,
        _scales(args),
        _sub_images(args),
        args.convention,
        args.overwrite,
        args.skip_bad,
        args.name,
        f".{args.format}",
    )
    stores = [args.out / f"{args.name}_HR_sub.lmdb", *(args.out / f"{args.name}_bicx{s}_sub.lmdb" for s in args.scale)]
    yaml = f"dataroot_gt: {stores[0]}\ndataroot_lq: {stores[-1]}\nio_backend:\n  type: lmdb"
    return _report(outcome, args, f"pairs in {', '.join(s.name for s in stores)}", yaml)


def prepare_imagenet(args: argparse.Namespace) -> int:
    from ..data import prepare

    outcome = prepare.imagenet(args.source, args.out, args.overwrite, args.skip_bad)
    yaml = f"type: ImageNetPairedDataset\ndataroot_gt: {args.out}/GT.lmdb\nio_backend:\n  type: lmdb"
    return _report(outcome, args, f"images in {args.out}/GT.lmdb", yaml)


def prepare_benchmarks(args: argparse.Namespace) -> int:
    from ..data import prepare
    from ..data.benchmark_sets import BENCHMARK_SETS

    outcomes = prepare.benchmarks(args.source, args.out, _scales(args), args.overwrite)
    code = 0
    for name, outcome in outcomes.items():
        code |= _report(outcome, args, f"images in {args.out / name}", "")
    if not code:
        folder, scale = args.out / name, args.scale[-1]
        _print_yaml(f"dataroot_gt: {folder}/GTmod{scale}\ndataroot_lq: {folder}/LRbicx{scale}")
    missing = [one.folder for one in BENCHMARK_SETS if one.folder not in outcomes]
    if missing:
        print(f"not below {args.source}: {', '.join(missing)}")
    return code


def run_modcrop(args: argparse.Namespace) -> int:
    from ..data import folders

    outcome = folders.modcrop(args.source, args.out, _scales(args)[0], args.overwrite)
    return _report(outcome, args, f"images in {args.out}", f"dataroot_gt: {args.out}")


def run_downsample(args: argparse.Namespace) -> int:
    from ..data import folders
    from ..data.images import DataError

    scales = _scales(args)
    if len(scales) > 1 and "{}" not in args.out:
        raise DataError(f"{args.out}: put {{}} where the scale goes, as in {args.out}x{{}}; there are several scales")
    targets = {scale: Path(args.out.replace("{}", str(scale))) for scale in scales}
    outcome = folders.downsample(args.source, targets, args.convention, args.overwrite)
    return _report(
        outcome, args, f"images in {', '.join(map(str, targets.values()))}", f"dataroot_lq: {targets[scales[-1]]}"
    )


def run_sub_images(args: argparse.Namespace) -> int:
    from ..data import folders

    outcome = folders.sub_images(args.source, args.out, _sub_images(args), args.overwrite)
    return _report(outcome, args, f"sub-images in {args.out}", f"dataroot_gt: {args.out}")


def run_lmdb(args: argparse.Namespace) -> int:
    from ..data import prepare

    outcome = prepare.pack(args.source, args.out, args.strip, args.overwrite, args.skip_bad)
    return _report(outcome, args, f"images in {args.out}", f"dataroot_gt: {args.out}\nio_backend:\n  type: lmdb")


def run_meta_info(args: argparse.Namespace) -> int:
    from ..data import folders

    outcome = folders.meta_info(args.source, args.out, args.overwrite, args.skip_bad)
    return _report(outcome, args, f"images in {args.out}", f"dataroot_gt: {args.source}\nmeta_info_file: {args.out}")


def make_demo(args: argparse.Namespace) -> int:
    from ..data import demo

    if DEMO.exists():
        print(f"{DEMO} is there already; delete it to make it anew")
        return 0
    counts = demo.make_demo(DEMO)
    print(f"{DEMO}: {counts['train']} training pairs (LMDB), {counts['val']} held-out images")
    print("train on it with: basicsr train -opt options/train_HAT_demo_SRx4.yml")
    return 0


def run_check(args: argparse.Namespace) -> int:
    from ..data import check
    from ..data.images import DataError

    known: dict[Path, Contents] = {}

    def contents(path: Path) -> Contents:
        if path not in known:
            try:
                known[path] = check.contents(path)
            except DataError as error:
                known[path] = check.Contents(path, problems=[str(error)])
        return known[path]

    problems: list[str] = []
    paired = _paired(args)
    for path in args.paths:
        contents(path)
    for gt, lq, scale, template in paired:
        found = contents(gt)
        if lq is not None:
            other = contents(lq)
            if found.sizes and other.sizes:
                problems += check.pairs(found, other, scale, template)
    if not known:
        raise DataError("nothing to check; name a folder, a store, --gt and --lq, or -opt FILE")
    problems = [line for found in known.values() for line in found.problems] + problems
    _list(problems, "", sys.stderr)
    _list([line for found in known.values() for line in found.notes], "note: ", sys.stdout)
    for path, found in known.items():
        print(f"{path}: {len(found.sizes):,} images, {len(found.problems)} problems")
    if paired and not problems:
        print("all pairs fit")
    return 1 if problems else 0


def _paired(args: argparse.Namespace) -> list[tuple[Path, Path | None, int, str]]:
    """GT, LR, scale and name template of what `check` was asked about."""
    from ..config import reading as config
    from ..data.images import DataError

    paired: list[tuple[Path, Path | None, int, str]] = []
    if args.gt or args.lq:
        if not (args.gt and args.lq and args.scale):
            raise DataError("a pair needs --gt, --lq and --scale")
        paired.append((args.gt, args.lq, args.scale, args.template))
    if args.opt:
        opt, _ = config.read(Path(args.opt))
        for dataset in (opt.get("datasets") or {}).values():
            if isinstance(dataset.get("dataroot_gt"), str):
                lq = dataset.get("dataroot_lq")
                template = dataset.get("filename_tmpl", "{}")
                paired.append((Path(dataset["dataroot_gt"]), Path(lq) if lq else None, opt.get("scale", 1), template))
    return paired


def _scales(args: argparse.Namespace) -> list[int]:
    from ..data.images import DataError

    scales = args.scale if isinstance(args.scale, list) else [args.scale]
    if min(scales) < 1:
        raise DataError(f"--scale {' '.join(map(str, scales))}: must be 1 or more")
    return scales


def _sub_images(args: argparse.Namespace) -> Any:
    from ..data.folders import SubImages
    from ..data.images import DataError

    if args.size < 1 or args.step < 1 or args.threshold < 0:
        raise DataError("--size and --step must be 1 or more, --threshold 0 or more")
    return SubImages(args.size, args.step, args.threshold)


def _report(outcome: Outcome, args: argparse.Namespace, what: str, yaml: str) -> int:
    """Says what was done and what goes into the option file; 1 if images could not be used."""
    _list(outcome.bad, "", sys.stderr)
    there = f", {outcome.there_already:,} were there" if outcome.there_already else ""
    print(
        f"{outcome.written:,} {what}{there}"
        if outcome.written or not there
        else f"{outcome.there_already:,} {what} were there"
    )
    if outcome.unexpected:
        print(f"note: {len(outcome.unexpected)} other images are there, such as {outcome.unexpected[0]}")
    if outcome.bad and not args.skip_bad:
        remedy = "mend or remove them, or say --skip_bad, and repeat"
        print(f"basicsr: not finished: {len(outcome.bad)} of the images cannot be used; {remedy}", file=sys.stderr)
        return 1
    if yaml:
        _print_yaml(yaml)
    return 0


def _print_yaml(yaml: str) -> None:
    print("in the option file, below datasets: train: (or val:)")
    print("\n".join(f"    {line}" for line in yaml.splitlines()))


def _list(lines: Sequence[str], prefix: str, stream: Any) -> None:
    for line in lines[:SHOWN]:
        print(f"{prefix}{line}", file=stream)
    if len(lines) > SHOWN:
        print(f"{prefix}… and {len(lines) - SHOWN} more", file=stream)
