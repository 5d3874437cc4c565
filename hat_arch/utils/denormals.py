"""Makes the CPU take numbers below 1.2e-38 for zero.

Attention's masks add -100 to scores, whose exponentials then are such denormal numbers, and processors compute with
them many times more slowly: softmax takes 9 times as long, a product of matrices 10 times, and so do their gradients.
"""

from __future__ import annotations

import numpy
import torch


def flush() -> bool:
    """Makes this thread, and those that it starts from now on, take denormal numbers for zero; returns whether it does.

    PyTorch starts its threads with the first large computation: call it before. This concerns the whole process, so a
    program calls it, never a library: ``basicsr`` does.
    """
    for kind in (numpy.float16, numpy.float32, numpy.float64, numpy.longdouble):
        numpy.finfo(kind)  # NumPy asks for the smallest number once, and older ones warn if that is zero then
    return torch.set_flush_denormal(True)
