"""Trains the runs of an ablation with ``basicsr train``, several at once, and goes on with those that were stopped."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

from tqdm import tqdm

from ..utils.machine import cores

COMMAND = (sys.executable, "-m", "hat_arch", "train")
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Run:
    """One run of ``basicsr train``."""

    name: str
    options: Path
    """Option file."""
    iterations: int
    folder: Path
    """The one that BasicSR has its ``experiments/`` and ``tb_logger/`` in."""

    @property
    def experiment(self) -> Path:
        return self.folder / "experiments" / self.name

    @property
    def finished(self) -> bool:
        """Whether it was trained to its end and validated: the summary is written last."""
        return (self.experiment / "summary.md").is_file()


@dataclass(frozen=True)
class Trial:
    """A variant with a seed."""

    variant: str
    seed: int
    stages: tuple[Run, ...]
    """Trained in this order; the last is the one that counts."""

    def __str__(self) -> str:
        return f"{self.variant}, seed {self.seed}"

    @property
    def result(self) -> Run:
        return self.stages[-1]

    @property
    def before(self) -> int:
        """Iterations of the stages before the one that counts."""
        return sum(run.iterations for run in self.stages[:-1])


def train(
    trials: Sequence[Trial], at_once: int = 1, logs: Path | None = None, arguments: Sequence[str] = ()
) -> Generator[tuple[Trial, str | None], None, None]:
    """Trains what is not finished; yields each trial when it has ended, with what went wrong (None: nothing did).

    When the generator is closed or interrupted, the runs that are being trained stop with a checkpoint.

    Args:
        trials: what to train.
        at_once: number of trials that are trained at the same time.
        logs: folder for what the runs print, beside a progress bar; without it, they print to the terminal.
        arguments: further ones of ``basicsr train``.
    """
    # the runs have other working folders, and import from where this process does
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if at_once > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // at_once)))
    runs = {run.experiment: run for trial in trials for run in trial.stages}.values()
    waiting, active = deque(trials), dict[Trial, Generator[None, None, str | None]]()
    started: list[subprocess.Popen[bytes]] = []

    def start(run: Run, claim: int, output: BinaryIO | None) -> subprocess.Popen[bytes]:
        words = [*COMMAND, "-opt", str(run.options.resolve()), "--auto_resume", *arguments]
        started.append(
            subprocess.Popen(words, cwd=run.folder, env=environment, stdout=output, stderr=output, pass_fds=(claim,))
        )
        return started[-1]

    with tqdm(total=len(runs), unit="run", dynamic_ncols=True, disable=None if logs else True) as bar:
        try:
            while waiting or active:
                while waiting and len(active) < at_once:
                    trial = waiting.popleft()
                    active[trial] = _stages(trial, logs, start)
                for trial, steps in [*active.items()]:
                    try:
                        next(steps)
                    except StopIteration as end:
                        del active[trial]
                        yield trial, end.value
                bar.n = sum(run.finished for run in runs)
                bar.refresh()
                time.sleep(POLL_SECONDS)
        finally:
            for process in started:
                process.terminate()  # does nothing to those that have ended
            for process in started:
                process.wait()


def _stages(
    trial: Trial, logs: Path | None, start: Callable[[Run, int, BinaryIO | None], subprocess.Popen[bytes]]
) -> Generator[None, None, str | None]:
    """Trains the stages of a trial that are not finished, and yields while it waits; returns what went wrong.

    Each run is claimed by a lock on an open file, which the process that trains it inherits: the claim outlives this
    command if that is killed, and ends with the training.
    """
    for run in trial.stages:
        if run.finished:
            continue
        run.experiment.parent.mkdir(parents=True, exist_ok=True)
        with run.experiment.with_name(f".{run.name}.lock").open("w") as lock:
            while not _locked(lock):
                yield
            if run.finished:  # another command has trained it meanwhile
                continue
            log = logs / f"{run.name}.log" if logs else None
            with log.open("ab") if log else contextlib.nullcontext() as output:
                begin = output.tell() if output else 0
                if log is None:
                    print(f"{trial}: {run.name}, {run.iterations:,} iterations", flush=True)
                process = start(run, lock.fileno(), output)
                while process.poll() is None:
                    yield
        code = process.returncode
        if code != 0 or not run.finished:
            problem = f"{run.name} ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}"
            return f"{problem}{_last_words(log, begin)} ({log})" if log else problem
    return None


def _locked(file: TextIO) -> bool:
    """Locks a file unless another process, or another opening of it, has."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False


def _last_words(log: Path, begin: int) -> str:
    """What a run printed last, since it began at this byte of its log: its ``basicsr: …`` line, or any."""
    lines = [line.strip() for line in log.read_bytes()[begin:].decode(errors="replace").splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if line.startswith("basicsr: ")), "".join(lines[-1:]))
    return f": {said.removeprefix('basicsr: ')}" if said else ""
