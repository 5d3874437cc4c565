"""The folder of a training, as the board shows it. Nothing is written there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import re
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from ..utils.errors import UserError
from .events import Events
from .logs import Log

EXPERIMENTS = Path("experiments")
POINTS = 1500  # of a curve, at most
PICTURE = re.compile(r"_(\d+)$")


def find(name: str) -> Path:
    """The folder of a run that a user means by its path, or by its name below ``experiments/``.

    Raises:
        UserError: there is none, or it is not of a run.
    """
    folders = [path for path in (Path(name), EXPERIMENTS / name) if path.is_dir()]
    if not folders:
        raise UserError(f"{name}: no such folder, and no run of that name in {EXPERIMENTS}/")
    if runs := [path for path in folders if is_run(path)]:
        return runs[0]
    folder = folders[0]
    inside = sorted(path.name for path in folder.iterdir() if path.is_dir() and is_run(path))
    hint = f"; it holds runs: basicsr board {folder}/*" if inside else " (no option file, no train_*.log)"
    raise UserError(f"{folder}: is no folder of a run{hint}")


def find_all(names: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The folders of runs that a user means, and those names that are of something else, as ``experiments/*`` has them.

    Raises:
        UserError: nothing has such a name, or nothing is of a run.
    """
    found, others = [], []
    for name in dict.fromkeys(names):
        try:
            found.append(find(name))
        except UserError:
            if len(names) == 1 or not Path(name).exists():
                raise
            others.append(name)
    if not found:
        raise UserError(f"{', '.join(others)}: none of them is the folder of a run")
    return found, others


def is_run(folder: Path) -> bool:
    """Whether a training has written to a folder."""
    return any(folder.glob("*.yml")) and (any(folder.glob("train_*.log")) or (folder / "models").is_dir())


class Run:
    """A training that goes on or is done; its methods may be called by several threads.

    Args:
        folder: below ``experiments/``; TensorBoard's log lies in ``tb_logger/`` beside that.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.resolve().name
        self.log = Log(folder)
        self.events = Events(folder.resolve().parents[1] / "tb_logger" / self.name)
        self.version = 0
        """Changes with what has been read."""
        self._parsed: tuple[str, dict[str, Any]] = "", {}
        """The option file's text, and its content."""
        self.lock = threading.Lock()

    def state(self) -> dict[str, Any]:
        """How far it is, for JSON."""
        with self.lock:
            if not self.folder.is_dir():
                return {"name": self.name, "gone": True, "version": self.version}
            more = [self.log.read_on(), self.events.read_on()]
            self.version += any(more)
            iteration = max([self.log.iteration, *(max(points) for points in self.scalars().values() if points)])
            done = (self.folder / "finished.json").is_file()
            written = self.written()
            return {
                "name": self.name,
                "folder": str(self.folder),
                "version": self.version,
                "iteration": iteration,
                "total": _integer(self.option("train", "total_iter")),
                "scale": _integer(self.option("scale")),
                "network": str(self.option("network_g", "type") or ""),
                "done": done,
                "eta": "" if done else self.log.eta,
                "seconds_since": None if written is None else max(0.0, time.time() - written),
            }

    def written(self) -> float | None:
        """When it wrote to its logs last, in seconds since 1970."""
        files = [*self.log.files(), *self.events.folder.glob("events.out.tfevents.*")]
        return max((file.stat().st_mtime for file in files), default=None)

    def scalars(self) -> dict[str, dict[int, float]]:
        """All curves: TensorBoard's, and what the log has beyond."""
        return {**self.log.scalars, **self.events.scalars}

    def curves(self) -> dict[str, list[list[float | None]]]:
        """Tag → iteration and value of each point, for JSON."""
        with self.lock:
            return {tag: thinned(points) for tag, points in sorted(self.scalars().items()) if points}

    # option file

    def option_file(self) -> Path | None:
        """The copy that the training has made."""
        return min(self.folder.glob("*.yml"), default=None)

    def options(self) -> dict[str, Any]:
        """The option file's content; empty if it cannot be read."""
        text = self.option_text()
        if text != self._parsed[0]:
            content: Any = None
            with contextlib.suppress(yaml.YAMLError):
                content = yaml.safe_load(text)
            self._parsed = text, content if isinstance(content, dict) else {}
        return self._parsed[1]

    def option(self, *keys: str) -> Any:
        """A value of the option file, or None."""
        value: Any = self.options()
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def option_text(self) -> str:
        file = self.option_file()
        return "" if file is None else file.read_text(encoding="utf-8", errors="replace")

    # pictures

    def pictures(self) -> list[dict[str, Any]]:
        """Titles of validation pictures, with the iterations at which there is one, for JSON."""
        with self.lock:
            shown = {title: sorted(images) for title, images in self._files().items()}
            shown |= {tag: sorted(places) for tag, places in self.events.pictures.items()}
        return [{"key": key(title), "title": title, "iterations": at} for title, at in sorted(shown.items())]

    def picture(self, wanted: str, iteration: int) -> Path | bytes | None:
        """A picture by its title's `key`: a file, or PNG; None if there is none."""
        with self.lock:
            for title, images in self._files().items():
                if key(title) == wanted:
                    return images.get(iteration)
            tag = next((tag for tag in self.events.pictures if key(tag) == wanted), "")
            return self.events.picture(tag, iteration)

    def _files(self) -> dict[str, dict[int, Path]]:
        """What ``val: save_img`` has left: title → iteration → file."""
        found: dict[str, dict[int, Path]] = {}
        folder = self.folder / "visualization"
        for file in folder.rglob("*.png"):
            if (at := PICTURE.search(file.stem)) and file.is_file():
                found.setdefault(file.parent.relative_to(folder).as_posix(), {})[int(at[1])] = file
        return found


def key(title: str) -> str:
    """A short name for a picture's title, that can stand in an address."""
    return hashlib.sha256(title.encode()).hexdigest()[:16]


def thinned(points: dict[int, float]) -> list[list[float | None]]:
    """Points of a curve in order; if they are too many, means of neighbours. What is not finite becomes None."""
    every = sorted(points.items())
    size = math.ceil(len(every) / POINTS)
    groups = (every[first : first + size] for first in range(0, len(every), size)) if size > 1 else ([p] for p in every)
    curve: list[list[float | None]] = []
    for group in groups:
        mean = sum(value for _, value in group) / len(group)
        curve.append([group[-1][0], mean if math.isfinite(mean) else None])
    return curve


def compare_options(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The options in which runs differ: key, and each run's value as JSON (None: not there)."""
    flat = [dict(_flattened(run.options())) for run in runs]
    keys = dict.fromkeys(key for options in flat for key in options)
    rows = [{"key": key, "values": [options.get(key) for options in flat]} for key in keys]
    return [row for row in rows if len(set(row["values"])) > 1]


def _flattened(options: Any, above: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(options, dict) and options:
        for name, value in options.items():
            yield from _flattened(value, f"{above}.{name}" if above else str(name))
    elif above != "name":
        with contextlib.suppress(TypeError, ValueError):
            options = options if isinstance(options, bool) else float(options)  # YAML takes 1e-4 for text
        text = f"{options:g}" if isinstance(options, float) else json.dumps(options, default=str, ensure_ascii=False)
        yield above, text


def _integer(value: Any) -> int | None:
    """A number that YAML may have taken for text, such as ``3e5``."""
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        return int(float(value))
    return None
