"""The option files that come with the package, by name."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..utils.errors import UserError

FOLDERS = {
    "ablations": "Ablations",
    "other_networks": "Other networks",
    "models": "Models in the package",
    "restoration": "Restoration",
    "real_world": "Real-world images",
}
"""Folder below ``options/`` → what its files are for."""
PURPOSES = ("Train from scratch", "Pre-train on ImageNet", "Fine-tune", "Test", *FOLDERS.values())


class Summary(NamedTuple):
    """What an option file is for, in a line."""

    name: str
    purpose: str
    """One of `PURPOSES`."""
    scale: int
    network: str
    """Class of the network."""
    data: str
    """The data set that it trains on, or those that it tests on."""
    iterations: int | None
    """None of a test."""


def files() -> dict[str, Path]:
    """Name, without ``.yml``, → option file, sorted by name."""
    package = Path(__file__).parents[1]
    installed = package / "options"
    folder = installed if installed.is_dir() else package.parent / "options"  # beside the package in a repository
    return dict(sorted((file.stem, file) for file in folder.rglob("*.yml")))


def find(file: str | Path) -> Path:
    """The option file that a user means by a path or name: that file if it is there, else the shipped one of that name.

    Returns ``file`` itself if there is neither.
    """
    path = Path(file)
    return path if path.exists() else files().get(_name(path), path)


def named(name: str | Path) -> Path:
    """The option file of a name, with or without ``.yml``.

    Raises:
        UserError: there is none; the message has the nearest names.
    """
    known = files()
    wanted = _name(Path(name))
    if wanted not in known:
        near = difflib.get_close_matches(wanted, known, 3)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UserError(f"{name}: no option file of that name comes with hat_arch; {hint}basicsr options lists all")
    return known[wanted]


def _name(path: Path) -> str:
    return path.name.removesuffix(".yml").removesuffix(".yaml")  # not the stem: names have dots


def summary(file: Path) -> Summary:
    """What an option file is for."""
    options: dict[str, Any] = yaml.load(file.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    network, datasets = options["network_g"]["type"], options["datasets"]
    if training := options.get("train"):
        data, iterations = datasets["train"]["name"], int(training["total_iter"])
    else:
        data, iterations = ", ".join(dataset["name"] for dataset in datasets.values()), None
    return Summary(file.stem, _purpose(file), options["scale"], network, data, iterations)


def _purpose(file: Path) -> str:
    scratch, pretraining, finetuning, test = PURPOSES[:4]
    if file.parent.name in FOLDERS:
        return FOLDERS[file.parent.name]
    if file.stem.startswith("test_"):
        return test
    if "_finetune" in file.stem:
        return finetuning
    return pretraining if file.stem.endswith("_ImageNet") else scratch
