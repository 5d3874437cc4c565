"""What MkDocs calls while it builds the book: a file of the repository that a page links to becomes part of the book.

On GitHub, ``[card](../hat_arch/weights/models/hat-light-x4.md)`` in ``docs/models.md`` leads to that file. In the book,
its copy is below ``repository/``: Markdown as a page, all else as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
DOCS = PurePosixPath("docs")
COPIES = PurePosixPath("repository")
LOGO = "hat_arch/web/static/logo.svg"
LINK = re.compile(r"(?P<before>\]\()(?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?(?P<after>\))")
CODE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Adds what pages link to, and what that links to."""
    files.append(File.generated(config, "logo.svg", abs_src_path=str(ROOT / LOGO)))
    left = [DOCS / file.src_uri for file in files.documentation_pages()]
    seen = set(left)
    while left:
        source = left.pop()
        for target in linked(source):
            if target in seen or target.is_relative_to(DOCS):
                continue
            seen.add(target)
            files.append(File.generated(config, str(place(target)), abs_src_path=str(ROOT / target)))
            left += [target] if target.suffix == ".md" else []
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Lets links that lead from or into a copy lead there in the book."""
    uri = PurePosixPath(page.file.src_uri)
    source = uri.relative_to(COPIES) if uri.is_relative_to(COPIES) else DOCS / uri

    def in_the_book(link: re.Match[str]) -> str:
        target = resolved(source, link["target"])
        if target is None:
            return link[0]
        relative = os.path.relpath(place(target), place(source).parent)
        return f"{link['before']}{relative}{link['anchor'] or ''}{link['after']}"

    return outside_code(markdown, lambda text: LINK.sub(in_the_book, text))


def outside_code(markdown: str, change: Callable[[str], str]) -> str:
    """Changes a Markdown text but for its blocks of code."""
    parts, end = [], 0
    for block in CODE.finditer(markdown):
        parts += [change(markdown[end : block.start()]), block[0]]
        end = block.end()
    return "".join([*parts, change(markdown[end:])])


def linked(source: PurePosixPath) -> set[PurePosixPath]:
    """Files of the repository that one of its Markdown files links to."""
    text = CODE.sub("", (ROOT / source).read_text(encoding="utf-8"))
    targets = {resolved(source, link["target"]) for link in LINK.finditer(text)}
    return {target for target in targets if target is not None}


def resolved(source: PurePosixPath, target: str) -> PurePosixPath | None:
    """The file, relative to the repository, that a link in ``source`` leads to; None if there is none."""
    path = (ROOT / source).parent / target
    if path.is_dir():
        path /= "README.md"
    path = Path(os.path.normpath(path))
    return PurePosixPath(path.relative_to(ROOT).as_posix()) if path.is_file() and path.is_relative_to(ROOT) else None


def place(file: PurePosixPath) -> PurePosixPath:
    """Where a file of the repository is among the book's sources."""
    return file.relative_to(DOCS) if file.is_relative_to(DOCS) else COPIES / file
