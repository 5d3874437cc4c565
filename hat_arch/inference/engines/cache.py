"""What engines keep on the disk for the next start: networks that they have converted and compiled, measurements."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from numpy.typing import NDArray
from torch import Tensor, nn

from ...utils import caches
from ...utils.errors import UserError
from ...utils.files import digest, from_home, write_file
from ...utils.machine import cores, cpu_name
from .base import Report

VARIABLE = "HAT_ARCH_ENGINES"
LIMIT = 2**31
"""Bytes that the folder may have; what was not used for the longest time goes first."""
OURS = re.compile(r"[0-9a-f]{32}(-[0-9x]+)?\.(blob|xml|bin|onnx|json)")
"""Names of files that may be removed."""
PLAIN = (int, float, str, bool, type(None), tuple)


class Cache:
    """A folder of files: ``$HAT_ARCH_ENGINES``, or ``engines`` in the user's cache folder.

    If that cannot be written, it is reported and nothing is kept.

    Raises:
        UserError: the folder that the variable names cannot be written.
    """

    def __init__(self, report: Report) -> None:
        named = os.environ.get(VARIABLE)
        self.folder: Path | None = from_home(named) if named else caches.folder() / "engines"
        self.named, self.report = bool(named), report
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(f"{self.folder}: cannot be written")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, UserError) as error:
            why = f"{self.folder}: cannot be written ({getattr(error, 'strerror', None) or error})"
            if self.named:
                raise UserError(f"{VARIABLE}: {why}; name another folder") from error
            self.report(f"{why}; nothing is kept for the next start")
            self.folder = None

    def has(self, name: str) -> bool:
        """Whether a file is there."""
        return self.folder is not None and (self.folder / name).is_file()

    def read(self, name: str) -> bytes | None:
        """Content of a file, or None if it is not there or empty."""
        data = self.mapped(name)
        return None if data is None else data.tobytes()

    def mapped(self, name: str) -> NDArray[np.uint8] | None:
        """`read` without bringing a file into memory; what is written to it stays in this process."""
        if self.folder is None:
            return None
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is empty
            path = self.folder / name
            data = np.memmap(path, np.uint8, "c")
            os.utime(path)
            return data
        return None

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Keeps a file, whole or not at all, and removes the oldest ones beyond `LIMIT`."""
        if self.folder is None or len(data) > LIMIT:
            return
        with self._writing(), FileLock(self.folder / ".lock"):  # other processes may keep the same
            write_file(self.folder / name, data)
            left = LIMIT
            ours = [file for file in self.folder.iterdir() if OURS.fullmatch(file.name)]
            for file in sorted(ours, key=lambda file: file.stat().st_mtime, reverse=True):
                left -= file.stat().st_size
                if left < 0:
                    file.unlink()

    def seconds(self, name: str) -> dict[str, float]:
        """What `keep_seconds` has kept; empty if there is nothing, or it is damaged."""
        with contextlib.suppress(ValueError):
            found = json.loads(self.read(name) or b"")
            if isinstance(found, dict) and all(isinstance(value, float) for value in found.values()):
                return found
        return {}

    def keep_seconds(self, name: str, seconds: dict[str, float]) -> None:
        """Keeps what was measured, by the name of what needed it."""
        self.write(name, json.dumps(seconds).encode())


def of_machine() -> tuple[object, ...]:
    """On what a measurement depends, beside what was measured and versions."""
    return cpu_name(), cores(), torch.get_num_threads()


def key(*parts: object) -> str:
    """Name of what depends on some facts."""
    return digest(repr(parts).encode())


def versions(package: str) -> tuple[str, ...]:
    """Of a runtime, PyTorch and this package: what is kept of others is not used."""
    return _version(package), str(torch.__version__), version("hat-arch")


def _version(package: str) -> str:
    """Of the module of a name, whichever distribution has brought it: onnxruntime-gpu brings onnxruntime, too."""
    try:
        return version(package)
    except PackageNotFoundError:
        with contextlib.suppress(ImportError):
            return str(getattr(import_module(package), "__version__", ""))
        return ""


def identity(network: nn.Module) -> str:
    """A checksum of all that a network computes with: its layers, their settings and source, and its weights."""
    total = hashlib.blake2b(structure(network).encode(), digest_size=16)
    for name, tensor in tensors(network):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def structure(network: nn.Module) -> str:
    """A checksum of a network without its weights."""
    total = hashlib.blake2b(digest_size=16)
    for name, module in network.named_modules():
        settings = {key: value for key, value in vars(module).items() if isinstance(value, PLAIN) and key != "training"}
        total.update(repr((name, type(module).__qualname__, sorted(settings.items()))).encode())
        total.update(repr([tuple(tensor.shape) for tensor in module.parameters(recurse=False)]).encode())
    for kind in sorted({type(module) for module in network.modules()}, key=lambda kind: kind.__qualname__):
        total.update(_source(kind).encode())
    return total.hexdigest()


def _source(kind: type) -> str:
    """The file that a class is written in; of this package all files of its networks; of PyTorch nothing."""
    if kind.__module__.startswith("torch."):
        return ""
    with contextlib.suppress(OSError, TypeError):
        file = Path(inspect.getfile(kind))
        files = sorted(file.parent.glob("*.py")) if kind.__module__.startswith("hat_arch.") else [file]
        return "".join(file.read_text(encoding="utf-8") for file in files)
    return ""


def tensors(network: nn.Module) -> list[tuple[str, Tensor]]:
    """All weights and buffers, also those that are not saved."""
    return [*network.named_parameters(), *network.named_buffers()]


def state(network: nn.Module) -> list[object]:
    """What differs after any weight was changed: cheap enough to be asked for each image."""
    found: list[object] = []
    for _, tensor in tensors(network):
        content = tensor.detach().reshape(-1)
        number = content.view(torch.int32).sum() if tensor.element_size() == 4 else content.double().sum()
        found += [tensor.data_ptr(), tensor._version, number.item()]
    return found
