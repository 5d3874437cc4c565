"""Networks as graphs that run without Python: ONNX, and PyTorch's own."""

from __future__ import annotations

import re
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from ..utils.errors import UserError
from .prepared import evaluating

if TYPE_CHECKING:
    import onnx

OPSET = 18
"""Of ONNX; the oldest that PyTorch's exporter writes, so that most runtimes know it."""
SIZES = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
"""What may differ between images: batch, height, width."""

SMALLEST, LARGEST = 8, 2**20
"""Pixels of a side from and up to which a graph is to be right at the least."""


class ExportError(UserError):
    """A network cannot be made a graph; the message says why."""


def to_program(network: nn.Module, image: Tensor, fixed: bool = False) -> ExportedProgram:
    """A network as a program of PyTorch.

    Args:
        network: on the device of ``image``.
        image: ``(B, C, H, W)``, an example. B, H and W should not be 1, which exporters take for another kind of size.
        fixed: whether images have exactly its shape; else any batch, height and width.

    Raises:
        ExportError: the network does what cannot be exported; the message names it.
    """
    try:
        with evaluating(network), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(network, (image,), dynamic_shapes=None if fixed else (SIZES,))
            for size in program.range_constraints.values():
                if size.lower > SMALLEST or size.upper < LARGEST:
                    raise ValueError(f"for sizes of {size.lower} to {size.upper} it does other things than for others")
            return program
    except Exception as error:  # of the exporter, or the network
        remedy = "" if fixed else "; a fixed size (--size HxW) may do"
        raise ExportError(f"{type(network).__name__} cannot be exported: {_reason(error)}{remedy}") from error


def to_onnx(network: nn.Module, image: Tensor, fixed: bool = False) -> onnx.ModelProto:
    """A network as an ONNX model, with an input ``image`` and an output ``enlarged``. Arguments as of `to_program`.

    Raises:
        ExportError: the network has operators that ONNX does not; the message names them.
        UserError: ``onnx`` or ``onnxscript`` is not installed.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"{error.name}: is not installed; pip install 'hat-arch[onnx]'") from error
    program = to_program(network, image, fixed)
    names: dict[str, Any] = {"input_names": ["image"], "output_names": ["enlarged"]}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = torch.onnx.export(program, opset_version=OPSET, dynamo=True, verbose=False, **names)
    except Exception as error:  # of the exporter
        raise ExportError(f"{type(network).__name__} cannot be exported to ONNX: {_reason(error)}") from error
    assert made is not None
    return made.model_proto


def _reason(error: BaseException) -> str:
    """The operators that an exporter does not know, or the first line of what it says."""
    told = []
    cause: BaseException | None = error
    while cause is not None:
        told.append(str(cause))
        cause = cause.__cause__
    text = "\n".join(reversed(told))
    operators = set(
        re.findall(r"(?:No ONNX function found for|No decompositions registered for).*?(\w+[.:]+\w[\w.]*)", text)
    )
    if operators:
        return f"no rule for the operators {', '.join(sorted(operators))}"
    first = next((line for line in text.splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first}"[:300]
