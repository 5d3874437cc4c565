"""Lets code that names CUDA outright run on the CPU, as BasicSR's real-world and video models do."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class _OnCpu(TorchFunctionMode):
    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is Tensor.cuda:
            return args[0]
        kwargs = dict(kwargs or {})
        if (device := kwargs.get("device")) is not None and torch.device(device).type == "cuda":
            kwargs["device"] = "cpu"
        return func(*args, **kwargs)


def cuda_is_cpu(wanted: bool) -> contextlib.AbstractContextManager[object]:
    """While it lasts, and if wanted, ``.cuda()`` leaves tensors where they are, and ``device="cuda"`` is the CPU."""
    return _OnCpu() if wanted else contextlib.nullcontext()
