"""LMDB image stores that BasicSR's ``io_backend: lmdb`` reads.

A store is a folder ``NAME.lmdb`` of

- ``data.mdb``: key → encoded image. Keys are ASCII without dots, since BasicSR encodes them as ASCII and cuts them at
  the first dot; other characters of a name are percent-encoded.
- ``meta_info.txt``: BasicSR's list of keys.
- ``checksums.tsv``: size and checksum of every image, for `hat_arch.data.check`.
- ``recipe.json``: how it was made.

It is built in ``.NAME.lmdb.partial`` and renamed when it is complete. An image is in ``checksums.tsv`` only after it
was committed to ``data.mdb``, so that a build that was killed goes on where it stopped.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import lmdb
from filelock import FileLock, Timeout

from ..utils.files import FULL, OutOfSpace, digest
from .images import DataError, Image, encode

FIRST_MAP = 64 * 2**20  # bytes; grows with the content
BATCH = 32 * 2**20  # bytes of a transaction
MAX_KEY = 511  # bytes, LMDB's limit
CHECKSUMS, META, RECIPE = "checksums.tsv", "meta_info.txt", "recipe.json"


class Entry(NamedTuple):
    """One image of a store."""

    key: str
    data: bytes
    height: int
    width: int
    channels: int
    suffix: str = ".png"


class Record(NamedTuple):
    """What a store keeps of an image beside it: a line of ``checksums.tsv``."""

    key: str
    digest: str
    height: int
    width: int
    channels: int
    suffix: str

    def line(self) -> str:
        return "\t".join(map(str, self)) + "\n"

    @classmethod
    def parse(cls, line: str) -> Record:
        key, checksum, height, width, channels, suffix = line.rstrip("\n").split("\t")
        return cls(key, checksum, int(height), int(width), int(channels), suffix)


def to_key(name: str) -> str:
    """Key of an image: its name, percent-encoded where BasicSR could not read it.

    >>> to_key("n01/café.v2")
    'n01/caf%C3%A9%2Ev2'
    """
    key = quote(name, safe="/!#$&'()*+,;=@[]^`{}|<>").replace(".", "%2E")
    if len(key) > MAX_KEY:
        raise DataError(f"{name}: is too long for a key of an LMDB store ({len(key)} > {MAX_KEY} bytes)")
    return key


def to_name(key: str) -> str:
    """Undoes `to_key`."""
    return unquote(key)


class StoreWriter:
    """Builds one store, or goes on building it. A context manager; `finish` gives the store its name.

    Args:
        path: the store; its name must end in ``.lmdb``.
        recipe: what it is made of and how. A build goes on only if it was begun with the same recipe.
        overwrite: replace a store that exists, when the new one is complete.

    Raises:
        DataError: the store exists, was begun with another recipe, or is being written by another process.
    """

    def __init__(self, path: Path, recipe: dict[str, Any], overwrite: bool = False) -> None:
        if path.suffix != ".lmdb":
            raise DataError(f"{path}: the name of an LMDB store must end in .lmdb")
        if path.exists() and not overwrite:
            raise DataError(f"{path}: exists; delete it, give another name, or say --overwrite")
        self.path = path
        self.partial = path.with_name(f".{path.name}.partial")
        self.partial.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self.partial / "lock", timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise DataError(f"{path}: another process is making it") from None
        try:
            self._check_recipe(recipe)
            self.records = {record.key: record for record in _read_records(self.partial / CHECKSUMS)}
            _write(self.partial / CHECKSUMS, "".join(r.line() for r in self.records.values()))  # no torn last line
            self._journal = (self.partial / CHECKSUMS).open("a", encoding="utf-8")
            self._environment = lmdb.open(str(self.partial), map_size=max(FIRST_MAP, _stored(self.partial)), lock=False)
        except (OSError, lmdb.Error) as error:
            self._lock.release()
            raise self._explained(error) from error
        except DataError:
            self._lock.release()
            raise
        self._batch: list[Entry] = []
        self.pending = 0
        """Bytes that were added and not yet flushed."""
        self._failed = False

    def _check_recipe(self, recipe: dict[str, Any]) -> None:
        file = self.partial / RECIPE
        begun = json.loads(file.read_text(encoding="utf-8")) if file.exists() else recipe
        if other := differences(begun, recipe):
            raise DataError(f"{self.partial}: was begun with {other}; delete it to begin anew")
        _write(file, json.dumps(recipe, indent=1, ensure_ascii=False) + "\n")

    def __contains__(self, key: str) -> bool:
        return key in self.records

    def add(self, entry: Entry) -> None:
        """Adds an image, or passes over one that is in the store; it is on disk after `flush`.

        Raises:
            OutOfSpace: the disk is full; everything flushed before is kept.
        """
        if entry.key in self.records:
            return
        self._batch.append(entry)
        self.pending += len(entry.data)
        if self.pending >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Commits what was added."""
        if not self._batch:
            return
        batch = sorted(self._batch, key=lambda entry: entry.key)
        self._failed = True  # until it has succeeded
        while True:
            try:
                with self._environment.begin(write=True) as transaction:
                    for entry in batch:
                        transaction.put(entry.key.encode("ascii"), entry.data)
                break
            except lmdb.MapFullError:
                self._environment.set_mapsize(self._environment.info()["map_size"] * 2)
            except lmdb.Error as error:
                raise self._explained(error) from error
        try:
            for entry in batch:
                record = Record(entry.key, digest(entry.data), *entry[2:])
                self._journal.write(record.line())
                self.records[entry.key] = record
            self._journal.flush()
        except OSError as error:
            raise self._explained(error) from error
        self._batch, self.pending, self._failed = [], 0, False

    def _explained(self, error: Exception) -> Exception:
        text = str(error)
        if any(os.strerror(code) in text for code in FULL):
            return OutOfSpace(f"{self.path}: no space left on the disk; make room and repeat the command to go on")
        if os.strerror(errno.EIO) in text:  # what LMDB says when it could write but a part
            return OutOfSpace(
                f"{self.path}: no space left on the disk, or it fails; make room and repeat the command to go on"
            )
        return DataError(f"{self.path}: {text}")

    def finish(self, keys: Iterable[str] | None = None) -> int:
        """Gives the complete store its name.

        Args:
            keys: all keys it must hold; others, from sources that are gone, are removed. By default what was added.

        Returns:
            Number of images.
        """
        self.flush()
        wanted = set(self.records if keys is None else keys)
        missing = wanted - self.records.keys()
        if missing:
            raise DataError(f"{self.path}: {len(missing)} images were never added, such as {min(missing)}")
        with self._environment.begin(write=True) as transaction:
            for key in self.records.keys() - wanted:
                transaction.delete(key.encode("ascii"))
        records = [self.records[key] for key in sorted(wanted)]
        try:
            self._environment.sync(True)
            level = 1  # zlib's; BasicSR's format wants it, its reader ignores it
            lines = (f"{r.key}{r.suffix} ({r.height},{r.width},{r.channels}) {level}\n" for r in records)
            _write(self.partial / META, "".join(lines))
            _write(self.partial / CHECKSUMS, "".join(r.line() for r in records))
        except (OSError, lmdb.Error) as error:
            raise self._explained(error) from error
        self.close()
        (self.partial / "lock").unlink(missing_ok=True)
        old = self.path.with_name(f".{self.path.name}.old")
        if self.path.exists():  # --overwrite
            shutil.rmtree(old, ignore_errors=True)
            self.path.replace(old)
        self.partial.replace(self.path)
        shutil.rmtree(old, ignore_errors=True)
        return len(records)

    def close(self) -> None:
        with suppress(OSError):  # a full disk, which `flush` told of: the lines that it could not write are lost
            self._journal.close()
        self._environment.close()
        self._lock.release()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if not self._failed:
                self.flush()  # what is done is kept, whatever happened
        finally:
            self.close()


def differences(made: dict[str, Any], wanted: dict[str, Any]) -> str:
    """Where two recipes differ: what the first says there; empty if they are the same."""
    keys = sorted(key for key in {*made, *wanted} if key != "sources" and made.get(key) != wanted.get(key))
    return ", ".join(f"{key} {made.get(key)!r}" for key in keys)


def _write(file: Path, text: str) -> None:
    """Writes a file that is never half there."""
    partial = file.with_name(f"{file.name}.new")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)


def _stored(folder: Path) -> int:
    file = folder / "data.mdb"
    return file.stat().st_size if file.exists() else 0


def _read_records(file: Path) -> Iterator[Record]:
    if not file.exists():
        return
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        if line.endswith("\n"):  # else torn by a kill
            yield Record.parse(line)


def read_records(store: Path) -> dict[str, Record] | None:
    """Checksums of a store, by key; None if it has none, as BasicSR's own."""
    file = store / CHECKSUMS
    return {record.key: record for record in _read_records(file)} if file.is_file() else None


def read_recipe(store: Path) -> dict[str, Any]:
    """How a store or folder was made; empty if nothing says so."""
    for file in (store / RECIPE, store / f".{RECIPE}"):
        if file.is_file():
            return json.loads(file.read_text(encoding="utf-8"))
    return {}


def write_store(path: Path, images: Iterable[tuple[str, Image]], suffix: str = ".png") -> int:
    """Packs images, ``(H, W, 3)`` BGR or ``(H, W)``, as PNG or ``.bmp`` into a new store.

    Returns:
        Number of images.

    Raises:
        DataError: the store exists, or a name is no key.
    """
    with StoreWriter(path, {}) as store:
        for name, image in images:
            height, width, channels = (*image.shape, 1)[:3]
            store.add(Entry(to_key(name), encode(image, suffix), height, width, channels, suffix))
        return store.finish()
