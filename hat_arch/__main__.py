"""``python -m hat_arch``: the ``basicsr`` command for launchers, which start modules (``torchrun -m hat_arch …``)."""

import os
import sys

import torch

from .cli import command
from .utils import openmp

if openmp.wait_briefly() and sys.platform == "linux" and torch.get_num_threads() > 1:
    os.execv(sys.executable, sys.orig_argv)  # anew: PyTorch, which reads it as it is imported, has been with hat_arch
command()
