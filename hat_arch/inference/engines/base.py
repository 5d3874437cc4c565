"""What engines are, and share: their errors, lack of memory among them, and whether they compute what PyTorch does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

from ...utils.errors import UserError, in_one_line
from ..prepared import Prepared

Report = Callable[[str], object]
TOLERANCES = {None: 1e-3, torch.bfloat16: 5e-2, torch.float16: 2e-2}
"""Largest difference to PyTorch in fp32, as a share of the largest value, for a type of autocast (None: fp32).

It is to notice another function, not another order of additions: random weights of a deep network make those large.
"""
TRIAL = 8
"""Pixels of the least side of an image by which a graph is tried; exporters take sizes of 1 for another kind."""
NO_MEMORY = ("bad_alloc", "bad allocation", "allocate memory", "out of memory", "Not enough memory")


class Engine(Protocol):
    """Computes a network on images: float32 ``(B, C, h, w)`` to float32 ``(B, C, scale · h, scale · w)``."""

    name: str
    one_shape: bool
    """Whether images of a shape that was there before are computed faster."""

    def __call__(self, images: Tensor) -> Tensor: ...

    def follow(self) -> None:
        """Takes over what has become of the network's weights."""

    def release(self) -> None:
        """Gives back the memory that is kept for the next call."""


class EngineError(UserError):
    """A network, file or precision is nothing for an engine; the message says what to do."""


class Unfit(EngineError):
    """A network cannot run in an engine of these versions, today or tomorrow."""


@contextlib.contextmanager
def runtime_errors(name: str) -> Iterator[None]:
    """Makes a `MemoryError` of what a runtime raises where memory is not enough, so that tiles become smaller.

    Of all else that it raises, an `EngineError`.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each runtime has its own
        if any(words in str(error) for words in NO_MEMORY):
            raise MemoryError(str(error)) from error
        raise EngineError(f"engine {name}: fails: {in_one_line(error)[:200]}; take --engine torch") from error


def trial_images(multiple: int, channels: int) -> list[Tensor]:
    """Two small batches of unlike sizes, by which `check` tells whether a graph is right for every size.

    One side is an odd ``multiple``, so that a graph in which the padding of a network to its windows has become a
    constant is found out.
    """
    generator = torch.Generator().manual_seed(0)
    side = -(-TRIAL // multiple) * multiple
    return [
        torch.rand(*shape, generator=generator)
        for shape in ((1, channels, 2 * side, side), (2, channels, side, 3 * side + multiple))
    ]


def check(
    name: str, run: Callable[[Tensor], Tensor], network: nn.Module, images: list[Tensor], dtype: torch.dtype | None
) -> None:
    """Raises `Unfit` unless an engine computes what PyTorch computes in fp32.

    A result that is not finite in fp16 or bf16 passes, since `Upscaler` sees to that.
    """
    for image in images:
        expected, actual = Prepared(network)(image), run(image)
        if dtype is not None and not torch.isfinite(actual).all():
            continue
        same = actual.shape == expected.shape
        error = float((actual - expected).abs().max() / expected.abs().max().clamp_min(1e-3)) if same else float("inf")
        if not error <= TOLERANCES[dtype]:  # also NaN
            raise Unfit(
                f"engine {name}: computes something else than PyTorch for this network (of {tuple(image.shape)}, "
                f"{error:.1e} of the largest value); take --engine torch"
            )
