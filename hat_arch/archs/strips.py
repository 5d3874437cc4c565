"""How a forward pass without gradients saves memory: in strips of rows, and by writing over what it no longer needs.

Both would show to whoever looks at the layers inside a network, so `saving_memory` allows them only where nobody does.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook

STRIP_TOKENS_CPU = 2048  # pixels that go through attention or MLP at a time, see `strips`
STRIP_TOKENS = 65536

CONTAINERS = frozenset((nn.Sequential, nn.ModuleList))
LAYERS = frozenset((nn.Linear, nn.Conv2d, nn.LayerNorm, nn.AdaptiveAvgPool2d, nn.PixelShuffle, nn.Dropout, nn.Identity))
ACTIVATIONS = frozenset((nn.GELU, nn.ReLU, nn.LeakyReLU, nn.Sigmoid))
BUILT_OF = CONTAINERS | LAYERS | ACTIVATIONS  # the classes of PyTorch in a HAT of ordinary arguments
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

_is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)  # from 2.7 on
_saving: ContextVar[bool] = ContextVar("saving", default=False)
Network = TypeVar("Network", bound=nn.Module)


def saving_memory(forward: Callable[[Network, Tensor], Tensor]) -> Callable[[Network, Tensor], Tensor]:
    """Decorates the forward pass of a network: it saves memory if nothing inside is watched or replaced.

    That is without gradients, outside compilers, tracers and transforms, and while no submodule has a hook, is of a
    class that the network was not built of (adapters, quantised layers), or has its ``forward`` replaced.
    """

    @functools.wraps(forward)
    def wrapper(network: Network, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() or is_traced():
            return forward(network, x)
        if not all(is_as_built(module) for module in network.modules() if module is not network):
            return forward(network, x)
        token = _saving.set(True)
        try:
            return forward(network, x)
        finally:
            _saving.reset(token)

    return wrapper


def saves_memory() -> bool:
    """Whether layers may work in strips and write over intermediate results."""
    return not torch.compiler.is_compiling() and _saving.get()


def is_exported() -> bool:
    """Whether what is computed is recorded for images of other sizes: by `torch.export` or `torch.jit.trace`.

    `torch.onnx.export` uses one of them.
    """
    return torch.jit.is_tracing() or _is_exporting()


def is_traced() -> bool:
    """Whether what is computed is recorded or differentiated forward or transformed, so that layers must be plain.

    By a compiler, an exporter, a tracer, `torch.func`, or forward-mode differentiation.
    """
    return (
        torch.compiler.is_compiling()
        or is_exported()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
    )


def is_as_built(module: nn.Module) -> bool:
    """Whether calling a module does what its class says and no more.

    It is of a class that networks are built of or of this package, has no hooks and its own ``forward``, and its
    weights are ordinary tensors.
    """
    attributes = vars(module)
    return (
        (type(module) in BUILT_OF or type(module).__module__.startswith(__package__))
        and not any(attributes[hooks] for hooks in HOOKS)
        and "forward" not in attributes
        and all(type(weight) in (nn.Parameter, Tensor, type(None)) for weight in attributes["_parameters"].values())
        and not _has_any_global_hook()
    )


def strips(x: Tensor, multiple: int = 1) -> list[tuple[int, int]]:
    """Ranges of rows of ``(B, H, W, C)`` to treat one after the other, in steps of ``multiple`` rows.

    Where memory is saved each has about `STRIP_TOKENS` pixels: temporary memory does not grow with the image, and on a
    CPU it stays in the cache. Elsewhere it is one range.
    """
    b, h, w, _ = x.shape
    if not saves_memory():
        return [(0, h)]
    budget = STRIP_TOKENS_CPU if x.device.type == "cpu" else STRIP_TOKENS
    rows = max(1, budget // (b * w * multiple)) * multiple
    return [(start, min(start + rows, h)) for start in range(0, h, rows)]


def join(parts: Iterable[Tensor], size: int, dim: int = 1) -> Tensor:
    """`torch.cat` of parts that have ``size`` rows (or entries of ``dim``) together; a single part is not copied."""
    if saves_memory():
        return joined_one_by_one(parts, size, dim)
    parts = list(parts)
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def joined_one_by_one(parts: Iterable[Tensor], size: int, dim: int) -> Tensor:
    """`join` without gradients: each part is freed before the next is computed."""
    joined: Tensor | None = None
    start = 0
    for part in parts:
        if part.shape[dim] == size:
            return part
        if joined is None:
            joined = part.new_empty(*part.shape[:dim], size, *part.shape[dim + 1 :])
        joined.narrow(dim, start, part.shape[dim]).copy_(part)
        start += part.shape[dim]
        del part
    assert joined is not None
    return joined


def add(x: Tensor, branch: Tensor, alpha: float = 1) -> Tensor:
    """``x + alpha · branch``; where memory is saved, the sum is written over ``branch``."""
    if not saves_memory() or branch.dtype != x.dtype or branch.data_ptr() == x.data_ptr():
        return x.add(branch, alpha=alpha)
    return torch.add(x, branch, alpha=alpha, out=branch)
