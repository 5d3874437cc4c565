"""Makes whole data sets in the layout that the option files expect, straight from the published images."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from . import folders, parallel
from .benchmark_sets import BENCHMARK_SETS, HR_FOLDERS
from .folders import Outcome, SubImages, cut, peek, stems, sub_image_name
from .images import DataError, ImageError, encode, find, read, read_bytes, verify
from .lmdb_store import BATCH, Entry, OutOfSpace, StoreWriter, differences, read_recipe, read_records, to_key
from .resize import Convention, imresize

DF2K_SOURCES, DF2K_SUB_IMAGES = 3450, 139_995
WARM_UP = 8  # sources after which the size of the whole is estimated


def pack(source: Path, store: Path, strip: str = "", overwrite: bool = False, skip_bad: bool = False) -> Outcome:
    """Packs the images of a folder, byte for byte, into an LMDB store. Keys are their paths without suffix.

    Args:
        source: folder of images.
        store: its name must end in ``.lmdb``.
        strip: dropped from the end of every name, such as ``x4``, so that GT and LR have the same keys.
        overwrite: replace a store that exists.
        skip_bad: make the store even if some images cannot be used.
    """
    names = stems(find(source), source, strip)
    recipe = {"made_by": "lmdb", "source": str(source.resolve()), "strip": strip}

    def make(file: Path) -> list[list[Entry]]:
        data = read_bytes(file)
        header = verify(data, file)
        return [[Entry(to_key(names[file]), data, header.height, header.width, header.channels, header.suffix)]]

    keys = {file: [to_key(name)] for file, name in names.items()}
    return _fill({store: recipe}, keys, make, overwrite, skip_bad, Outcome(), f"{store.name}")


def df2k(
    source: Path,
    target: Path,
    scales: Sequence[int] = (2, 3, 4),
    how: SubImages = SubImages(),  # noqa: B008 (frozen)
    convention: Convention = "uint8",
    overwrite: bool = False,
    skip_bad: bool = False,
    name: str = "DF2K",
    suffix: str = ".png",
) -> Outcome:
    """Cuts photographs and their bicubic LR into sub-images: ``DF2K_HR_sub.lmdb``, ``DF2K_bicx2_sub.lmdb``, ….

    Each photograph is cropped to a multiple of all scales, reduced as a whole, and then cut.

    Args:
        source: folder with DIV2K's and Flickr2K's HR images below it, or any photographs.
        target: folder of the stores.
        scales: of the LR.
        how: sub-images of the HR; size, step and threshold must be multiples of all scales.
        convention: how `hat_arch.data.resize.imresize` rounds.
        overwrite: replace stores that exist.
        skip_bad: make the stores even if some images cannot be used.
        name: beginning of the stores' names.
        suffix: ``.png``, or ``.bmp``: uncompressed, twice as large and far faster to decode.
    """
    common = math.lcm(12, *scales)  # so that scales can be added later
    for key, value in vars(how).items():
        if value % common:
            raise DataError(f"--{key} {value}: is not a multiple of {common}, which the scales need")
    files = find(source)
    names = {file: Path(name).name for file, name in stems(files, source).items()}
    outcome = Outcome()
    keys: dict[Path, list[str]] = {}
    taken: dict[str, Path] = {}
    for file, (height, width) in parallel.run(peek, files, outcome.bad, label="sizes"):
        try:
            corners = how.corners(height - height % common, width - width % common, file)
        except ImageError as error:
            outcome.bad.append(str(error))
            continue
        keys[file] = [to_key(sub_image_name(names[file], n + 1)) for n in range(len(corners))]
        other = taken.setdefault(keys[file][0], file)
        if other is not file:
            raise DataError(f"{other} and {file}: would get the same names; rename one of them")

    def make(file: Path) -> list[list[Entry]]:
        gt = cut(read(file), common, file)
        images = [(1, gt), *((scale, imresize(gt, 1 / scale, convention=convention)) for scale in scales)]
        result = []
        for scale, image in images:
            squares, channels, entries = how.divided(scale), 1 if image.ndim == 2 else 3, []
            size = squares.size
            for key, (top, left) in zip(keys[file], squares.corners(image.shape[0], image.shape[1], file)):
                square = image[top : top + size, left : left + size]
                entries.append(Entry(key, encode(square, suffix), size, size, channels, suffix))
            result.append(entries)
        return result

    recipe = {
        "made_by": "prepare df2k",
        "source": str(source.resolve()),
        "sources": len(files),
        "modcrop": common,
        "format": suffix,
        **vars(how),
    }
    recipes = {target / f"{name}_HR_sub.lmdb": {**recipe, "scale": 1}}
    for scale in scales:
        recipes[target / f"{name}_bicx{scale}_sub.lmdb"] = {**recipe, "scale": scale, "convention": convention}
    return _fill(recipes, keys, make, overwrite, skip_bad, outcome, name)


def imagenet(source: Path, target: Path, overwrite: bool = False, skip_bad: bool = False) -> Outcome:
    """Packs ImageNet's training images, byte for byte, into ``GT.lmdb``; `ImageNetPairedDataset` makes the LR."""
    return pack(source, target / "GT.lmdb", overwrite=overwrite, skip_bad=skip_bad)


def benchmarks(
    source: Path, target: Path, scales: Sequence[int] = (2, 3, 4), overwrite: bool = False
) -> dict[str, Outcome]:
    """Makes ``Set5/GTmod4/``, ``Set5/LRbicx4/`` and so on, for each of the five sets that are below ``source``.

    LR as published with SwinIR and HAT: MATLAB's bicubic of the cropped uint8 image, rounded after each side.

    Returns:
        Name of a set → what was done; ``written`` and ``there_already`` count GT and LR files.

    Raises:
        DataError: none of the sets is there.
    """
    outcomes: dict[str, Outcome] = {}
    for benchmark in BENCHMARK_SETS:
        name, folder = benchmark.folder, _benchmark_folder(source, benchmark.folder_names)
        if folder is None:
            continue
        total = outcomes[name] = Outcome()
        for scale in scales:
            gt, lr = target / name / f"GTmod{scale}", target / name / f"LRbicx{scale}"
            steps = [folders.modcrop(folder, gt, scale, overwrite)]
            if not steps[0].bad:
                steps.append(folders.downsample(gt, {scale: lr}, "uint8", overwrite))
            for step in steps:
                total.written += step.written
                total.there_already += step.there_already
                total.bad += [line for line in step.bad if line not in total.bad]
                total.unexpected += step.unexpected
    if not outcomes:
        raise DataError(f"{source}: none of {', '.join(benchmark.folder for benchmark in BENCHMARK_SETS)} is below it")
    return outcomes


def _benchmark_folder(source: Path, names: Iterable[str]) -> Path | None:
    """Folder of a benchmark's images: ``source`` itself or below it, in one of `HR_FOLDERS` if it has such."""
    if not source.is_dir():
        raise DataError(f"{source}: no such folder")
    candidates = [source, *sorted(path for path in source.iterdir() if path.is_dir())]
    for folder in candidates:
        if folder.name.lower() in names:
            return next((folder / hr for hr in HR_FOLDERS if (folder / hr).is_dir()), folder)
    return None


def _fill(
    recipes: dict[Path, dict[str, Any]],
    keys: dict[Path, list[str]],
    make: Callable[[Path], list[list[Entry]]],
    overwrite: bool,
    skip_bad: bool,
    outcome: Outcome,
    label: str,
) -> Outcome:
    """Fills stores side by side; ``make(source)`` gives the entries for each of them.

    With a bad image, and without ``skip_bad``, the stores stay unfinished: mend it and repeat, and they go on.
    """
    wanted = {key for of_file in keys.values() for key in of_file}
    finished = [store for store in recipes if store.exists() and not overwrite]
    for path in finished:
        _refuse_other(path, recipes[path], wanted, skip_bad)
    with ExitStack() as stack:
        stores = {
            n: stack.enter_context(StoreWriter(path, recipe, overwrite))
            for n, (path, recipe) in enumerate(recipes.items())
            if path not in finished
        }
        todo = [f for f, of_file in keys.items() if any(k not in s for s in stores.values() for k in of_file)]
        outcome.there_already = len(wanted) - sum(len(keys[file]) for file in todo)
        space = _Space(next(iter(recipes)).parent, sum(file.stat().st_size for file in todo if file.exists()))
        failed = set(todo)
        for file, made in parallel.run(make, todo, outcome.bad, label=label):
            failed.discard(file)
            for n, store in stores.items():
                for entry in made[n]:
                    store.add(entry)
            if sum(store.pending for store in stores.values()) >= BATCH:
                for store in stores.values():  # together, so that all go on from the same place
                    store.flush()
            outcome.written += len(made[0])
            space.check(file.stat().st_size, sum(len(e.data) for entries in made for e in entries))
        if outcome.bad and not skip_bad:
            return outcome
        for store in stores.values():
            store.finish(wanted - {key for file in failed for key in keys[file]})
    return outcome


def _refuse_other(store: Path, recipe: dict[str, Any], wanted: set[str], skip_bad: bool) -> None:
    """A store that is there must be what would be made."""
    remedy = "delete it, give another name, or say --overwrite"
    made, records = read_recipe(store), read_records(store)
    if records is None:
        raise DataError(f"{store}: exists and does not say how it was made; {remedy}")
    if other := differences(made, recipe):
        raise DataError(f"{store}: exists, made with {other}; {remedy}")
    if records.keys() - wanted or (wanted - records.keys() and not skip_bad):
        raise DataError(f"{store}: exists, with {len(records)} images, and {len(wanted)} would be made; {remedy}")


class _Space:
    """Stops a build early that the disk has no room for, from what the first images came to."""

    def __init__(self, folder: Path, total: int) -> None:
        self.folder, self.remaining = folder, total
        self.read = self.made = self.count = 0

    def check(self, read: int, made: int) -> None:
        self.read, self.made, self.remaining = self.read + read, self.made + made, self.remaining - read
        self.count += 1
        if self.count % WARM_UP:
            return
        needed = self.made / self.read * self.remaining
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise OutOfSpace(
                f"{self.folder}: needs about {needed / 2**30:.1f} GiB more, and {free / 2**30:.1f} GiB are free; make "
                "room and repeat the command to go on"
            )
