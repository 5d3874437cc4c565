"""Trains many runs, each in a process of its own, some of them at once; goes on with those that were stopped."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from multiprocessing.process import BaseProcess
from pathlib import Path

from tqdm import tqdm

from ..data.parallel import cores
from ..training import checkpoints as training_state

Command = Callable[[list[str]], int]
"""``basicsr train`` with its arguments; returns an exit code."""

STOPPED = 130  # exit code of a process that was stopped by Ctrl-C
TAIL = 65536  # bytes of a log in which the newest iteration is looked for


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

    @property
    def done(self) -> int:
        """Iterations that it has come to, as its newest log or checkpoint tells."""
        if self.finished:
            return self.iterations
        for log in sorted(self.experiment.glob("train_*.log"), reverse=True)[:1]:
            with log.open("rb") as file:
                file.seek(max(0, log.stat().st_size - TAIL))
                found = re.findall(rb"\biter:\s*([\d,]+)", file.read())
            if found:
                return int(found[-1].replace(b",", b""))
        return max(training_state.iterations(self.experiment / "training_states"), default=0)


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
    trials: Sequence[Trial], command: Command, at_once: int = 1, logs: Path | None = None, arguments: Sequence[str] = ()
) -> Generator[tuple[Trial, str | None], None, None]:
    """Trains what is not finished; yields each trial when it is over, with what went wrong.

    When the generator is closed or interrupted, what is being trained stops with a checkpoint.

    Args:
        trials: what to train.
        command: called in the processes, which begin anew (``spawn``).
        at_once: number of processes.
        logs: folder for what the processes print, under a progress bar; without it, they print here.
        arguments: further ones of ``basicsr train``.
    """
    if at_once > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // at_once)))
    waiting, pool = deque(trials), _Pool(command, logs, arguments, _Progress(trials, bar=logs is not None))
    try:
        while waiting or pool.active:
            while waiting and len(pool.active) < at_once:
                trial = waiting.popleft()
                if not pool.begin(trial, trial.stages):
                    yield trial, None
            for one in pool.ended():
                problem = _problem(one, logs)
                if problem or not pool.begin(one.trial, one.later):
                    yield one.trial, problem
    finally:
        pool.stop()


@dataclass
class _Active:
    trial: Trial
    run: Run
    later: Sequence[Run]
    process: BaseProcess
    logged: int
    """Size of its log when it began."""


class _Pool:
    """The processes that train."""

    def __init__(self, command: Command, logs: Path | None, arguments: Sequence[str], progress: _Progress) -> None:
        self.command, self.logs, self.arguments, self.progress = command, logs, arguments, progress
        self.active: list[_Active] = []

    def begin(self, trial: Trial, stages: Sequence[Run]) -> bool:
        """Starts the first of these stages that is not finished; whether there is one."""
        left = [run for run in stages if not run.finished]
        if not left:
            return False
        run, log = left[0], self.logs / f"{left[0].name}.log" if self.logs else None
        words = ["-opt", str(run.options.resolve()), "--auto_resume", *self.arguments]
        process = get_context("spawn").Process(target=_process, args=(self.command, words, run, log))
        logged = log.stat().st_size if log and log.is_file() else 0
        self.progress.begins(trial, run)
        with _ignoring_ctrl_c():
            process.start()
        self.active.append(_Active(trial, run, left[1:], process, logged))
        return True

    def ended(self) -> list[_Active]:
        """Waits up to a second; those that have ended.

        Raises:
            KeyboardInterrupt: one was stopped by Ctrl-C, which goes to all processes of a terminal.
        """
        connection.wait([one.process.sentinel for one in self.active], timeout=1)
        self.progress.draw([f"{one.trial}" for one in self.active])
        over = [one for one in self.active if one.process.exitcode is not None]
        self.active = [one for one in self.active if one not in over]
        if any(one.process.exitcode == STOPPED for one in over):
            raise KeyboardInterrupt
        return over

    def stop(self) -> None:
        self.progress.close()
        for one in self.active:
            one.process.terminate()  # SIGTERM, upon which training writes a checkpoint
        for one in self.active:
            one.process.join()


@contextlib.contextmanager
def _ignoring_ctrl_c() -> Iterator[None]:
    """For a process that begins inside: until it trains, it leaves Ctrl-C to the one that started it."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _process(command: Command, words: list[str], run: Run, log: Path | None) -> None:
    """What a process does; it stops, with a checkpoint, when the one that started it is no more."""
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    if log:
        with log.open("ab") as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
    os.chdir(run.folder)
    run.experiment.parent.mkdir(exist_ok=True)
    with run.experiment.with_name(f".{run.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # one that lost its parent may still be writing its checkpoint
        code = command(words)
    sys.exit(code)


def _stop_with_parent() -> None:
    if parent := parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _problem(one: _Active, logs: Path | None) -> str | None:
    """Why a process did not do its work, in one line."""
    code = one.process.exitcode
    if code == 0 and one.run.finished:
        return None
    how = f"{one.run.name} ended with {f'signal {-code}' if code and code < 0 else f'exit code {code}'}"
    if logs is None:
        return how
    log = logs / f"{one.run.name}.log"
    with contextlib.suppress(OSError):
        text = log.read_bytes()[one.logged :].decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        if said := next((line for line in reversed(lines) if line.startswith("basicsr: ")), "".join(lines[-1:])):
            how += f": {said.removeprefix('basicsr: ')}"
    return f"{how} ({log})"


class _Progress:
    """How far all runs together are: a bar, or a line when one begins."""

    def __init__(self, trials: Sequence[Trial], bar: bool) -> None:
        self.runs = {run.name: run for trial in trials for run in trial.stages}.values()
        self.total = sum(run.iterations for run in self.runs)
        self.first = self.done()
        self.started = time.monotonic()
        terminal = sys.stderr.isatty()
        self.bar = tqdm(
            total=self.total,
            initial=self.first,
            unit="it",
            smoothing=0,  # variants differ in speed
            dynamic_ncols=terminal,
            mininterval=0.2 if terminal else 30,
            disable=not bar,
        )

    def done(self) -> int:
        return sum(min(run.done, run.iterations) for run in self.runs)

    def begins(self, trial: Trial, run: Run) -> None:
        if not self.bar.disable:
            return
        done, seconds = self.done(), time.monotonic() - self.started
        left = ""
        if done > self.first:
            left = f"; about {(self.total - done) * seconds / (done - self.first) / 3600:.1f} h left"
        print(f"{trial}: {run.name}, {run.iterations:,} iterations ({done:,} of {self.total:,} done{left})", flush=True)

    def draw(self, names: list[str]) -> None:
        if not self.bar.disable:
            self.bar.set_description(" | ".join(names), refresh=False)
            self.bar.update(self.done() - self.bar.n)

    def close(self) -> None:
        self.bar.close()
