"""``basicsr options``: the option files that come with the package."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..utils.errors import UserError


def add_parser(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "options",
        help="list the option files that come with it, or copy one",
        description="Lists the option files that come with hat_arch by what they are for. train and test find them by "
        "name: basicsr train -opt train_HAT_SRx4. To change one, copy it and edit the copy.",
    )
    parser.set_defaults(run=list_all, needs_library=False)
    verbs = parser.add_subparsers(metavar="VERB")
    copy = verbs.add_parser("copy", help="copy one into the current folder")
    copy.add_argument("name", metavar="NAME", help="of the option file, with or without .yml")
    copy.add_argument("--force", action="store_true", help="overwrite a file of that name")
    copy.set_defaults(run=copy_one)


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
    """Copies an option file into the current folder."""
    from ..config import shipped_options
    from ..utils.files import write_file

    source = shipped_options.named(args.name)
    target = Path(source.name)
    if target.exists() and not args.force:
        raise UserError(f"{target}: exists; --force overwrites it")
    write_file(target, source.read_bytes())
    print(target)
    return 0
