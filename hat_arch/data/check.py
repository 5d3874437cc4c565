"""Checks data sets: every image is there, whole, of the size it should have, once, and paired."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import lmdb

from ..utils.files import digest
from . import parallel
from .benchmark_sets import BENCHMARK_SETS
from .folders import SubImages, partner
from .images import DataError, ImageError, find, read_bytes, verify
from .lmdb_store import CHECKSUMS, META, read_recipe, read_records, to_name
from .prepare import DF2K_SOURCES, DF2K_SUB_IMAGES


@dataclass
class Contents:
    """What a folder or store was found to hold."""

    root: Path
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Path without suffix, or key → height and width."""
    problems: list[str] = field(default_factory=list)
    """A line for each, naming the image."""
    notes: list[str] = field(default_factory=list)
    """What may be meant."""
    digests: dict[str, str] = field(default_factory=dict)
    """Checksum of an image → its name."""

    def seen(self, name: str, checksum: str) -> None:
        """Notes images of the same bytes under two names."""
        other = self.digests.setdefault(checksum, name)
        if other != name:
            self.notes.append(f"{self.root}: '{name}' is the same as '{other}'")


def contents(root: Path) -> Contents:
    """Reads and verifies all of a folder or LMDB store.

    Raises:
        DataError: there is no such folder, or no image in it.
    """
    found = _guarded(root) if root.suffix == ".lmdb" else _folder(root)
    _count(found)
    return found


def _folder(root: Path) -> Contents:
    found = Contents(root)
    files: dict[str, Path] = {}

    def examine(path: Path) -> tuple[int, int, str]:
        data = read_bytes(path)
        header = verify(data, path)
        return header.height, header.width, digest(data)

    for path, (height, width, checksum) in parallel.run(
        examine, find(root), found.problems, label=f"check {root.name}"
    ):
        name = path.relative_to(root).with_suffix("").as_posix()
        if name in files:
            found.problems.append(f"{root}: {files[name].name} and {path.name} have the same name")
        files[name] = path
        found.sizes[name] = height, width
        found.seen(name, checksum)
    return found


def _guarded(root: Path) -> Contents:
    """`_store` in a process of its own, since LMDB may crash on a damaged file."""
    if not root.is_dir():
        raise DataError(f"{root}: no such store")
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_store, args=(root, sender), daemon=True)
    process.start()
    sender.close()
    try:
        return receiver.recv()
    except EOFError:
        process.join()
        problem = f"{root}/data.mdb: is damaged (reading it ended with signal {-(process.exitcode or 0)}); make it anew"
        return Contents(root, problems=[problem])


def _send_store(root: Path, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to handle; it ends this process with itself
    sender.send(_store(root))


def _store(root: Path) -> Contents:
    found = Contents(root)
    for needed in ("data.mdb", META):
        if not (root / needed).is_file():
            found.problems.append(f"{root}: has no {needed}; make the store anew")
    if found.problems:
        return found
    try:
        with lmdb.open(str(root), readonly=True, lock=False, readahead=False) as environment:
            there = environment.stat()["psize"] * (environment.info()["last_pgno"] + 1)
            size = (root / "data.mdb").stat().st_size
            if size < there:  # to read on would be a bus error
                found.problems.append(
                    f"{root}/data.mdb: is truncated ({size:,} of {there:,} bytes); make the store anew"
                )
                return found
            _entries(environment, found)
    except lmdb.Error as error:
        found.problems.append(f"{root}/data.mdb: is damaged ({error}); make the store anew")
    return found


def _entries(environment: lmdb.Environment, found: Contents) -> None:
    listed: dict[str, tuple[int, int] | None] = {}
    for number, line in enumerate((found.root / META).read_text(encoding="utf-8").splitlines(), 1):
        key, size = _parse_meta(line)
        if key in listed:
            found.problems.append(f"{found.root}/{META}, line {number}: '{key}' is listed twice")
        listed[key] = size
    with environment.begin() as transaction:
        stored = {bytes(key).decode("utf-8", "backslashreplace") for key in transaction.cursor().iternext(values=False)}
    found.problems += [
        f"{found.root}: has no key '{key}', which {META} lists" for key in sorted(listed.keys() - stored)
    ]
    for key in sorted(stored - listed.keys()):
        found.problems.append(f"{found.root}: key '{key}' is not in {META}, so that BasicSR would not see it")
    records = read_records(found.root) or {}
    for key in sorted((records.keys() - listed.keys()) - stored):
        found.problems.append(f"{found.root}: has no key '{key}', which {CHECKSUMS} lists")

    def examine(key: str) -> tuple[int, int, str]:
        with environment.begin() as transaction:
            data = bytes(transaction.get(key.encode()) or b"")
        checksum, record = digest(data), records.get(key)
        if record is None:
            header = verify(data, f"{found.root}: '{key}'")
            return header.height, header.width, checksum
        if record.digest != checksum:
            raise ImageError(f"{found.root}: '{key}' is damaged (its checksum is {checksum}, not {record.digest})")
        return record.height, record.width, checksum

    keys = sorted(listed.keys() & stored)
    for key, (height, width, checksum) in parallel.run(examine, keys, found.problems, label=f"check {found.root.name}"):
        found.sizes[key] = height, width
        found.seen(key, checksum)
        if listed[key] not in (None, (height, width)):
            found.problems.append(f"{found.root}: '{key}' is {height}x{width}, and {META} says otherwise")


def _parse_meta(line: str) -> tuple[str, tuple[int, int] | None]:
    """Key and size of a line such as ``0001.png (480,480,3) 1``."""
    key, _, rest = line.strip().partition(".")
    _, _, rest = rest.partition("(")
    try:
        height, width = rest.partition(")")[0].split(",")[:2]
        return key, (int(height), int(width))
    except ValueError:
        return key, None


def _count(found: Contents) -> None:
    """The number of images, where it is known."""
    count, recipe = len(found.sizes), read_recipe(found.root)
    as_df2k = all(recipe.get(key) == value for key, value in vars(SubImages()).items())
    if recipe.get("made_by") == "prepare df2k" and as_df2k:
        if recipe["sources"] == DF2K_SOURCES and count != DF2K_SUB_IMAGES:
            found.problems.append(f"{found.root}: has {count:,} sub-images; DF2K has {DF2K_SUB_IMAGES:,}")
        elif recipe["sources"] != DF2K_SOURCES:
            found.notes.append(
                f"{found.root}: was made from {recipe['sources']:,} images; DF2K has {DF2K_SOURCES:,} (DIV2K 800, "
                "Flickr2K 2,650)"
            )
    for one in BENCHMARK_SETS:
        if found.root.parent.name == one.folder and count != one.images:
            found.problems.append(f"{found.root}: has {count} images; {one.name} has {one.images}")


def pairs(gt: Contents, lq: Contents, scale: int, template: str = "{}") -> list[str]:
    """Problems of a paired set: an image without partner, or a GT that is not ``scale`` times the LR.

    Args:
        gt: ground truth.
        lq: low resolution.
        scale: GT side / LR side.
        template: BasicSR's ``filename_tmpl``: name of the LR of a GT, such as ``{}x4``.
    """
    problems, partners = [], set()
    for name, (height, width) in gt.sizes.items():
        other = partner(name, template)
        partners.add(other)
        if other not in lq.sizes:
            problems.append(f"{lq.root}: has no '{other}', the LR of '{to_name(name)}' in {gt.root}")
        elif (height, width) != tuple(side * scale for side in lq.sizes[other]):
            h, w = lq.sizes[other]
            problems.append(
                f"{gt.root}: '{name}' is {height}x{width}, its LR in {lq.root} is {h}x{w}: not {scale} times smaller"
            )
    problems += [f"{gt.root}: has no GT for '{name}' in {lq.root}" for name in lq.sizes.keys() - partners]
    return problems
