"""Runtimes that may be installed beside PyTorch, as extras of this package."""

from __future__ import annotations

import os
from importlib.util import find_spec

from .errors import UserError

ENGINES = ("torch", "openvino", "onnxruntime")
"""What can compute a network. All but the first are packages of that name."""
VARIABLE = "HAT_ARCH_ENGINE"
"""Names the engine that commands take by default."""
EXTRAS = {"openvino": "openvino", "onnxruntime": "onnx"}
"""Extras of this package that bring them."""


class MissingError(UserError):
    """A runtime is not installed; the message has the command that installs it."""


def default() -> str:
    """The engine of commands that name none; it may be one that is not there."""
    return os.environ.get(VARIABLE, "auto")


def check_default() -> None:
    """Raises a `UserError` if the environment names no engine."""
    if default() not in ("auto", *ENGINES):
        raise UserError(f"{VARIABLE}={default()}: may be auto, {', '.join(ENGINES)}")


def installed(engine: str) -> bool:
    """Whether the package of an engine, or another, is there."""
    return engine == "torch" or find_spec(engine) is not None


def remedy(engine: str) -> str:
    """The command that installs an engine."""
    return f"pip install 'hat-arch[{EXTRAS[engine]}]'"


def require(engine: str) -> None:
    """Raises a `MissingError` if the package of an engine is not there."""
    if not installed(engine):
        raise MissingError(f"engine {engine}: is not installed; {remedy(engine)}")
