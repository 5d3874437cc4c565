"""What a person sees of a training that goes on: a progress bar, and numbers in TensorBoard."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from typing import Any

import torch
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm


class Monitor:
    """Shows the progress of a training; on processes other than the first, and without options, it only counts.

    Args:
        opt: the options as BasicSR's pipeline has completed them.
        batch_size: samples of an iteration, of all processes together.
        tb_logger: TensorBoard's writer, if the run has one.
    """

    def __init__(self, opt: dict[str, Any] | None = None, batch_size: int = 0, tb_logger: Any = None) -> None:
        self.opt = opt
        self.batch_size = batch_size
        self.tb_logger = tb_logger
        self.iteration = 0
        self.first_iteration = 0
        self.started_at = 0.0
        """Time at the end of the first iteration of this process, in seconds; 0 before."""
        self._cleanup = contextlib.ExitStack()
        self._bar: tqdm | None = None

    def step_done(self, model: Any, iteration: int) -> None:
        """Counts an iteration and shows its losses."""
        self.iteration = iteration
        if not self.started_at:
            self.first_iteration, self.started_at = iteration, time.perf_counter()
        if self.opt is None or self.opt["rank"] != 0:
            return
        if sys.stderr.isatty():
            self._draw(model)
        if self.tb_logger and iteration % self.opt["logger"]["print_freq"] == 0:
            numbers = {"lr": model.get_current_learning_rate()[0], **self.rates()}
            for name, value in numbers.items():
                self.tb_logger.add_scalar(f"training/{name}", value, iteration)

    def seconds(self) -> float:
        """Time that this process has trained, from the end of its first iteration."""
        return time.perf_counter() - self.started_at if self.started_at else 0.0

    def rates(self) -> dict[str, float]:
        """Samples a second since the first iteration here, and on CUDA the peak memory in MiB."""
        rates = {}
        if self.iteration > self.first_iteration and self.batch_size:
            rates["samples_per_second"] = (self.iteration - self.first_iteration) * self.batch_size / self.seconds()
        if torch.cuda.is_available():
            rates["memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
        return rates

    def _draw(self, model: Any) -> None:
        assert self.opt is not None
        if self._bar is None:
            self._cleanup.enter_context(logging_redirect_tqdm(loggers=[logging.getLogger("basicsr")]))
            total = int(self.opt["train"]["total_iter"])
            self._bar = tqdm(total=total, initial=self.iteration - 1, unit="it", dynamic_ncols=True)
            self._cleanup.callback(self._bar.close)
        shown = {name: f"{value:.3e}" for name, value in model.get_current_log().items()}
        rates = self.rates()
        for name, label in (("samples_per_second", "samples/s"), ("memory_mib", "MiB")):
            if name in rates:
                shown[label] = f"{rates[name]:.3g}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update(self.iteration - self._bar.n)

    def close(self) -> None:
        """Ends the progress bar."""
        self._cleanup.close()
