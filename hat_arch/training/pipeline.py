"""Runs BasicSR's own training and test pipelines on checked options.

A step, from the outside in: `train` calls ``basicsr.train.train_pipeline``. Its loop reads a batch and calls, for each
iteration, ``update_learning_rate``, ``feed_data`` and ``optimize_parameters`` of the model; `HATModel` has all that
happens in these. What BasicSR's pipelines need to run today is in `seams`, one function each.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from basicsr.utils.registry import MODEL_REGISTRY

from ..compat.registration import registered
from ..compat.without_cuda import cuda_is_cpu
from . import run_folder
from .results import write_results
from .run import SIGNALS, Stopped, TrainingRun
from .run_folder import RunIsDone
from .seams import seams

__all__ = ["RunIsDone", "Stopped", "test", "train"]


def train(opt: dict[str, Any], argv: list[str], root: Path, run: TrainingRun | None = None) -> None:
    """Trains; BasicSR writes to ``root/experiments``.

    Args:
        opt: options from `hat_arch.config.load`.
        argv: BasicSR's command line (``-opt FILE``, ``--launcher``, ``--auto_resume``, ``--debug``).
        root: the folder below which BasicSR writes.
        run: what the model follows; by default a new `TrainingRun`.

    Raises:
        RunIsDone: nothing is left to train.
        Stopped: Ctrl-C or SIGTERM came; the state is saved.
        KeyboardInterrupt: it came twice, or before training began.
    """
    from basicsr.train import train_pipeline

    run = run or TrainingRun(opt)
    previous = {number: signal.signal(number, run.on_signal) for number in SIGNALS}
    try:
        with seams(opt, argv, run), cuda_is_cpu(_names_cuda(opt)):
            train_pipeline(str(root))
            if run.opt["rank"] == 0 and not run.dry:
                from . import report  # here, since it imports Matplotlib

                report.write_summary(run.opt, run.model, run.monitor)
                run_folder.finish(run.opt, opt, int(run.opt["train"]["total_iter"]))
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        run.close()


def test(opt: dict[str, Any], argv: list[str], root: Path, run: TrainingRun | None = None) -> None:
    """Tests; BasicSR writes to ``root/results``. Arguments as for `train`."""
    from basicsr.test import test_pipeline

    run = run or TrainingRun(opt)
    try:
        with seams(opt, argv, run), cuda_is_cpu(_names_cuda(opt)):
            test_pipeline(str(root))
            if run.opt["rank"] == 0 and not run.dry:
                write_results(run.opt, getattr(run.model, "measured", {}))
    finally:
        run.close()


def _names_cuda(opt: dict[str, Any]) -> bool:
    """Whether this is the CPU, and a model that may name CUDA outright, as BasicSR's do and this project's do not."""
    return not opt["num_gpu"] and not hasattr(registered(MODEL_REGISTRY, opt["model_type"]), "hat_sections")
