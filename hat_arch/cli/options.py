"""``basicsr options``: the option files that come with the package, and those of other programs."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path

from ..utils.errors import UserError
from .parser import add_plugin_option


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "options",
        help="list the option files that come with it, copy one, or convert another program's",
        description="Lists the option files that come with hat_arch by what they are for. train and test find them by "
        "name: basicsr train -opt train_HAT_SRx4. To change one, copy it and edit the copy.",
    )
    parser.set_defaults(run=list_all, needs_library=False)
    verbs = parser.add_subparsers(metavar="VERB")
    copy = verbs.add_parser("copy", help="copy one, to change it")
    copy.add_argument("name", metavar="NAME", help="of the option file, with or without .yml")
    help = "file to write; its name becomes the run's; default: the same name, in the current folder"
    copy.add_argument("to", type=Path, nargs="?", metavar="FILE.yml", help=help)
    copy.add_argument("--force", action="store_true", help="overwrite a file of that name")
    copy.set_defaults(run=copy_one)
    convert = verbs.add_parser(
        "convert",
        help="make one of another program's",
        description="Makes an option file of this project of one of the official HAT, BasicSR, Real-ESRGAN, neosr or "
        "traiNNer-redux, and checks it. Each change is said in a line; what has no counterpart is named, or refused.",
    )
    convert.add_argument("file", metavar="FILE", type=Path, help="option file, .yml or .toml")
    convert.add_argument(
        "-o", "--out", metavar="OUT", type=Path, help="file to write; by default FILE_converted.yml here"
    )
    convert.add_argument("--force", action="store_true", help="overwrite a file of that name")
    add_plugin_option(convert)
    convert.set_defaults(run=convert_one, needs_library=True)


def list_all(args: argparse.Namespace) -> int:
    """Prints a line for each option file."""
    from ..config import shipped_options

    summaries = [shipped_options.summary(file) for file in shipped_options.files().values()]
    width = max(len(one.name) for one in summaries)
    for purpose in shipped_options.PURPOSES:
        print(purpose)
        for one in summaries:
            if one.purpose == purpose:
                iterations = f", {one.iterations:,} iterations" if one.iterations else ""
                print(f"  {one.name:{width}}  x{one.scale}  {one.network:<12}  {one.data}{iterations}")
    return 0


def copy_one(args: argparse.Namespace) -> int:
    """Copies an option file, by default into the current folder; under another name, that is the run's name too."""
    import yaml

    from ..config import shipped_options
    from ..utils.files import write_file

    source = shipped_options.named(args.name)
    target = args.to or Path(source.name)
    if target.suffix not in (".yml", ".yaml"):
        raise UserError(f"{target}: an option file's name is to end in .yml")
    if target.exists() and not args.force:
        raise UserError(f"{target}: exists; --force overwrites it")
    text = source.read_bytes()
    if args.to:
        line = yaml.safe_dump({"name": target.stem}, allow_unicode=True, width=math.inf).rstrip().encode()
        text = re.sub(rb"^name: .*$", lambda found: line, text, count=1, flags=re.MULTILINE)
    write_file(target, text)
    print(target)
    return 0


def convert_one(args: argparse.Namespace) -> int:
    """Writes another program's option file as this project's, and says what has changed."""
    from ..config import convert
    from ..utils.files import from_home, write_file

    source = from_home(args.file)
    target = from_home(args.out or f"{source.stem}_converted.yml")
    if target.exists() and (not args.force or (source.exists() and target.samefile(source))):
        raise UserError(f"{target}: exists; " + ("--force overwrites it" if not args.force else "it is FILE itself"))
    made = convert.convert(source)
    write_file(target, made.text.encode())
    print("\n".join(made.said or [f"{source}: is of {made.program}, and runs as it is; nothing had to change"]))
    print(target)
    return 0
