"""Runs BasicSR's own training and test pipelines on checked options.

What a person who watches adds to the loop is here: a progress bar, numbers and pictures in TensorBoard, a stop (Ctrl-C,
SIGTERM) that leaves a state to resume from, and the place in the epoch at which a run goes on.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
import types
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from ..data.sampling import DrawSampler
from . import wandb_log
from .seams import pipeline_seams

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """Training was stopped by a signal, whose number is ``signal``; the message says what is saved."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


class Watch:
    """Goes along with one run of a pipeline: draws progress, stops it on request, resumes it where it was."""

    def __init__(self, checked: dict[str, Any]) -> None:
        self.checked = checked
        self.opt: dict[str, Any] = {}
        self.iteration, self.first = 0, 0
        self.bar: tqdm | None = None
        self.cleanup = contextlib.ExitStack()
        self.stop_signal, self.agreed_signal = 0, 0
        """The signal that came to this process, and the one for which all processes stop."""
        self.pid = os.getpid()
        self.samplers: list[DrawSampler] = []
        self.val_loaders: list[Any] = []
        self.batch = 1
        self.done: tuple[int, int] = (0, 0)
        """Epoch, and samples of it, of all processes, that were trained on."""
        self.tb_logger: Any = None
        self.trained: Any = None
        self.started_at = 0.0

    # what the pipeline tells

    def started(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        if not opt["dist"] and opt["num_gpu"] > 1:  # BasicSR would take DataParallel, which is slow
            print(f"One of {opt['num_gpu']} GPUs is used; all with: --gpus {opt['num_gpu']}", file=sys.stderr)
            opt["num_gpu"] = 1

    def sampler(self, sampler: DrawSampler) -> None:
        self.samplers.append(sampler)

    def loader(self, loader: Any) -> None:
        if loader.sampler in self.samplers:
            self.batch = loader.batch_size * self.opt["world_size"]
        else:
            self.val_loaders.append(loader)

    def logger(self, tb_logger: Any) -> None:
        self.tb_logger = tb_logger

    def model(self, model: Any) -> None:
        """Puts itself around the model's steps and checkpoints."""
        self.trained = model
        if not self.opt["is_train"]:
            return
        step, save, resume = model.optimize_parameters, model.save, model.resume_training
        update_learning_rate = model.update_learning_rate
        model.run_options, model.position = self.checked, self.position

        def resume_training(state: dict[str, Any]) -> None:
            resume(state)
            self.go_on(state)

        def update(current_iter: int, warmup_iter: int = -1) -> None:
            if current_iter == 1 and (self.opt.get("val") or {}).get("val_first"):
                for loader in self.val_loaders:
                    model.validation(loader, 0, self.tb_logger, self.opt["val"]["save_img"])
            update_learning_rate(current_iter, warmup_iter)

        def optimize_parameters(current_iter: int) -> None:
            step(current_iter)
            self.advance(current_iter, model)

        def save_and_maybe_stop(epoch: int, current_iter: int) -> None:
            save(epoch, current_iter)
            if self.agreed_signal and current_iter != -1:
                saved = getattr(model, "saved", current_iter)
                what = (
                    "which is saved"
                    if saved == current_iter
                    else "which could not be saved; the checkpoint before is intact"
                )
                raise Stopped(f"stopped after iteration {current_iter:,}, {what}", self.agreed_signal)

        model.resume_training, model.update_learning_rate = resume_training, update
        model.optimize_parameters, model.save = optimize_parameters, save_and_maybe_stop

    # the place in the epoch

    def position(self) -> dict[str, int]:
        epoch, samples = self.done
        return {"epoch": epoch, "samples": samples, "of": self.samplers[0].total_size, "images": self._images()}

    def _images(self) -> int:
        return len(self.samplers[0].dataset)

    def go_on(self, state: dict[str, Any]) -> None:
        """Passes over the samples of the epoch that a run was trained on before ``state`` was written."""
        self.iteration = state["iter"]
        place = state.get("position")
        if not place:
            return
        self.done = place["epoch"], place["samples"]
        if (place["of"], place["images"]) == (self.samplers[0].total_size, self._images()):
            self.samplers[0].passed_over = self.done
        else:
            logging.getLogger("basicsr").warning("the data set or the batch has changed: its epoch starts anew")

    # each iteration

    def advance(self, iteration: int, model: Any) -> None:
        self.iteration = iteration
        epoch = self.samplers[0].epoch
        self.done = epoch, (self.done[1] if self.done[0] == epoch else 0) + self.batch
        if self.opt["dist"]:  # all processes stop at the same iteration, whichever got the signal
            heard = torch.tensor(self.stop_signal, device=model.device)
            distributed.all_reduce(heard, distributed.ReduceOp.MAX)
            self.stop_signal = int(heard)
        self.agreed_signal = self.stop_signal  # one that comes later, to whichever process, is for the next iteration
        if self.agreed_signal:
            self.opt["logger"]["save_checkpoint_freq"] = 1  # BasicSR's loop saves at the end of this iteration
        if not self.started_at:
            self.first, self.started_at = iteration, time.perf_counter()
        if self.opt["rank"] == 0:
            self._draw(iteration, model)
            if self.tb_logger and iteration % self.opt["logger"]["print_freq"] == 0:
                for name, value in self.numbers(model).items():
                    self.tb_logger.add_scalar(f"training/{name}", value, iteration)

    def numbers(self, model: Any) -> dict[str, float]:
        """Learning rate, samples a second since the first iteration here, and memory in MiB."""
        seconds = time.perf_counter() - self.started_at
        numbers = {"lr": model.get_current_learning_rate()[0]}
        if self.iteration > self.first:
            numbers["samples_per_second"] = (self.iteration - self.first) * self.batch / seconds
        if torch.cuda.is_available():
            numbers["memory_mib"] = torch.cuda.max_memory_allocated() / 2**20
        return numbers

    def _draw(self, iteration: int, model: Any) -> None:
        if self.bar is None:
            if not sys.stderr.isatty():
                return
            self.cleanup.enter_context(logging_redirect_tqdm(loggers=[logging.getLogger("basicsr")]))
            total = int(self.opt["train"]["total_iter"])
            self.bar = tqdm(total=total, initial=iteration - 1, unit="it", dynamic_ncols=True)
            self.cleanup.callback(self.bar.close)
        numbers = self.numbers(model)
        shown = {name: f"{value:.3e}" for name, value in model.get_current_log().items()}
        for name, label in (("samples_per_second", "samples/s"), ("memory_mib", "MiB")):
            if name in numbers:
                shown[label] = f"{numbers[name]:.3g}"
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(iteration - self.bar.n)

    def on_signal(self, number: int, frame: types.FrameType | None) -> None:
        """Lets BasicSR's loop save at the end of this iteration; a second one stops at once."""
        if os.getpid() != self.pid:
            return  # a data-loading worker that has just been started
        if not self.opt and number == signal.SIGTERM:
            raise SystemExit(128 + number)
        if not self.opt or (number == self.stop_signal == signal.SIGINT and not self.opt["dist"]):
            raise KeyboardInterrupt
        if self.stop_signal:
            return  # a launcher passes on Ctrl-C, and SIGTERM after it
        self.stop_signal = number
        if self.opt.get("rank", 0) == 0:
            print(
                "\nStopping after this iteration, with a state to resume from. Ctrl-C again to stop at once.",
                flush=True,
            )

    def finish(self) -> None:
        """Leaves curves.png and summary.md in the run's folder."""
        if self.opt["rank"] != 0:
            return
        from . import report

        folder = Path(self.opt["path"]["experiments_root"])
        drawn = report.draw_curves(
            Path(self.opt["root_path"]) / "tb_logger" / self.opt["name"], None, folder / "curves.png"
        )
        seconds = time.perf_counter() - self.started_at if self.started_at else 0.0
        numbers = self.numbers(self.trained) if self.started_at else {}
        text = report.summary(self.opt, self.trained, self.iteration, seconds, numbers, drawn)
        (folder / "summary.md").write_text(text, encoding="utf-8")
        print(f"{folder / 'summary.md'}{', curves.png' if drawn else ''}")

    def close(self) -> None:
        self.cleanup.close()
        if self.tb_logger:
            self.tb_logger.close()
            wandb_log.finish()
        for sampler in self.samplers:
            sampler.report()
        if distributed.is_available() and distributed.is_initialized():
            distributed.destroy_process_group()


def train(opt: dict[str, Any], argv: list[str], root: Path, watch: Watch | None = None) -> None:
    """Trains; runs go to ``root/experiments``.

    Args:
        opt: options from `hat_arch.config.reading.load`.
        argv: BasicSR's command line (``-opt FILE``, ``--launcher``, ``--auto_resume``, ``--debug``).
        root: the folder below which BasicSR writes.
        watch: goes along, instead of a `Watch`.

    Raises:
        Stopped: Ctrl-C or SIGTERM came; the state is saved.
        KeyboardInterrupt: it came twice, or before training began.
    """
    from basicsr.train import train_pipeline

    watch = watch or Watch(opt)
    previous = {number: signal.signal(number, watch.on_signal) for number in SIGNALS}
    try:
        with pipeline_seams(opt, argv, watch):
            train_pipeline(str(root))
            watch.finish()
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        watch.close()


def test(opt: dict[str, Any], argv: list[str], root: Path, watch: Watch | None = None) -> None:
    """Tests; results go to ``root/results``. Arguments as for `train`."""
    from basicsr.test import test_pipeline

    watch = watch or Watch(opt)
    try:
        with pipeline_seams(opt, argv, watch):
            test_pipeline(str(root))
    finally:
        watch.close()
