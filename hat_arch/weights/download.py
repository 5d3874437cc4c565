"""Downloads published weights: goes on where it was stopped, and takes nothing whose checksum is another."""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock
from tqdm import tqdm

from ..utils.errors import UserError
from ..utils.files import FULL, OutOfSpace, sha256
from . import content
from .named import Model, cache

SECONDS = 30  # without an answer, or without data
TRIES = 3  # for an address whose connection breaks off
BLOCK = 2**13


class DownloadError(UserError):
    """A model could not be fetched; the message says why, and how to fetch it by hand."""


class _Failed(Exception):
    """One address has not given the file."""


def download(model: Model, mirror: str | None = None) -> Path:
    """Fetches a model's file into the `cache`, from the first of its addresses that has it.

    What has arrived is kept when it is stopped, and the next call goes on from there.

    Args:
        model: what to fetch.
        mirror: an address of a folder, in which a file of the model's file name is looked for first.

    Raises:
        DownloadError: no address has given the file.
        OutOfSpace: the disk is full.
    """
    target = cache() / model.file
    target.parent.mkdir(parents=True, exist_ok=True)
    urls = [f"{mirror.rstrip('/')}/{model.file}"] if mirror else []
    failures = []
    with FileLock(target.with_name(f".{model.file}.lock")):
        if model.path() == target:
            return target
        for url in [*urls, *model.urls]:
            try:
                _fetch(url, target, model)
                return target
            except _Failed as failure:
                failures.append(f"{urlsplit(url).netloc}: {failure}")
            except OSError as error:
                if error.errno in FULL:
                    raise OutOfSpace(
                        f"{target}: no space left on the disk; make room and repeat it to go on"
                    ) from error
                raise
    why = "; ".join(failures) or "its authors' page needs a browser"
    raise DownloadError(f"{model.name}: {why}\n{by_hand(model)}")


def by_hand(model: Model) -> str:
    """What to do where nothing can be downloaded."""
    return (
        f"By hand: get {model.file} from {model.page}\n"
        f"and put it into {cache()}, or say: basicsr models add {model.file}"
    )


def _fetch(url: str, target: Path, model: Model) -> None:
    """One address: the file arrives beside ``target`` and takes its name once it is whole and right."""
    arriving = target.with_name(f".{target.name}.arriving")
    for attempt in range(TRIES):
        before = arriving.stat().st_size if arriving.exists() else 0
        try:
            _receive(url, arriving, model)
            break
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            size = arriving.stat().st_size if arriving.exists() else 0
            if attempt + 1 == TRIES or size == before:
                broken = f"broke off after {size:,} bytes; the same command goes on from there"
                raise _Failed(broken if size else "no connection") from error
        except requests.RequestException as error:
            raise _Failed(str(error).splitlines()[0]) from error
    wrong = content.problem(arriving)
    if not wrong and model.bytes and arriving.stat().st_size != model.bytes:
        wrong = f"has {arriving.stat().st_size:,} bytes, not {model.bytes:,}"
    if not wrong and model.fits(sha256(arriving)) is False:
        wrong = f"has another checksum than {model.sha256}"
    if wrong:
        arriving.unlink()
        raise _Failed(f"what it gave {wrong}")
    arriving.replace(target)


def _receive(url: str, arriving: Path, model: Model) -> None:
    """Appends to what has arrived already, if the server can give the rest; else begins anew."""
    have = arriving.stat().st_size if arriving.exists() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    with requests.get(url, headers=headers, stream=True, timeout=SECONDS) as answer:
        if answer.status_code == requests.codes.requested_range_not_satisfiable:  # all is there, or it has changed
            if have != model.bytes:
                arriving.unlink()
                _receive(url, arriving, model)
            return
        if not answer.ok:
            raise _Failed(f"{answer.status_code} {answer.reason}")
        goes_on = answer.status_code == requests.codes.partial_content
        if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise _Failed("gave another part of the file than was asked for")
        have = have if goes_on else 0
        length = int(answer.headers.get("Content-Length", 0))
        bar = tqdm(
            total=have + length or None,
            initial=have,
            desc=model.file,
            unit="B",
            unit_scale=True,
            disable=None if sys.stderr.isatty() else True,
        )
        with bar, arriving.open("ab" if goes_on else "wb") as file:
            for block in answer.iter_content(BLOCK):
                file.write(block)
                bar.update(len(block))
        if length and arriving.stat().st_size < have + length:
            raise requests.ConnectionError("the connection ended early")
