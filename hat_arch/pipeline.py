"""Runs BasicSR's own training and test pipelines on checked options.

What a person at a terminal adds to the loop is here: a progress bar, and a Ctrl-C that leaves a state to resume from.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import types
from pathlib import Path
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from .basicsr_compat import pipeline_seams


class Stopped(Exception):
    """Training was stopped on request, after its state was saved."""


class Watch:
    """Goes along with one training run: draws progress, stops it on request."""

    def __init__(self) -> None:
        self.iteration = 0
        self.bar: tqdm | None = None
        self.cleanup = contextlib.ExitStack()
        self.opt: dict[str, Any] = {}
        self.stop_requested = False
        self.pid = os.getpid()

    def model(self, model: Any, opt: dict[str, Any]) -> Any:
        """Notes when ``model`` does a step and when it is saved; ``opt`` are the options that BasicSR's loop reads."""
        self.opt = opt
        step, save = model.optimize_parameters, model.save

        def optimize_parameters(current_iter: int) -> None:
            step(current_iter)
            self.advance(current_iter, model)

        def save_and_maybe_stop(epoch: int, current_iter: int) -> None:
            save(epoch, current_iter)
            if self.stop_requested and current_iter != -1:
                raise Stopped(f"stopped after iteration {current_iter:,}, which is saved")

        model.optimize_parameters, model.save = optimize_parameters, save_and_maybe_stop
        return model

    def advance(self, iteration: int, model: Any) -> None:
        self.iteration = iteration
        if self.bar is None:
            if not sys.stderr.isatty() or self.opt["rank"] != 0:
                return
            self.cleanup.enter_context(logging_redirect_tqdm(loggers=[logging.getLogger("basicsr")]))
            total = int(self.opt["train"]["total_iter"])
            self.bar = tqdm(total=total, initial=iteration - 1, unit="it", dynamic_ncols=True)
            self.cleanup.callback(self.bar.close)
        losses = {name: f"{value:.3e}" for name, value in model.get_current_log().items()}
        self.bar.set_postfix(losses, refresh=False)
        self.bar.update(iteration - self.bar.n)

    def on_interrupt(self, signum: int, frame: types.FrameType | None) -> None:
        """Lets BasicSR's loop save at the end of this iteration; a second Ctrl-C stops at once."""
        if os.getpid() != self.pid:
            return  # a data-loading worker; the main process decides
        if self.stop_requested or not self.opt:
            raise KeyboardInterrupt
        self.stop_requested = True
        self.opt["logger"]["save_checkpoint_freq"] = 1
        print("\nStopping after this iteration, with a state to resume from. Ctrl-C again to stop at once.", flush=True)


def train(opt: dict[str, Any], argv: list[str], root: Path) -> None:
    """Trains; runs go to ``root/experiments``.

    Args:
        opt: options from `hat_arch.config.load`.
        argv: BasicSR's command line (``-opt FILE``, ``--launcher``, ``--auto_resume``, ``--debug``).
        root: the folder below which BasicSR writes.

    Raises:
        Stopped: Ctrl-C was pressed; the state is saved.
        KeyboardInterrupt: Ctrl-C was pressed twice, or before training began.
    """
    from basicsr.train import train_pipeline

    watch = Watch()
    previous = signal.signal(signal.SIGINT, watch.on_interrupt)
    try:
        with pipeline_seams(opt, argv, watch.model):
            train_pipeline(str(root))
    finally:
        signal.signal(signal.SIGINT, previous)
        watch.cleanup.close()


def test(opt: dict[str, Any], argv: list[str], root: Path) -> None:
    """Tests; results go to ``root/results``. Arguments as for `train`."""
    from basicsr.test import test_pipeline

    with pipeline_seams(opt, argv, lambda model, _: model):
        test_pipeline(str(root))
