"""By what PyTorch computes linear layers and attention in fp32 on a CPU: which is faster is a fact of the machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Literal, NamedTuple


class Kernels(NamedTuple):
    """A choice; the results are alike to rounding.

    linear: ``blas``, which PyTorch takes (oneMKL on x86), or ``onednn``, by which it computes convolutions.
    attention: ``fused``, PyTorch's kernel, or ``products``: two products of matrices with a softmax between.
    """

    linear: Literal["blas", "onednn"] = "blas"
    attention: Literal["fused", "products"] = "fused"


PLAIN = Kernels()

_chosen: ContextVar[Kernels] = ContextVar("chosen", default=PLAIN)


@contextlib.contextmanager
def computed_by(kernels: Kernels) -> Iterator[None]:
    """Inside, networks of this package compute by these."""
    token = _chosen.set(kernels)
    try:
        yield
    finally:
        _chosen.reset(token)


def chosen() -> Kernels:
    """The kernels to compute by, for code that no compiler records (their tracers know no context variables)."""
    return _chosen.get()
