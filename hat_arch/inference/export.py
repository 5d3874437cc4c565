"""Writes a network as a file that runs without this package, and sees that it does before the file has its name."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..utils.extras import MissingError, installed
from ..utils.files import write_file
from . import engines
from .engines.base import trial_images
from .exported_file import METADATA, ExportedFile, Facts
from .graphs import ExportError, to_onnx, to_program
from .prepared import Prepared

if TYPE_CHECKING:
    import onnx

SUFFIXES = (".onnx", ".pt2")
TOLERANCE = 1e-4
"""Largest difference to the network that is written, as a share of its largest value, or of 1 if that is less."""
LARGE = 1024
"""Numbers of a tensor from which on it counts as weights."""


def export(network: nn.Module, path: Path, facts: Facts, half: bool = False) -> Iterable[tuple[tuple[int, ...], float]]:
    """Writes a network to an ``.onnx`` or ``.pt2`` file. All is done when the result has been gone through.

    Args:
        network: on the CPU. With ``half``, its weights are rounded.
        path: of the file; it is made or replaced once the new one is found right.
        facts: what the file is to say of itself; ``size`` makes it a file for images of that size alone.
        half: whether weights are stored in fp16. What they are multiplied with stays in fp32, so nothing overflows.

    Yields:
        Shapes of images ``(B, C, H, W)``, and the largest differences of the file's results to the network's.

    Raises:
        ExportError: the network cannot be exported, or the file computes something else.
        MissingError: a package is not installed.
    """
    if path.suffix == ".onnx" and not any(map(installed, ("onnxruntime", "openvino"))):
        raise MissingError("onnxruntime: is not installed; pip install 'hat-arch[onnx]'")
    if half:
        network.half().float()
    image = torch.rand(1, facts.channels, *facts.size) if facts.size else trial_images(facts.window, facts.channels)[1]
    if path.suffix == ".onnx":
        model = to_onnx(network, image, bool(facts.size))
        model.metadata_props.add(key=METADATA, value=json.dumps(asdict(facts)))
        if half:
            store_in_half(model)
        data = model.SerializeToString()
    else:
        buffer = io.BytesIO()
        told = {METADATA: json.dumps(asdict(facts))}
        torch.export.save(to_program(network, image, bool(facts.size)), buffer, extra_files=told)
        data = buffer.getvalue()
    with TemporaryDirectory() as folder:
        trial = Path(folder, path.name)
        trial.write_bytes(data)
        run = _opened(trial, facts)
        for shape in shapes(facts, _takes_any_size(network, facts.channels)):
            yield shape, _difference(network, run, torch.rand(shape), path)
    write_file(path, data)


def shapes(facts: Facts, any_size: bool) -> list[tuple[int, ...]]:
    """Five batches of images to try a file with: a pixel, odd sizes, whole windows, one side less than a window.

    Without ``any_size``, all sides are multiples of the window.
    """
    c, m = facts.channels, max(4, facts.window)
    if facts.size:
        return [(1, c, *facts.size)]
    if not any_size:
        return [(b, c, h * m, w * m) for b, h, w in ((1, 1, 1), (1, 2, 1), (2, 1, 3), (1, 5, 4), (3, 3, 3))]
    return [(1, c, m, m), (1, c, 2 * m + 1, m + 3), (2, c, m - 1, 2 * m), (1, c, 1, 1), (3, c, 3, m + 1)]


@torch.no_grad()
def _takes_any_size(network: nn.Module, channels: int) -> bool:
    """Whether a network takes images of odd sides."""
    with contextlib.suppress(Exception):  # a network may refuse an image in any way
        Prepared(network)(torch.zeros(1, channels, 3, 5))
        return True
    return False


def _opened(path: Path, facts: Facts) -> Callable[[Tensor], Tensor]:
    """What runs a file: PyTorch, or an engine that is installed."""
    if path.suffix == ".pt2":
        return torch.export.load(path).module()
    name = "onnxruntime" if installed("onnxruntime") else "openvino"
    how: dict[str, Any] = {"multiple": 1, "channels": facts.channels, "report": lambda line: None}
    return engines.build(name, ExportedFile(path, facts), None, torch.device("cpu"), **how)


@torch.no_grad()
def _difference(network: nn.Module, run: Callable[[Tensor], Tensor], image: Tensor, path: Path) -> float:
    """Largest difference of two results.

    Raises:
        ExportError: it is more than `TOLERANCE` allows, or a result is of another shape.
    """
    expected, actual = Prepared(network)(image), run(image)
    same = actual.shape == expected.shape
    difference = float((actual - expected).abs().max()) if same else float("inf")
    if not difference <= TOLERANCE * max(1.0, float(expected.abs().max())):  # also NaN
        raise ExportError(
            f"{path}: not written: of images of {tuple(image.shape)} it makes {tuple(actual.shape)}, with a difference "
            f"of {difference:.1e} to the network; a fixed size (--size HxW) may do"
        )
    return difference


def store_in_half(model: onnx.ModelProto) -> None:
    """Stores the weights of a model that fp16 holds exactly in fp16; they are made fp32 before they are used."""
    import numpy as np
    import onnx
    from onnx import numpy_helper

    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        with np.errstate(over="ignore"):  # such are not held exactly
            half = values.astype("float16")
        if values.dtype == "float32" and values.size >= LARGE and (half == values).all():
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.fp16"))
            casts.append(onnx.helper.make_node("Cast", [f"{name}.fp16"], [name], to=onnx.TensorProto.FLOAT))
    for cast in reversed(casts):
        model.graph.node.insert(0, cast)
