"""Which images a user means, and which file is to be made of each."""

from __future__ import annotations

import contextlib
import glob
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..data.images import DataError, ImageError
from . import formats, pictures, video

STANDARD = "-"
"""Standard input, and output."""
VIDEOS = tuple(f".{name}" for name in video.CONTAINERS)


@dataclass
class Job:
    """An image to make of another."""

    source: Path
    target: Path
    format: str
    """One of `formats.SUFFIXES`; of a video, its suffix without the point."""
    height: int = 0
    width: int = 0
    frames: int = 1

    @property
    def pixels(self) -> int:
        """All there are to upscale; 0 if the file does not say."""
        return self.height * self.width * self.frames

    @property
    def standard_input(self) -> bool:
        return str(self.source) == STANDARD

    @property
    def standard_output(self) -> bool:
        return str(self.target) == STANDARD

    @property
    def video(self) -> bool:
        return self.source.suffix.lower() in VIDEOS


@dataclass
class Plan:
    """What is to be done."""

    jobs: list[Job]
    out: str
    """Where it all goes, in a word for the user."""
    bad: list[str] = field(default_factory=list)
    """A line for each image and folder that cannot be read."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """Suffixes of other files in folders, and how many there are."""


def plan(inputs: Sequence[str], out: str | None, format: str | None, suffix: str | None, beside: str) -> Plan:
    """Finds the images, and names what is made of them.

    Args:
        inputs: files, folders, patterns such as ``*.jpg``, and ``-``.
        out: ``-``; a file, if there is one input that is a file, and the name ends like an image; else a folder. By
            default files go beside the inputs, and folders beside folders.
        format: one of `formats.SUFFIXES`; by default what ``out`` ends in, else PNG, or the input's own if that has
            several frames or pages.
        suffix: what is added to the names of files; by default nothing, or ``beside`` if they go beside the inputs.
        beside: such as ``_x4``.

    Raises:
        DataError: no such input, no image in it, or outputs that cannot be.
    """
    if format in formats.SUFFIXES and out and out != STANDARD and formats.format_of(Path(out)) not in (None, format):
        raise DataError(f"{out}: is not named as --format {format}")
    found = Plan([], "")
    named = [source for text in inputs for source in _expanded(text)]
    one_file = len(named) == 1 and not named[0].is_dir()
    target = _target_file(out, one_file, named)
    if target is not None:
        found.out = "standard output" if str(target) == STANDARD else str(target)
        job = _job(named[0], Path(), target.stem, format or formats.format_of(target) or _video_format(target))
        job.target = target
        found.jobs = [job]
    else:
        _fill(found, named, out, format, suffix, beside)
    _check(found)
    return found


def _expanded(text: str) -> list[Path]:
    """The files and folders that one input stands for."""
    path = Path(text)
    if text == STANDARD or path.exists():
        return [path]
    if glob.has_magic(text):
        if matches := sorted(glob.glob(text, recursive=True)):  # noqa: PTH207 (whole patterns, absolute ones too)
            return [Path(match) for match in matches]
        raise DataError(f"{text}: no file fits this pattern")
    raise DataError(f"{text}: no such file or folder")


def _target_file(out: str | None, one_file: bool, named: list[Path]) -> Path | None:
    """The output as a file, or None if it is a folder, or not said.

    Raises:
        DataError: it is neither.
    """
    if out is None:
        return Path(STANDARD) if one_file and str(named[0]) == STANDARD else None
    path = Path(out)
    folder = path.is_dir() or out.endswith(("/", os.sep))
    if out != STANDARD and (folder or not (path.suffix or path.exists())):
        return None
    what = named[0] if len(named) == 1 else f"{len(named)} inputs"
    if not one_file:
        if out == STANDARD:
            raise DataError(f"{out}: standard output takes one image, not {what}")
        if path.exists():
            raise DataError(f"{out}: is not a folder; {what} need one (-o FOLDER)")
        if formats.format_of(path):
            raise DataError(f"{out}: is named as an image; {what} need a folder (end it with / if that is meant)")
        return None
    is_video = named[0].suffix.lower() in VIDEOS
    kinds = video.CONTAINERS if is_video else formats.SUFFIXES
    known = _video_format(path) if is_video else formats.format_of(path) or out == STANDARD
    if not known:
        raise DataError(f"{out}: is not named as one of the formats {', '.join(kinds)}; a folder's name ends with /")
    return path


def _video_format(path: Path) -> str | None:
    return path.suffix.lower()[1:] if path.suffix.lower() in VIDEOS else None


def _fill(found: Plan, named: list[Path], out: str | None, format: str | None, suffix: str | None, beside: str) -> None:
    """Adds a job for each image, with a target in a folder."""
    ending = beside if suffix is None and out is None else suffix or ""
    found.out = out or "files beside the originals"
    for source in named:
        if not source.is_dir():
            if str(source) == STANDARD:
                raise DataError("-: say where standard input is to go: -o FILE, or -o -")
            folder = Path(out) if out else source.parent
            found.jobs.append(_job(source, folder, source.stem + ending, format))
            if out is None and len(named) == 1:
                found.out = str(found.jobs[0].target)
            continue
        name = source.resolve().name
        base = Path(out) if out and len(named) == 1 else Path(out, name) if out else source.parent / (name + beside)
        inner = suffix or ""
        if out is None:
            found.out = str(base) if len(named) == 1 else found.out
        if base.resolve().is_relative_to(source.resolve()):
            raise DataError(f"{base}: is inside {source}, and would be read the next time; name another folder")
        before = len(found.jobs) + len(found.bad)
        for file in _images(source, found):
            found.jobs.append(_job(file, base / file.relative_to(source).parent, file.stem + inner, format))
        if len(found.jobs) + len(found.bad) == before:
            raise DataError(f"{source}: holds no image ({', '.join(pictures.SUFFIXES)})")


def _images(folder: Path, found: Plan, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """All images below a folder, sorted, hidden ones left out. Links are followed, but never back to where they are."""
    real = folder.resolve()
    if real in above:
        return
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        found.bad.append(f"{folder}: {error.strerror}")
        return
    for entry in entries:
        ending = entry.suffix.lower()
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _images(entry, found, (*above, real))
        elif ending in pictures.SUFFIXES:
            yield entry
        elif ending in pictures.NOT_READ:
            found.bad.append(f"{entry}: {ending} cannot be read; convert it to TIFF or PNG first")
        else:
            found.passed_over[ending or "no suffix"] += 1


def _job(source: Path, folder: Path, stem: str, format: str | None) -> Job:
    """A job, with the size of its image as the header says, if it does."""
    job = Job(source, Path(), format or "png")
    if job.video:
        job.format = format if format in video.CONTAINERS else source.suffix.lower()[1:]
    with contextlib.suppress(ImageError):  # it is named when its turn comes
        if job.video:
            job.height, job.width, job.frames = video.peek_video(source)
        elif not job.standard_input:
            job.height, job.width, job.frames, kind = pictures.peek_picture(source)
            if format is None and job.frames > 1:
                job.format = formats.IN_FRAMES[kind]
    job.target = folder / f"{stem}.{job.format}"
    return job


def _check(found: Plan) -> None:
    """Gives inputs that differ in their suffix alone names of their own.

    Raises:
        DataError: two inputs have one output, an input would be overwritten, or nothing can be written there.
    """
    by_target: dict[str, list[Job]] = {}
    for job in found.jobs:
        by_target.setdefault(str(job.target).casefold(), []).append(job)
    for jobs in by_target.values():
        if len(jobs) > 1:
            for job in jobs:
                ending = job.target.stem.removeprefix(job.source.stem)
                job.target = job.target.with_name(f"{job.source.name}{ending}.{job.format}")
    made: dict[str, Path] = {}
    sources = {os.path.realpath(job.source) for job in found.jobs if not job.standard_input}
    for job in found.jobs:
        if job.standard_output:
            continue
        if os.path.realpath(job.target) in sources:
            raise DataError(f"{job.target}: would be overwritten; give another name")
        if (other := made.setdefault(str(job.target).casefold(), job.source)) is not job.source:
            raise DataError(f"{job.source}: and {other} would both become {job.target}; upscale them apart")
        existing = next(folder for folder in job.target.absolute().parents if folder.exists())
        if not os.access(existing, os.W_OK) or not existing.is_dir():
            raise DataError(f"{existing}: cannot be written to")
