"""LMDB image stores that BasicSR's ``io_backend: lmdb`` reads.

A store is a folder ``NAME.lmdb`` of

- ``data.mdb``: key → encoded image. Keys are ASCII without dots, since BasicSR encodes them as ASCII and cuts them at
  the first dot; other characters of a name are percent-encoded.
- ``meta_info.txt``: BasicSR's list of keys.
- ``checksums.tsv``: size and checksum of every image, for `hat_arch.data.check`.
- ``recipe.json``: how it was made.

It is built in ``.NAME.lmdb.partial`` and renamed when it is complete. While it is built, the lines of ``checksums.tsv``
are in ``data.mdb`` too, in a database of their own: image and line are committed together, so that a build that was
killed knows what it has, and goes on from there.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import lmdb
from filelock import FileLock, Timeout

from ..utils.files import FULL, OutOfSpace, digest, write_file
from .images import DataError, EncodedImage, Image, encoded
from .recipes import STORE_RECIPE, differences, read_recipe, write_recipe

FIRST_MAP = 64 * 2**20  # bytes of address space; doubled when the images need more
BATCH = 32 * 2**20  # bytes of images in a transaction
MAX_KEY = 511  # bytes, LMDB's limit
CHECKSUMS, META = "checksums.tsv", "meta_info.txt"
RECORDS = b".checksums"  # name of the database; no image's key has a dot


class Record(NamedTuple):
    """What a store knows of an image: a line of ``checksums.tsv``."""

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
    key = quote(name, safe="/!#$&'()*+,;=@[]^`{}|<>", errors="surrogateescape").replace(".", "%2E")
    if len(key) > MAX_KEY:
        raise DataError(f"{name}: is too long for a key of an LMDB store ({len(key)} > {MAX_KEY} bytes)")
    return key


def to_name(key: str) -> str:
    """Undoes `to_key`."""
    return unquote(key, errors="surrogateescape")


class StoreWriter:
    """Builds one store, or goes on building it. A context manager; `finish` gives the store its name.

    Args:
        path: the store; its name must end in ``.lmdb``.
        recipe: what it is made of and how. A build goes on only if it was begun with the same recipe.
        overwrite: replace a store that exists, when the new one is complete.

    Raises:
        DataError: the store exists, was begun with another recipe, or is being written by another process.
        OutOfSpace: the disk is full.
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
            if other := differences(read_recipe(self.partial) or recipe, recipe):
                raise DataError(f"{self.partial}: was begun with {other}; delete it to begin anew")
            write_recipe(self.partial / STORE_RECIPE, recipe)
            self._open()
        except BaseException:
            self._lock.release()
            raise
        self._batch: dict[str, EncodedImage] = {}
        self.pending = 0
        """Bytes of images that were added and are not on the disk yet."""

    def _open(self) -> None:
        file = self.partial / "data.mdb"
        size = max(FIRST_MAP, file.stat().st_size if file.exists() else 0)
        with _lmdb_errors(self.path):
            self._environment = lmdb.open(str(self.partial), map_size=size, max_dbs=1, lock=False)
            self._record_db = self._environment.open_db(RECORDS)
            with self._environment.begin(db=self._record_db) as transaction:
                lines = {key.decode(): line.decode() for key, line in transaction.cursor()}
        # a build that was killed as it finished has the file, and perhaps no lines any more
        self.records = {**(read_records(self.partial) or {}), **{key: Record.parse(lines[key]) for key in lines}}

    def lacks(self, name: str, source: Path | None = None) -> bool:
        """Whether an image of this name has still to be added."""
        return to_key(name) not in self.records

    def add(self, image: EncodedImage) -> None:
        """Adds an image; it is on the disk after `flush`.

        Raises:
            OutOfSpace: the disk is full; everything flushed before is kept.
        """
        self._batch[to_key(image.name)] = image
        self.pending += len(image.data)
        if self.pending >= BATCH:
            self.flush()

    def flush(self) -> None:
        """Commits what was added: all of it, or, if that fails, nothing of it."""
        batch, self._batch, self.pending = self._batch, {}, 0
        records = {key: Record(key, digest(image.data), *vars(image.header).values()) for key, image in batch.items()}
        while batch:
            try:
                with _lmdb_errors(self.path), self._environment.begin(write=True) as transaction:
                    for key in sorted(batch):
                        transaction.put(key.encode("ascii"), batch[key].data)
                        transaction.put(key.encode("ascii"), records[key].line().encode(), db=self._record_db)
                break
            except lmdb.MapFullError:
                self._environment.set_mapsize(self._environment.info()["map_size"] * 2)
        self.records.update(records)

    def finish(self, names: Iterable[str] | None = None) -> None:
        """Gives the complete store its name.

        Args:
            names: of all images it must hold; others, from sources that are gone, are removed. By default those added.
        """
        self.flush()
        wanted = set(self.records if names is None else map(to_key, names))
        if missing := wanted - self.records.keys():
            raise DataError(f"{self.path}: {len(missing)} images were never added, such as {min(missing)}")
        records = [self.records[key] for key in sorted(wanted)]
        level = 1  # zlib's; BasicSR's format wants it, its reader ignores it
        meta = (f"{r.key}{r.suffix} ({r.height},{r.width},{r.channels}) {level}\n" for r in records)
        write_file(self.partial / META, "".join(meta).encode())
        write_file(self.partial / CHECKSUMS, "".join(record.line() for record in records).encode())
        with _lmdb_errors(self.path):
            with self._environment.begin(write=True) as transaction:
                for key in self.records.keys() - wanted:
                    transaction.delete(key.encode("ascii"))
                transaction.drop(self._record_db)
            self._environment.sync(True)
            size = size_when_whole(self._environment)
        if (file := self.partial / "data.mdb").stat().st_size < size:
            os.truncate(file, size)  # LMDB does not write free pages at the end
        self.close()
        (self.partial / "lock").unlink(missing_ok=True)
        old = self.path.with_name(f".{self.path.name}.old")
        if self.path.exists():  # --overwrite
            shutil.rmtree(old, ignore_errors=True)
            self.path.replace(old)
        self.partial.replace(self.path)
        shutil.rmtree(old, ignore_errors=True)

    def close(self) -> None:
        self._environment.close()
        self._lock.release()

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.flush()  # what is done is kept, whatever happened
        finally:
            self.close()


@contextmanager
def _lmdb_errors(store: Path) -> Iterator[None]:
    """Turns errors of LMDB, except that its map is full, into errors that name the store and say what to do."""
    try:
        yield
    except lmdb.MapFullError:
        raise
    except lmdb.Error as error:
        room = "make room and repeat the command to go on"
        if any(os.strerror(code) in str(error) for code in FULL):
            raise OutOfSpace(f"{store}: no space left on the disk; {room}") from error
        if os.strerror(errno.EIO) in str(error):  # what LMDB says when it could write but a part
            raise OutOfSpace(f"{store}: no space left on the disk, or it fails; {room}") from error
        raise DataError(f"{store}: {error}") from error


def size_when_whole(environment: lmdb.Environment) -> int:
    """Bytes of ``data.mdb`` up to its last page."""
    return environment.stat()["psize"] * (environment.info()["last_pgno"] + 1)


def require_whole(store: Path) -> None:
    """Opens a store and closes it again.

    Raises:
        DataError: it is damaged, or truncated: to read beyond its end would end the process by a bus error.
    """
    file = store / "data.mdb"
    try:
        with lmdb.open(str(store), readonly=True, lock=False, readahead=False) as environment:
            size, whole = file.stat().st_size, size_when_whole(environment)
    except lmdb.Error as error:
        if "already open" in str(error):  # by this process, which has read it
            return
        raise DataError(f"{file}: is damaged ({error}); make the store anew") from error
    if size < whole:
        raise DataError(f"{file}: is truncated ({size:,} of {whole:,} bytes); make the store anew")


def keys(store: Path) -> list[str]:
    """Keys of a store's images, sorted, from its ``meta_info.txt``.

    Raises:
        DataError: it is no store, or an empty one.
    """
    if not (store / META).is_file():
        raise DataError(f"{store}: has no {META}; an LMDB store of images has one")
    lines = (store / META).read_text(encoding="utf-8-sig").splitlines()
    if not (found := {line.partition(".")[0] for line in lines if line.strip()}):
        raise DataError(f"{store}: holds no image")
    return sorted(found)


def read_records(store: Path) -> dict[str, Record] | None:
    """Sizes and checksums of a store's images, by key; None if it has none, as stores that BasicSR made.

    Raises:
        DataError: ``checksums.tsv`` is damaged.
    """
    file = store / CHECKSUMS
    if not file.is_file():
        return None
    try:
        records = [Record.parse(line) for line in file.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise DataError(f"{file}: is damaged; delete {store} and make it anew") from error
    return {record.key: record for record in records}


def write_store(path: Path, images: Iterable[tuple[str, Image]], suffix: str = ".png") -> int:
    """Packs images, ``(H, W, 3)`` BGR or ``(H, W)``, as PNG or ``.bmp`` into a new store.

    Returns:
        Number of images.

    Raises:
        DataError: the store exists, or a name is no key.
    """
    with StoreWriter(path, {}) as store:
        for name, image in images:
            store.add(encoded(name, image, suffix))
        store.finish()
        return len(store.records)
