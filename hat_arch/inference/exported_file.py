"""ONNX files of networks, in the place of a network: those of ``basicsr export`` and those of other programs."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..utils.errors import UserError
from ..utils.extras import MissingError, installed
from ..utils.files import checksum

METADATA = "hat_arch"
"""Name of the entry that holds `Facts` as JSON."""


class FileError(UserError):
    """A file is no ONNX file that could be run; the message says why."""


@dataclass(frozen=True)
class Facts:
    """What an exported file says of its network."""

    scale: int
    window: int = 1
    """What the sides of images are best multiples of."""
    channels: int = 3
    size: tuple[int, int] | None = None
    """Height and width, if it takes images of one size alone."""
    range: str = "0..1"
    """Values of black and white."""
    source: str = ""
    """Name of the file of weights."""
    sha256: str = ""
    """Of that file."""
    version: str = ""
    """Of hat_arch."""


class ExportedFile(nn.Module):
    """A network that is in an ``.onnx`` file; engines other than ``torch`` run it."""

    def __init__(self, path: Path, facts: Facts) -> None:
        super().__init__()
        self.path, self.facts, self.checksum = path, facts, checksum(path)
        self.upscale, self.in_chans = facts.scale, facts.channels
        fits = all(side % facts.window == 0 for side in facts.size or ())
        self.window_size = facts.window if fits else 1
        self.largest_tile = min(facts.size) if facts.size else None
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # on the device that it is to run on

    def forward(self, x: Tensor) -> Tensor:
        raise FileError(f"{self.path}: is for --engine openvino or onnxruntime, not for torch")


def facts_of(path: Path) -> Facts | None:
    """What an ``.onnx`` file says of itself; None if it says nothing, since another program made it.

    Raises:
        FileError: it is damaged, or of another format.
        MissingError: nothing is installed that reads it.
    """
    text, _ = _read(path)
    try:
        told: dict[str, Any] = json.loads(text or "null")
        known = {field.name: told[field.name] for field in fields(Facts) if field.name in told}
        return Facts(**known | {"size": tuple(told["size"]) if told.get("size") else None})
    except (ValueError, TypeError, AttributeError):
        return None


def foreign_facts(path: Path, scale: int) -> Facts:
    """What there is to know of a file of another program, whose ``scale`` the user says.

    Raises:
        FileError: it does not take images, ``(B, C, H, W)``.
    """
    _, shape = _read(path)
    if len(shape) != 4 or shape[1] is None or (shape[2] is None) != (shape[3] is None):
        raise FileError(f"{path}: takes {tuple(shape)}, no images (B, C, H, W) of any or of one size")
    size = None if shape[2] is None or shape[3] is None else (shape[2], shape[3])
    return Facts(scale, channels=shape[1], size=size)


def _read(path: Path) -> tuple[str, list[int | None]]:
    """`METADATA` of a file, and the shape of its input; None for what may be any number."""
    try:
        if installed("onnx"):
            import onnx

            model = onnx.load(path, load_external_data=False)
            text = next((entry.value for entry in model.metadata_props if entry.key == METADATA), "")
            dims = model.graph.input[0].type.tensor_type.shape.dim
            return text, [dim.dim_value or None for dim in dims]
        if installed("openvino"):
            import openvino

            graph = openvino.Core().read_model(path)
            told = graph.has_rt_info(["framework", METADATA])
            text = graph.get_rt_info(["framework", METADATA]).astype(str) if told else ""
            dims = graph.input(0).partial_shape
            return text, [dim.get_length() if dim.is_static else None for dim in dims]
    except OSError:
        raise
    except Exception as error:  # of protobuf, or OpenVINO
        raise FileError(f"{path}: cannot be read as ONNX: it is damaged, or of another format") from error
    raise MissingError(f"{path}: nothing here reads it; pip install 'hat-arch[onnx]' or 'hat-arch[openvino]'")
