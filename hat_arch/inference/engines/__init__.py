"""Engines: what computes a network for `Upscaler`, PyTorch itself or a runtime that is made for the machine."""

from __future__ import annotations

import torch
from torch import nn

from ...utils import extras
from ..exported_file import ExportedFile
from ..measuring import SIDE
from ..prepared import Prepared
from .base import Engine, EngineError, Report
from .cache import Cache
from .fixed import FixedSize
from .kernels import fastest_kernels

__all__ = ["Engine", "EngineError", "build"]


def build(
    name: str,
    network: nn.Module,
    dtype: torch.dtype | None,
    device: torch.device,
    *,
    multiple: int,
    channels: int,
    report: Report,
    compile: bool = False,
) -> Engine:
    """The engine of a name.

    Args:
        name: of `extras.ENGINES`.
        network: on ``device``.
        dtype: None for fp32, or the type to compute in.
        multiple: what the sides of images are multiples of.
        channels: of the images.
        report: called with a line before what takes long.
        compile: whether ``torch`` compiles the network.

    Raises:
        MissingError: its package is not installed.
        EngineError: it has nothing for the device, type or network; some of that shows at the first call.
        UserError: the folder that ``HAT_ARCH_ENGINES`` names cannot be written.
    """
    if name == "torch":
        if isinstance(network, ExportedFile):
            raise EngineError(f"{network.path}: is for --engine openvino or onnxruntime, not for torch")
        if dtype is not None or compile:
            return Prepared(network, dtype, compile)
        side = -(-SIDE // multiple) * multiple
        return Prepared(network, kernels=fastest_kernels(network, (1, channels, side, side), report))
    extras.require(name)
    if compile:
        raise EngineError(f"engine {name}: compiles by itself; leave out compile, or take engine torch")
    engine: Engine
    if name == "openvino":
        from .openvino import OpenVINO

        engine = OpenVINO(network, dtype, device, multiple, channels, Cache(report), report)
    else:
        from .onnxruntime import OnnxRuntime

        engine = OnnxRuntime(network, dtype, device, multiple, channels, Cache(report), report)
    size = network.facts.size if isinstance(network, ExportedFile) else None
    return engine if size is None else FixedSize(engine, size)
