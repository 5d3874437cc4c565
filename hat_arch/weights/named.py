"""Models by name: those in the package, those that others have published, and where their files lie on this machine."""

from __future__ import annotations

import difflib
import functools
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..utils import caches
from ..utils.errors import UserError
from ..utils.files import from_home, sha256

INSIDE = Path(__file__).with_name("models")
"""The package's own models: a ``.safetensors`` file each, and a card of the same name in Markdown."""
IN_CLONE = INSIDE.parents[2] / "experiments" / "models"
"""More of them, in a clone of the repository alone: the package would become too large."""
PUBLISHED = Path(__file__).with_name("published.yml")
DOWNLOADED_BY_HAND = Path("experiments/pretrained_models")
SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")
DEFAULTS = ("hat-light-photo-x{}", "hat-light-x{}")
"""What upscales if nobody says what should: the first that is in the package."""


class UnknownModelError(UserError):
    """There is no model, and no file, of a name."""


@dataclass
class Model:
    """A model that has a name."""

    name: str
    file: str
    """Name of its file."""
    scale: int
    network: str = "HAT"
    bytes: int | None = None
    sha256: str | None = None
    """Checksum, or its first digits."""
    licence: str = "unknown"
    note: str = ""
    urls: list[str] = field(default_factory=list)
    page: str = ""
    """Where a browser finds it; empty for models of the package."""
    mixes_with: str = ""
    """The model of the package that it was trained from, if the two may be mixed (`mixed.load_mixed`)."""

    @property
    def inside(self) -> bool:
        """Whether it came with the package, or with the clone that this is."""
        return not self.page

    def path(self) -> Path | None:
        """Its file on this machine, or None."""
        folders = [INSIDE, IN_CLONE] if self.inside else [cache(), DOWNLOADED_BY_HAND]
        return next((folder / self.file for folder in folders if (folder / self.file).is_file()), None)

    def fits(self, digest: str) -> bool | None:
        """Whether a SHA-256 is this file's; None if it is not known."""
        return None if self.sha256 is None else digest.startswith(self.sha256)


def cache() -> Path:
    """Where downloaded models are kept: ``$HAT_ARCH_MODELS``, or ``hat_arch`` in the user's cache folder."""
    if named := os.environ.get("HAT_ARCH_MODELS"):
        return Path(named)
    return caches.folder()


def models() -> dict[str, Model]:
    """All models by name: those of the package first."""
    files = (file for folder in (INSIDE, IN_CLONE) for file in sorted(folder.glob("*.safetensors")))
    return {**{model.name: model for model in map(_inside, files)}, **_published()}


@functools.cache
def _published() -> dict[str, Model]:
    entries: dict[str, dict[str, Any]] = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    return {name: Model(name, **entry) for name, entry in entries.items()}


def _inside(file: Path) -> Model:
    """A model of the package: what is known of it stands between ``---`` lines at the head of its card."""
    card = file.with_suffix(".md")
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    head: dict[str, Any] = (yaml.safe_load(text.split("---")[1]) if text.startswith("---") else None) or {}
    in_name = re.search(r"x(\d+)$", file.stem)
    scale = head.get("scale") or (in_name[1] if in_name else 1)
    return Model(
        name=file.stem,
        file=file.name,
        scale=int(scale),
        bytes=file.stat().st_size,
        sha256=head.get("sha256"),
        licence=str(head.get("license") or head.get("licence") or "Apache-2.0"),
        note=str(head.get("summary", "")),
        mixes_with=str(head.get("mixes_with", "")),
    )


def named(name: str) -> Model | None:
    """The model of a name, or whose file has that name; None if there is none."""
    known = models()
    by_file = {model.file: model for model in known.values()}
    by_file |= {Path(model.file).stem: model for model in known.values()}
    return known.get(name) or by_file.get(name)


def find(name: str | Path) -> Path:
    """The file of weights that a user means by a path or by a model's name.

    Raises:
        UnknownModelError: no such file, and no such model; the message has the nearest names.
        UserError: the model is known, and its file is not on this machine.
    """
    path = from_home(name)
    if path.is_file():
        return path
    if model := named(str(name)):
        if found := model.path():
            return found
        raise UserError(f"{model.name}: is not on this machine; basicsr models get {model.name}")
    if path.is_dir():
        raise UnknownModelError(f"{name}: is a folder; name a file of weights in it")
    if path.suffix.lower() in SUFFIXES or len(path.parts) > 1:
        near = [str(file) for file in sorted(path.parent.glob("*")) if file.suffix.lower() in SUFFIXES]
        raise UnknownModelError(f"{name}: no such file{_did_you_mean(str(name), near)}")
    hint = _did_you_mean(str(name), list(models()))
    raise UnknownModelError(f"{name}: no file and no model of that name{hint}; basicsr models lists all")


def get(name: str) -> Model:
    """The model of a name.

    Raises:
        UnknownModelError: there is none; the message has the nearest names.
    """
    if model := named(name):
        return model
    hint = _did_you_mean(name, list(models()))
    raise UnknownModelError(f"{name}: no model of that name{hint}; basicsr models lists all")


def _did_you_mean(word: str, known: list[str]) -> str:
    by_lower = {name.lower(): name for name in known}
    near = [by_lower[name] for name in difflib.get_close_matches(word.lower(), by_lower, 3, 0.5)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def default(scale: float) -> Model:
    """The model in the package that serves a scale best: of that scale, else the next larger one, else the largest.

    Raises:
        UserError: the package has none.
    """
    inside = {model.name: model for model in models().values() if model.inside}
    for pattern in DEFAULTS:
        scales = sorted(model.scale for name, model in inside.items() if name == pattern.format(model.scale))
        if scales:
            return inside[pattern.format(next((s for s in scales if s >= scale), scales[-1]))]
    raise UserError("no model came with this installation: name one by --model; basicsr models lists those to be had")


def recognise(path: Path) -> Model | None:
    """The model that a file is, by its checksum."""
    size, digest = path.stat().st_size, sha256(path)
    candidates = (model for model in models().values() if model.bytes in (None, size))
    return next((model for model in candidates if model.fits(digest)), None)
