"""Fills folders and LMDB stores with what is made of the images of a folder: resumable, with one report."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..utils.files import write_file
from .images import DataError, EncodedImage
from .lmdb_store import BATCH, StoreWriter, read_records, to_key
from .parallel import map_images
from .recipes import FOLDER_RECIPE, differences, read_recipe, write_recipe

Made = dict[Path, list[EncodedImage]]
"""Folder or store → images that go there."""


@dataclass
class Outcome:
    """How many images a command wrote, how many were there already, and which it could not use."""

    written: int = 0
    there_already: int = 0
    bad: list[str] = field(default_factory=list)
    """A line for each image that could not be used."""


class FolderWriter:
    """Fills a folder with PNG files, each of them there as a whole or not at all.

    Args:
        path: the folder.
        recipe: what it is made of and how; ``source`` is its source's path.
        overwrite: make again what is there, by whatever recipe.

    Raises:
        DataError: it was made by another recipe, holds other files, is no folder, or is inside the source.
    """

    def __init__(self, path: Path, recipe: dict[str, Any], overwrite: bool) -> None:
        self.path, self.overwrite = path, overwrite
        source, remedy = recipe["source"], "empty it, name another folder, or say --overwrite"
        if path.exists() and not path.is_dir():
            raise DataError(f"{path}: is not a folder")
        if path.resolve().is_relative_to(source):
            raise DataError(f"{path}: is inside {source}, and would be read the next time; name another folder")
        unfinished = f".{FOLDER_RECIPE}.partial"  # of a run that was killed at once
        if path.is_dir() and any(p.name != unfinished for p in path.iterdir()) and not overwrite:
            made = read_recipe(path)
            if not made:
                raise DataError(f"{path}: holds other files; {remedy}")
            if other := differences(made, recipe):
                raise DataError(f"{path}: was made with {other}; {remedy}")
        write_recipe(path / FOLDER_RECIPE, recipe)

    def lacks(self, name: str, source: Path) -> bool:
        """Whether the file is to be written: it is not there, or older than its source."""
        file = self.path / f"{name}.png"
        if self.overwrite or not file.exists():
            return True
        return source.exists() and file.stat().st_mtime_ns < source.stat().st_mtime_ns

    def add(self, image: EncodedImage) -> None:
        write_file(self.path / f"{image.name}.png", image.data)


def build(
    recipes: dict[Path, dict[str, Any]],
    names: dict[Path, list[str]],
    make: Callable[[Path], Made],
    overwrite: bool,
    label: str,
    skip_bad: bool = False,
    bad: Collection[str] = (),
) -> Outcome:
    """Fills folders or stores with images of the same names, such as GT and LR, side by side.

    What is there already is not made again. With a bad image, and without ``skip_bad``, stores stay unfinished: mend
    the image and repeat, and they go on.

    Args:
        recipes: folder, or store (its name ends in ``.lmdb``) → what it is made of, and how.
        names: source image → names of what is made of it.
        make: makes the images of a source; raises `ImageError` if it cannot be used.
        overwrite: replace what exists.
        label: name of the progress bar.
        skip_bad: finish without the images that cannot be used.
        bad: a line for each image that is known already not to be usable.

    Raises:
        DataError: a folder or store that exists is not what would be made.
        OutOfSpace: the disk is full; what is complete is kept.
    """
    outcome = Outcome(bad=list(bad))
    wanted = {name for of_source in names.values() for name in of_source}
    todo_recipes = {p: r for p, r in recipes.items() if overwrite or not _is_finished(p, r, wanted, skip_bad)}
    with ExitStack() as stack:
        writers: dict[Path, FolderWriter | StoreWriter] = {}
        for path, recipe in todo_recipes.items():
            if path.suffix == ".lmdb":
                writers[path] = stack.enter_context(StoreWriter(path, recipe, overwrite))
            else:
                writers[path] = FolderWriter(path, recipe, overwrite)
        stores = [writer for writer in writers.values() if isinstance(writer, StoreWriter)]
        todo = [f for f in names if any(w.lacks(name, f) for w in writers.values() for name in names[f])]
        failed = set(todo)
        for source, made in map_images(make, todo, outcome.bad, label):
            failed.discard(source)
            for path, writer in writers.items():
                new = [image for image in made[path] if writer.lacks(image.name, source)]
                outcome.written += len(new)
                for image in new:
                    writer.add(image)
            if sum(store.pending for store in stores) >= BATCH:
                for store in stores:  # together, so that all go on from the same place
                    store.flush()
        wanted -= {name for source in failed for name in names[source]}
        outcome.there_already = len(wanted) * len(recipes) - outcome.written
        if skip_bad or not outcome.bad:
            for store in stores:
                store.finish(wanted)
    return outcome


def _is_finished(path: Path, recipe: dict[str, Any], wanted: set[str], skip_bad: bool) -> bool:
    """Whether a store is there already. Raises a `DataError` if it is not what would be made."""
    if path.suffix != ".lmdb" or not path.exists():
        return False
    remedy = "delete it, give another name, or say --overwrite"
    records, keys = read_records(path), set(map(to_key, wanted))
    if records is None or not (made := read_recipe(path)):
        raise DataError(f"{path}: exists and does not say how it was made; {remedy}")
    if other := differences(made, recipe):
        raise DataError(f"{path}: exists, made with {other}; {remedy}")
    if records.keys() - keys or (keys - records.keys() and not skip_bad):
        raise DataError(f"{path}: exists, with {len(records)} images, and {len(keys)} would be made; {remedy}")
    return True
