"""``basicsr data``: prepares and checks data sets. What a verb does is the docstring of its function, and its help."""

from __future__ import annotations

import argparse
import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data.build import Outcome

DEMO = Path("datasets/demo")
SHOWN = 20  # lines of a kind
LMDB = {"io_backend": "\n      type: lmdb"}
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
    verbs = parser.add_subparsers(metavar="VERB", required=True)

    sets = verbs.add_parser("prepare", help="make a whole data set").add_subparsers(metavar="SET", required=True)
    for name, run, out in (
        ("df2k", prepare_df2k, "datasets/DF2K"),
        ("imagenet", prepare_imagenet, "datasets/ImageNet"),
        ("benchmarks", prepare_benchmarks, "datasets"),
    ):
        one = _add_maker(sets, name, run, skip_bad=name != "benchmarks")
        one.add_argument("--out", type=Path, default=Path(out), help=f"default: {out}")
        if name == "df2k":
            one.add_argument(
                "--name", type=_file_name, default="DF2K", help="beginning of the stores' names; default: DF2K"
            )
            help = "bmp: uncompressed, twice the disk, read far faster"
            one.add_argument("--format", choices=["png", "bmp"], default="png", help=help)
            _add_sub_image_options(one)
            _add_convention(one)
        if name != "imagenet":
            _add_scales(one)
    _add_check(verbs)

    modcrop = _add_maker(verbs, "modcrop", run_modcrop, "OUT", "folder")
    modcrop.add_argument("--scale", type=_at_least(1), required=True, help="what both sides shall be a multiple of")
    downsample = _add_maker(verbs, "downsample", run_downsample, "OUT", "folder; {} stands for the scale")
    _add_scales(downsample)
    _add_convention(downsample)
    _add_degrade(verbs)
    _add_sub_image_options(_add_maker(verbs, "sub-images", run_sub_images, "OUT", "folder"))
    lmdb = _add_maker(verbs, "lmdb", run_lmdb, "OUT.lmdb", "store")
    lmdb.add_argument("--strip", default="", metavar="X", help="dropped from the end of names, such as x4 of 0001x4")
    _add_maker(verbs, "meta-info", run_meta_info, "OUT.txt", "text file")
    _add(verbs, "demo", run_demo)


def _add(verbs: argparse._SubParsersAction, name: str, run: Callable[..., int], end: str = "") -> Any:
    """A verb, explained by the docstring of its function: one line in the list of verbs, all of it by itself."""
    help, _, description = (inspect.getdoc(run) or "").partition("\n")
    parser = verbs.add_parser(name, help=help[0].lower() + help[1:-1], description=f"{description} {end}")
    parser.set_defaults(run=run)
    return parser


def _add_maker(
    verbs: argparse._SubParsersAction,
    name: str,
    run: Callable[..., int],
    out: str = "",
    what: str = "",
    skip_bad: bool = True,
    source: str = "folder of images, with or without folders in it",
) -> Any:
    """A verb that makes images, or a list, of the images of a folder."""
    parser = _add(verbs, name, run, AGAIN)
    parser.set_defaults(after_stop="; the same command goes on from there")
    parser.add_argument("source", type=Path, metavar="SRC", help=source)
    if out:
        parser.add_argument("out", type=Path, metavar=out, help=what)
    parser.add_argument("--overwrite", action="store_true", help="make again, and replace, what is there")
    if skip_bad:
        parser.add_argument("--skip_bad", action="store_true", help="finish without the images that cannot be used")
    return parser


def _add_degrade(verbs: argparse._SubParsersAction) -> None:
    out, source = "folder; for one image also a file, OUT.png", "an image, or a folder with or without folders in it"
    parser = _add_maker(verbs, "degrade", run_degrade, "OUT", out, source=source)
    help = "bicubic, jpeg:40, jpeg:10-40, noise:25, noise:0-50, realesrgan, bsrgan, or photo, which is mild"
    parser.add_argument("--recipe", required=True, metavar="R", help=help)
    parser.add_argument("--scale", type=_at_least(1), required=True, help="GT side / LR side; 1 keeps the size")
    parser.add_argument(
        "--seed", type=_at_least(0), default=0, metavar="N", help="another one, other images; default: 0"
    )
    help = "draw the first image after each step into this PNG file"
    parser.add_argument("--contact_sheet", type=Path, metavar="FILE", help=help)


def _add_check(verbs: argparse._SubParsersAction) -> None:
    parser = _add(verbs, "check", run_check)
    parser.epilog = (
        "basicsr data check datasets/Set5/GTmod4; basicsr data check --gt A.lmdb --lq B.lmdb --scale 4; "
        "basicsr data check -opt options/train_HAT_SRx4.yml"
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="folder, or store (its name ends in .lmdb)")
    parser.add_argument("--gt", type=Path, help="ground truth of a paired set")
    parser.add_argument("--lq", type=Path, help="its low resolution")
    parser.add_argument("--scale", type=_at_least(1), help="GT side / LR side")
    help = "LR name of a GT, as BasicSR's filename_tmpl: {}x4; default: {}"
    parser.add_argument("--template", default="{}", help=help)
    parser.add_argument("-opt", "--opt", metavar="FILE", help="check all data sets of an option file")


def _add_scales(parser: argparse.ArgumentParser) -> None:
    help = "scales of the LR; default: 2 3 4"
    parser.add_argument("--scale", type=_at_least(1), nargs="+", default=[2, 3, 4], metavar="S", help=help)


def _add_sub_image_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=_at_least(1), default=480, help="side in pixels; default: 480")
    parser.add_argument("--step", type=_at_least(1), default=240, help="pixels from one to the next; default: 240")
    help = "pixels left at the far border beyond which there is one more; default: 0"
    parser.add_argument("--threshold", type=_at_least(0), default=0, help=help)


def _add_convention(parser: argparse.ArgumentParser) -> None:
    help = "MATLAB's imresize on uint8, which rounds after each side (default), or on double"
    parser.add_argument("--convention", choices=["uint8", "double"], default="uint8", help=help)


def _at_least(least: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if int(text) < least:
            raise argparse.ArgumentTypeError(f"{text}: must be {least} or more")
        return int(text)

    return number


def prepare_df2k(args: argparse.Namespace) -> int:
    """Cut DIV2K and Flickr2K, or photographs of your own, into LMDB stores of sub-images.

    Reads the HR images below SRC. Writes OUT/DF2K_HR_sub.lmdb and OUT/DF2K_bicx{2,3,4}_sub.lmdb: sub-images of
    480x480, 240 apart, and their MATLAB bicubic LR. Costs, for DF2K: 70 GB of disk, an hour of a core.
    """
    from ..data import prepare
    from ..data.sub_images import SubImages

    how = SubImages(args.size, args.step, args.threshold)
    options = {"overwrite": args.overwrite, "skip_bad": args.skip_bad, "name": args.name, "suffix": f".{args.format}"}
    outcome = prepare.df2k(args.source, args.out, args.scale, how, args.convention, **options)
    stores = [f"{args.name}_HR_sub.lmdb", *(f"{args.name}_bicx{scale}_sub.lmdb" for scale in args.scale)]
    roots = {"dataroot_gt": args.out / stores[0], "dataroot_lq": args.out / stores[-1]}
    return _report(outcome, args, f"images in {', '.join(stores)}", {**roots, **LMDB})


def prepare_imagenet(args: argparse.Namespace) -> int:
    """Pack ImageNet's training images into one LMDB store.

    Reads the images below SRC (ILSVRC2012, train). Writes OUT/GT.lmdb with the same bytes; ImageNetPairedDataset makes
    the LR while it trains. Costs as much disk as the images, 140 GB. Some two dozen of them are CMYK and have to be
    left out, with --skip_bad.
    """
    from ..data import prepare

    store = args.out / "GT.lmdb"
    outcome = prepare.pack(args.source, store, "", args.overwrite, args.skip_bad)
    return _report(outcome, args, f"images in {store}", {"type": "ImageNetPairedDataset", "dataroot_gt": store, **LMDB})


def prepare_benchmarks(args: argparse.Namespace) -> int:
    """Make cropped GT and bicubic LR of Set5, Set14, BSDS100, urban100, manga109.

    Reads SRC/Set5, SRC/Set14, …, as many as there are (images in the folder itself, or in HR, GT, original, GTmod12,
    HR/x4, image_SRF_4). A set whose images are not all there, or are LR, is refused. Writes OUT/Set5/GTmod{2,3,4} and
    OUT/Set5/LRbicx{2,3,4}, …, MATLAB's to the pixel. Costs 1 GB for all five.
    """
    from ..data import prepare
    from ..data.benchmark_sets import BENCHMARK_SETS

    outcomes = prepare.benchmarks(args.source, args.out, args.scale, args.overwrite)
    code = 0
    for name, outcome in outcomes.items():
        code |= _report(outcome, args, f"images in {args.out / name}")
    if not code:
        folder, scale = args.out / name, args.scale[-1]
        _print_options({"dataroot_gt": folder / f"GTmod{scale}", "dataroot_lq": folder / f"LRbicx{scale}"})
    missing = [benchmark.folder for benchmark in BENCHMARK_SETS if benchmark.folder not in outcomes]
    if missing:
        print(f"not below {args.source}: {', '.join(missing)}")
    return code


def run_check(args: argparse.Namespace) -> int:
    """Verify stores and folders.

    Reads all of the stores and folders named, writes nothing. Finds truncated stores, missing and duplicate keys,
    damaged images, and pairs that do not fit; exits with 1 if there are any.
    """
    from ..data import check
    from ..data.images import DataError

    sets = _sets_to_check(args)
    found = {}
    for path in dict.fromkeys([*args.paths, *(path for gt, lq, *_ in sets for path in (gt, lq) if path)]):
        try:
            found[path] = check.contents(path)
        except DataError as error:
            found[path] = check.Contents(path, problems=[str(error)])
    if not found:
        raise DataError("nothing to check; name a folder, a store, --gt and --lq, or -opt FILE")
    pairs = [(found[gt], found[lq], scale, template) for gt, lq, scale, template in sets if lq]
    problems = [line for contents in found.values() for line in contents.problems]
    for gt, lq, scale, template in pairs:
        if gt.sizes and lq.sizes:
            problems += check.pairs(gt, lq, scale, template)
    _print_some(problems, sys.stderr)
    _print_some([f"note: {line}" for contents in found.values() for line in contents.notes], sys.stdout)
    for path, contents in found.items():
        print(f"{path}: {_counted(len(contents.sizes), 'image')}, {_counted(len(contents.problems), 'problem')}")
    if pairs and not problems:
        print("all pairs fit")
    return 1 if problems else 0


def _sets_to_check(args: argparse.Namespace) -> list[tuple[Path, Path | None, int, str]]:
    """GT, LR, scale and name template of the sets that are named by --gt and --lq, or in an option file."""
    from ..config import read_datasets
    from ..data.images import DataError
    from ..utils.files import from_home

    sets: list[tuple[Path, Path | None, int, str]] = []
    if args.gt or args.lq:
        if not (args.gt and args.lq and args.scale):
            raise DataError("a pair needs --gt, --lq and --scale")
        sets.append((args.gt, args.lq, args.scale, args.template))
    if args.opt:
        datasets, scale = read_datasets(Path(args.opt))
        for dataset in datasets.values():
            gt, lq = dataset.get("dataroot_gt"), dataset.get("dataroot_lq")
            if isinstance(gt, str):
                sets.append(
                    (from_home(gt), from_home(lq) if isinstance(lq, str) else None, scale, dataset["filename_tmpl"])
                )
    return sets


def run_modcrop(args: argparse.Namespace) -> int:
    """Crop images to a multiple of the scale.

    Reads the images below SRC, writes them to OUT as PNG, without the last rows and columns that are too many.
    """
    from ..data import folders

    outcome = folders.modcrop(args.source, args.out, args.scale, args.overwrite)
    return _report(outcome, args, f"images in {args.out}", {"dataroot_gt": args.out})


def run_downsample(args: argparse.Namespace) -> int:
    """Reduce images by MATLAB's bicubic.

    Reads the images below SRC, crops each to a multiple of the scale, and writes it to OUT as PNG, reduced. With
    several scales, OUT needs {} where the scale goes.
    """
    from ..data import folders
    from ..data.images import DataError

    if len(args.scale) > 1 and "{}" not in str(args.out):
        raise DataError(f"{args.out}: put {{}} where the scale goes, as in {args.out}x{{}}; there are several scales")
    targets = {scale: Path(str(args.out).replace("{}", str(scale))) for scale in args.scale}
    outcome = folders.downsample(args.source, targets, args.convention, args.overwrite)
    where = ", ".join(map(str, targets.values()))
    return _report(outcome, args, f"images in {where}", {"dataroot_lq": targets[args.scale[-1]]})


def run_degrade(args: argparse.Namespace) -> int:
    """Make low-quality images: blur, noise, JPEG.

    Reads SRC, an image or the images below a folder, crops each to a multiple of the scale, and writes it to OUT as
    PNG, degraded. What becomes of an image depends on the recipe, the seed and its name, not on what is beside it.
    """
    from ..data import degrade

    outcome = degrade.degrade(
        args.source, args.out, args.recipe, args.scale, args.seed, args.overwrite, args.contact_sheet
    )
    if not args.source.is_dir():
        return _report(outcome, args, f"image in {args.out}")
    return _report(outcome, args, f"images in {args.out}", {"dataroot_lq": args.out})


def run_sub_images(args: argparse.Namespace) -> int:
    """Cut images into overlapping squares.

    Reads the images below SRC, writes squares of them to OUT as PNG: 0001_s001.png, …. For LR of scale x4, give a
    quarter of each number. Costs four times the disk of SRC.
    """
    from ..data import folders
    from ..data.sub_images import SubImages

    how = SubImages(args.size, args.step, args.threshold)
    outcome = folders.sub_images(args.source, args.out, how, args.overwrite)
    return _report(outcome, args, f"sub-images in {args.out}", {"dataroot_gt": args.out})


def run_lmdb(args: argparse.Namespace) -> int:
    """Pack a folder into an LMDB store.

    Reads the images below SRC, writes them to OUT.lmdb byte for byte, each verified. Costs the disk of SRC.
    """
    from ..data import prepare

    outcome = prepare.pack(args.source, args.out, args.strip, args.overwrite, args.skip_bad)
    return _report(outcome, args, f"images in {args.out}", {"dataroot_gt": args.out, **LMDB})


def run_meta_info(args: argparse.Namespace) -> int:
    """List a folder's images for meta_info_file.

    Reads the first bytes of the images below SRC, writes OUT.txt: a line for each, with its size.
    """
    from ..data import folders

    outcome = folders.meta_info(args.source, args.out, args.overwrite, args.skip_bad)
    return _report(outcome, args, f"images in {args.out}", {"dataroot_gt": args.source, "meta_info_file": args.out})


def run_demo(args: argparse.Namespace) -> int:
    """Make datasets/demo from photographs that scikit-image carries.

    Makes datasets/demo, 10 MB, in a few seconds, without a download: LMDB stores of sub-images for training and two
    held-out photographs, with bicubic LR x4.
    """
    from ..data import demo

    if DEMO.exists():
        print(f"{DEMO} is there already; delete it to make it anew")
        return 0
    counts = demo.make_demo(DEMO)
    print(f"{DEMO}: {counts['train']} training pairs (LMDB), {counts['val']} held-out images")
    print("train on it with: basicsr train -opt train_HAT_demo_SRx4_finetune; from scratch: train_HAT_demo_SRx4")
    return 0


def _report(outcome: Outcome, args: argparse.Namespace, what: str, options: dict[str, Any] | None = None) -> int:
    """Prints what was done and what goes into the option file; returns 1 if images could not be used."""
    _print_some(outcome.bad, sys.stderr)
    if outcome.written or not (outcome.there_already or outcome.bad):
        there = f", {outcome.there_already:,} were there" if outcome.there_already else ""
        print(f"{outcome.written:,} {what}{there}")
    elif outcome.there_already:
        print(f"{outcome.there_already:,} {what} were there")
    skip_bad = getattr(args, "skip_bad", None)  # None: there is no such option
    if outcome.bad and not skip_bad:
        remedy = "mend them" if skip_bad is None else "mend or remove them, or say --skip_bad,"
        print(
            f"basicsr: not finished: {_counted(len(outcome.bad), 'problem')}, see above; {remedy} and repeat",
            file=sys.stderr,
        )
        return 1
    if options:
        _print_options(options)
    return 0


def _file_name(text: str) -> str:
    """An argparse type: the beginning of a file's name."""
    if "/" in text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text}: is to be a name, without /; --out names a folder")
    return text


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _print_options(options: dict[str, Any]) -> None:
    print("in the option file, below datasets: train: (or val:)")
    for option, value in options.items():
        print(f"    {option}: {value}".replace(": \n", ":\n"))


def _print_some(lines: Sequence[str], stream: Any) -> None:
    for line in lines[:SHOWN]:
        print(line, file=stream)
    if len(lines) > SHOWN:
        print(f"… and {len(lines) - SHOWN} more", file=stream)
