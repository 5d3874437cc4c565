"""Writes the pages of the reference: ``python docs/tools/reference.py``; ``--check`` says which are not current."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import commands_page
import options_page

FOLDER = Path(__file__).resolve().parents[1] / "reference"


def pages() -> dict[Path, str]:
    """File → what it is to hold."""
    return {FOLDER / "commands.md": commands_page.page(), FOLDER / "options.md": options_page.page()}


def main() -> int:
    """Writes the pages, or checks them; returns 1 if one is not current."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if a page is not current")
    check, stale = parser.parse_args().check, 0
    for file, text in pages().items():
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        stale += 1
        print(f"{file}: is not current; run: python docs/tools/reference.py" if check else file)
        if not check:
            file.write_text(text, encoding="utf-8")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
