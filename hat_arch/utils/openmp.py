"""Makes PyTorch's threads wait without burning the cores that other work needs.

PyTorch computes on OpenMP's threads. Between two operations they spin: they ask again and again whether there is work,
and only after a while do they sleep. Beside other work, a thread that spins holds the core that the thread it waits for
would need: HAT ×4 at 64×64 in bf16 on two cores took 0.6 s, and 1.9 s and more beside one busy loop; 1.35 s with 1,000
rounds of spinning. A training step of many small operations then took 13 % longer on an idle machine. With 3,000 rounds
it takes 6 % longer there, and 8 % longer beside the loop than with 1,000 (``experiments/benchmarks/inference.py`` and
``training.py`` measure both).
"""

from __future__ import annotations

import os

WAIT = {
    "GOMP_SPINCOUNT": "3000",  # rounds; GNU's runtime, which PyTorch for Linux carries
    "KMP_BLOCKTIME": "1",  # milliseconds; Intel's and LLVM's, of macOS, Windows and conda. Others read neither.
}
OF_THE_USER = ("OMP_WAIT_POLICY", *WAIT)


def wait_briefly() -> bool:
    """Sets how long threads spin, in the environment of this process and of those that it starts.

    The runtimes read it once, as they are loaded with PyTorch; so this has to be called before. It concerns the whole
    process, so a program calls it, never a library: ``basicsr`` does.

    Returns:
        Whether it was set: not if the environment says already how threads are to wait.
    """
    if any(name in os.environ for name in OF_THE_USER):
        return False
    os.environ.update(WAIT)
    return True
