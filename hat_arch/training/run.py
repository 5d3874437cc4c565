"""What a model knows of the run that trains it: its options, its place in the data, its progress, requests to stop."""

from __future__ import annotations

import logging
import os
import signal
import sys
import types
from typing import Any, TextIO

import torch
from torch import distributed

from ..data.sampling import DrawSampler
from . import wandb_log
from .measuring import MeasuringModel
from .monitor import Monitor
from .start_summary import start_summary

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """Training was stopped by a signal, whose number is ``signal``; the message says what is saved."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


class TrainingRun:
    """One run of BasicSR's training or test loop.

    A model is given its run once, by its method ``follow``, when BasicSR's pipeline has built it. From then on the
    model itself calls `step_done` after each iteration. A model that no pipeline drives keeps a run without options
    and data, which never stops.

    Args:
        options: the checked option file; goes into the checkpoints.
        dry: whether it writes no checkpoint and no summary, and Ctrl-C stops it at once.
        restart: whether it begins again where a run of its name is there.
    """

    def __init__(self, options: dict[str, Any] | None = None, dry: bool = False, restart: bool = False) -> None:
        self.options = options or {}
        self.dry = dry
        self.restart = restart
        self.opt: dict[str, Any] = {}
        """The options as BasicSR's pipeline has completed them; empty until it has read them."""
        self.sampler: DrawSampler | None = None
        self.batch_size = 0
        """Samples of an iteration, of all processes together."""
        self.datasets: list[tuple[str, str, int]] = []
        """Phase, name and number of images of each."""
        self.val_loaders: list[Any] = []
        self.tb_logger: Any = None
        self.claimed: TextIO | None = None
        """Open while this run, and no other, may use its folder."""
        self.monitor = Monitor()
        self.model: Any = None
        self.place = 0, 0
        """Epoch, and samples of it, of all processes together, that were trained on."""
        self.stop_signal = 0
        """Number of the signal that came to this process; 0 if none did."""
        self.pid = os.getpid()

    def begin(self, model: Any) -> None:
        """Called when the model is built: shows what is about to run, and validates first if ``val_first`` says so."""
        self.model = model
        logging.getLogger("basicsr").info(start_summary(self.opt, model, self.datasets))
        if not self.opt["is_train"]:
            return
        self.monitor = Monitor(self.opt, self.batch_size, self.tb_logger)
        if (self.opt.get("val") or {}).get("val_first") and not self.opt["path"].get("resume_state"):
            for loader in self.val_loaders:
                model.validation(loader, 0, self.tb_logger, self.opt["val"]["save_img"])

    def shows(self, record: logging.LogRecord) -> bool:
        """Whether the terminal shows a line of the log: all once the model is built, before that only warnings."""
        return record.levelno >= logging.WARNING or self.model is not None

    # the place in the data

    def position(self) -> dict[str, int] | None:
        """The place in the data, for a checkpoint; None without data."""
        if self.sampler is None:
            return None
        epoch, samples = self.place
        images = len(self.sampler.dataset)
        return {"epoch": epoch, "samples": samples, "of": self.sampler.total_size, "images": images}

    def resume(self, state: dict[str, Any]) -> None:
        """Passes over the samples of the epoch that were trained on before ``state``, a checkpoint, was written."""
        place = state.get("position")
        if not place or self.sampler is None:
            return
        self.place = place["epoch"], place["samples"]
        if (place["of"], place["images"]) == (self.sampler.total_size, len(self.sampler.dataset)):
            self.sampler.passed_over = self.place
        else:
            logging.getLogger("basicsr").warning("the data set or the batch has changed: its epoch starts anew")

    # each iteration

    def step_done(self, model: Any, iteration: int, stop_signal: int) -> None:
        """Called by the model when an iteration is done.

        Args:
            model: shows its log and its learning rate.
            iteration: counted from 1.
            stop_signal: the signal for which all processes stop at this iteration; 0 for none.

        Raises:
            Stopped: a signal asked for it; a checkpoint of this iteration is written before.
        """
        epoch = self.sampler.epoch if self.sampler else 0
        self.place = epoch, (self.place[1] if self.place[0] == epoch else 0) + self.batch_size
        self.monitor.step_done(model, iteration)
        if stop_signal:
            model.save(epoch, iteration)
            saved = getattr(model, "saved", iteration) == iteration
            what = "which is saved" if saved else "which could not be saved; the checkpoint before is intact"
            raise Stopped(f"stopped after iteration {iteration:,}, {what}", stop_signal)

    def on_signal(self, number: int, frame: types.FrameType | None) -> None:
        """Handles SIGINT and SIGTERM: training stops after this iteration; a second Ctrl-C stops it at once."""
        if os.getpid() != self.pid:
            return  # a data-loading worker that has just been started
        again = number == self.stop_signal == signal.SIGINT and not self.opt["dist"]
        if not self.opt or self.dry or again:
            raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)
        if self.stop_signal:
            return  # a launcher passes on Ctrl-C, and SIGTERM after it
        self.stop_signal = number
        if self.opt.get("rank", 0) == 0:
            line = "\nStopping after this iteration, with a state to resume from. Ctrl-C again to stop at once."
            print(line, file=sys.stderr, flush=True)

    # the end

    def close(self) -> None:
        """Closes what the run has opened; also after an error."""
        self.monitor.close()
        if self.tb_logger:
            self.tb_logger.close()
            wandb_log.finish()
        if self.sampler:
            self.sampler.report()
        for handler in logging.getLogger("basicsr").handlers:
            handler.removeFilter(self.shows)
        if self.claimed:
            self.claimed.close()
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()


class FollowsRun(MeasuringModel):
    """Mixed into the models of BasicSR and of plugins, so that their training shows progress and can be stopped."""

    device: torch.device
    run: TrainingRun

    def follow(self, run: TrainingRun) -> None:
        self.run = run

    def test(self) -> None:
        with self.naming_the_image(Exception):
            super().test()  # type: ignore[misc]

    def optimize_parameters(self, current_iter: int) -> None:
        super().optimize_parameters(current_iter)  # type: ignore[misc]
        stop_signal = self.run.stop_signal
        if self.opt["dist"]:  # all processes stop at the same iteration, whichever got the signal
            heard = torch.tensor(stop_signal, device=self.device)
            distributed.all_reduce(heard, distributed.ReduceOp.MAX)
            stop_signal = int(heard)
        self.run.step_done(self, current_iter, stop_signal)

    def save(self, epoch: int, current_iter: int) -> None:
        if not self.run.dry:
            super().save(epoch, current_iter)  # type: ignore[misc]
