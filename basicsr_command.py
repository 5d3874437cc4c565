"""The ``basicsr`` program.

``import hat_arch`` registers networks, models and data sets with BasicSR, for which it imports PyTorch and BasicSR: it
takes seconds, too long for ``basicsr --help`` or a mistyped option. So this module lies outside of that package, and
puts it into ``sys.modules`` without running its ``__init__``. `hat_arch.cli` can then be imported alone, and it runs
that ``__init__`` once it has read the command line and a command needs it.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command of ``sys.argv`` and ends the process with its exit code."""
    try:
        spec = importlib.util.find_spec("hat_arch")
        assert spec is not None and spec.loader is not None  # it is installed together with this module
        package = sys.modules["hat_arch"] = importlib.util.module_from_spec(spec)
        from hat_arch import cli
        from hat_arch.utils import openmp

        openmp.wait_briefly()
    except KeyboardInterrupt:
        print("basicsr: stopped", file=sys.stderr)
        sys.exit(130)
    run_init = spec.loader.exec_module
    cli.command(load_library=lambda: run_init(package))
