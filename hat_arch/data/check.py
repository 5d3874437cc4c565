"""Checks data sets: every image is there, whole, of the size it should have, once, and paired."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import lmdb

from ..utils.files import digest
from .benchmark_sets import ALL_SETS
from .images import DataError, ImageError, find, lq_name, read_bytes, verify
from .lmdb_store import CHECKSUMS, META, read_records, require_whole, to_name
from .parallel import map_images
from .prepare import DF2K_SOURCES, DF2K_SUB_IMAGES
from .recipes import read_recipe
from .sub_images import SubImages

ALONE = """
import importlib.util, pickle, sys
from pathlib import Path
spec = importlib.util.find_spec("hat_arch")
sys.modules["hat_arch"] = importlib.util.module_from_spec(spec)  # without its __init__, which takes seconds
from hat_arch.data.check import read_store
sys.stdout.buffer.write(pickle.dumps(read_store(Path(sys.argv[1]))))
"""
"""The program of `_read_store_apart`."""


@dataclass
class Contents:
    """What a folder or store was found to hold."""

    root: Path
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Name of an image (path without suffix, or key) → height and width."""
    problems: list[str] = field(default_factory=list)
    """A line for each, naming the image."""
    notes: list[str] = field(default_factory=list)
    """What may be meant so: a line for each."""


def contents(root: Path) -> Contents:
    """Reads and verifies all images of a folder or LMDB store.

    Raises:
        DataError: there is no such folder or store, or no image in it.
    """
    found = _read_store_apart(root) if root.suffix == ".lmdb" else _read_folder(root)
    try:
        _check_count(found)
    except DataError as error:  # of a damaged recipe
        found.problems.append(str(error))
    return found


def _read_folder(root: Path) -> Contents:
    found = Contents(root)
    files: dict[str, Path] = {}

    def examine(path: Path) -> tuple[int, int]:
        header = verify(read_bytes(path), path)
        return header.height, header.width

    for path, size in map_images(examine, find(root), found.problems, f"check {root.name}"):
        name = path.relative_to(root).with_suffix("").as_posix()
        other = files.setdefault(name, path)
        if other is not path:
            found.problems.append(f"{other} and {path}: have the same name; keep or rename one")
        found.sizes[name] = size
    return found


def _read_store_apart(root: Path) -> Contents:
    """`read_store` in a process of its own, since LMDB may crash on a damaged file."""
    if not root.is_dir():
        raise DataError(f"{root}: no such store")
    command = [sys.executable, "-c", ALONE, str(root)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    # in a session of its own, so that Ctrl-C comes to this process alone, which then ends the other
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            output, _ = process.communicate()
        finally:
            process.kill()
    if process.returncode < 0:
        crash = f"reading it ended with signal {-process.returncode}"
        return Contents(root, problems=[f"{root}/data.mdb: is damaged ({crash}); make the store anew"])
    return pickle.loads(output)


def read_store(root: Path) -> Contents:
    """Reads and verifies all images of an LMDB store. May crash if ``data.mdb`` is damaged."""
    found = Contents(root)
    missing = [name for name in ("data.mdb", META) if not (root / name).is_file()]
    found.problems += [f"{root}: has no {name}; make the store anew" for name in missing]
    if missing:
        return found
    try:
        require_whole(root)
        with lmdb.open(str(root), readonly=True, lock=False, readahead=False) as environment:
            _check_images(environment, _check_keys(environment, found), found)
    except DataError as error:
        found.problems.append(str(error))
    except lmdb.Error as error:
        found.problems.append(f"{root}/data.mdb: is damaged ({error}); make the store anew")
    return found


def _check_keys(environment: lmdb.Environment, found: Contents) -> dict[str, tuple[int, int] | None]:
    """Compares the keys of a store with its lists.

    Returns:
        Key of every image that is stored and listed → height and width, None if ``meta_info.txt`` does not tell.
    """
    root, problems = found.root, found.problems
    listed: dict[str, tuple[int, int] | None] = {}
    for number, line in enumerate((root / META).read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        key, _, rest = line.strip().partition(".")  # such as 0001.png (480,480,3) 1
        if key in listed:
            problems.append(f"{root}/{META}, line {number}: '{key}' is listed twice")
        size = re.search(r" \((\d+),(\d+)", rest)
        listed[key] = (int(size[1]), int(size[2])) if size else None
    with environment.begin() as transaction:
        stored = {key.decode("utf-8", "backslashreplace") for key in transaction.cursor().iternext(values=False)}
    recorded = read_records(root) or {}
    for file, keys in ((META, listed.keys()), (CHECKSUMS, recorded.keys() - listed.keys())):
        problems += [f"{root}: has no key '{key}', which {file} lists" for key in sorted(keys - stored)]
    unseen = sorted(stored - listed.keys())
    problems += [f"{root}: key '{key}' is not in {META}, so that BasicSR would not see it" for key in unseen]
    return {key: listed[key] for key in sorted(listed.keys() & stored)}


def _check_images(environment: lmdb.Environment, listed: dict[str, tuple[int, int] | None], found: Contents) -> None:
    """Compares images with their checksums, or decodes them where the store has none."""
    root, records = found.root, read_records(found.root) or {}

    def examine(key: str) -> tuple[int, int]:
        with environment.begin() as transaction:
            data = transaction.get(key.encode()) or b""
        record = records.get(key)
        if record is None:
            header = verify(data, f"{root}: '{key}'")
            return header.height, header.width
        if record.digest != (checksum := digest(data)):
            raise ImageError(f"{root}: '{key}' is damaged (its checksum is {checksum}, not {record.digest})")
        return record.height, record.width

    for key, size in map_images(examine, listed, found.problems, f"check {root.name}"):
        found.sizes[key] = size
        if listed[key] not in (None, size):
            found.problems.append(f"{root}: '{key}' is {size[0]}x{size[1]}, and {META} says otherwise")


def _check_count(found: Contents) -> None:
    """Compares the number of images with that of DF2K, or of the benchmark that the folder is named after."""
    root, count, recipe = found.root, len(found.sizes), read_recipe(found.root)
    as_df2k = all(recipe.get(option) == pixels for option, pixels in vars(SubImages()).items())
    if recipe.get("made_by") == "prepare df2k" and as_df2k:
        if recipe["sources"] != DF2K_SOURCES:
            there = f"was made from {recipe['sources']:,} images"
            found.notes.append(f"{root}: {there}; DF2K has {DF2K_SOURCES:,} (DIV2K 800, Flickr2K 2,650)")
        elif count != DF2K_SUB_IMAGES:
            found.problems.append(f"{root}: has {count:,} sub-images; DF2K has {DF2K_SUB_IMAGES:,}")
    for benchmark in ALL_SETS:
        if root.parent.name == benchmark.folder:
            sizes = found.sizes.values() if root.name.upper().startswith(("GT", "HR")) else ()
            if complaint := benchmark.complaint(count, sizes):
                found.problems.append(f"{root}: {complaint}")


def pairs(gt: Contents, lq: Contents, scale: int, template: str = "{}") -> list[str]:
    """Problems of a paired set: an image without partner, or a GT that is not ``scale`` times its LR.

    Args:
        gt: ground truth.
        lq: low resolution.
        scale: GT side / LR side.
        template: BasicSR's ``filename_tmpl``: name of the LR of a GT, such as ``{}x4``.
    """
    problems, partners = [], set()
    for name, (height, width) in gt.sizes.items():
        partner = lq_name(name, template)
        partners.add(partner)
        if partner not in lq.sizes:
            problems.append(f"{lq.root}: has no '{partner}', the LR of '{to_name(name)}' in {gt.root}")
            continue
        h, w = lq.sizes[partner]
        if (height, width) != (h * scale, w * scale):
            sizes = f"is {height}x{width}, its LR in {lq.root} is {h}x{w}"
            problems.append(f"{gt.root}: '{name}' {sizes}: not {scale} times smaller")
    problems += [f"{gt.root}: has no GT for '{name}' in {lq.root}" for name in lq.sizes.keys() - partners]
    return problems
