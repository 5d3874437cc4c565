"""Networks by name, or from any file: of weights, or one that was exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..utils import extras
from ..utils.files import from_home
from ..weights import load as weights
from ..weights.load import Loaded
from . import engines
from .exported_file import ExportedFile, Facts, FileError, facts_of, foreign_facts

TRIAL = 32  # pixels of a side


def is_exported(name: str | Path) -> bool:
    """Whether a name is that of an exported file."""
    return Path(name).suffix.lower() == ".onnx"


def load(name: str | Path, scale: float | None = None, **how: Any) -> Loaded:
    """Loads a network: as `hat_arch.weights.load.load` does, which gets ``how``, or from an exported file.

    Args:
        name: a model's, or a file's.
        scale: of an exported file that does not tell it; a small run must agree.

    Raises:
        UserError: as that; or the file is damaged, does not tell its scale, or has another.
    """
    if not is_exported(name):
        return weights.load(name, **how)
    path = from_home(name)
    if any(how.values()):
        raise FileError(f"{path}: is a network, not weights; leave out --param_key, --arch_opt and --loader")
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    facts = facts_of(path)
    if facts is None:
        if scale is None or scale != int(scale):
            why = "was not made by basicsr export, and does not tell its scale; say it: --scale N of basicsr upscale"
            raise FileError(f"{path}: {why}")
        facts = foreign_facts(path, int(scale))
        _check_scale(path, facts)
    network = ExportedFile(path, facts)
    return Loaded(path.stem, network, facts.scale, facts.window, facts.channels)


@torch.no_grad()
def _check_scale(path: Path, facts: Facts) -> None:
    """Raises a `FileError` if a small image does not become as large as ``facts`` say."""
    height, width = facts.size or (TRIAL, TRIAL)
    name = next(filter(extras.installed, ("onnxruntime", "openvino")), "onnxruntime")
    how: dict[str, Any] = {"multiple": 1, "channels": facts.channels, "report": lambda line: None}
    run = engines.build(name, ExportedFile(path, facts), None, torch.device("cpu"), **how)
    try:
        made = tuple(run(torch.zeros(1, facts.channels, height, width)).shape)
    except Exception as error:  # of the runtime, about what is in the file
        raise FileError(f"{path}: does not run on an image of {height}x{width}") from error
    if made != (1, facts.channels, height * facts.scale, width * facts.scale):
        raise FileError(f"--scale {facts.scale}: {path} makes {made} of an image of {height}x{width}")
