"""Trains the runs of an ablation with ``basicsr train``, several at once, and goes on with those that were stopped."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..utils.machine import cores

COMMAND = (sys.executable, "-m", "hat_arch", "train")


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
    runs = {run.experiment: run for trial in trials for run in trial.stages}.values()
    processes = _Processes(at_once, logs, arguments)
    finished = sum(run.finished for run in runs)
    bar = tqdm(total=len(runs), initial=finished, unit="run", dynamic_ncols=True, disable=None if logs else True)
    with ThreadPoolExecutor(at_once) as executor, bar:
        futures = {executor.submit(processes.train, trial): trial for trial in trials}
        waiting = set(futures)
        try:
            while waiting:
                ended, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                bar.n = sum(run.finished for run in runs)
                bar.refresh()
                for future in sorted(ended, key=list(futures).index):
                    yield futures[future], future.result()
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            processes.stop()


class _Processes:
    """The processes that train now."""

    def __init__(self, at_once: int, logs: Path | None, arguments: Sequence[str]) -> None:
        self.logs, self.arguments = logs, arguments
        # they run in other folders, and import from where this process does
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        if at_once > 1:
            self.environment.setdefault("OMP_NUM_THREADS", str(max(1, cores() // at_once)))
        self.running: set[subprocess.Popen[bytes]] = set()
        self.stopping = threading.Event()
        self.lock = threading.Lock()

    def train(self, trial: Trial) -> str | None:
        """Trains the stages of a trial that are not finished; returns what went wrong."""
        for run in trial.stages:
            if run.finished:
                continue
            with self._claimed(run) as claim:
                if run.finished:  # another command has trained it meanwhile
                    continue
                if self.logs is None:
                    tqdm.write(f"{trial}: {run.name}, {run.iterations:,} iterations")
                if problem := self._train(run, claim):
                    return problem
        return None

    def stop(self) -> None:
        """Has every process write a checkpoint and end."""
        with self.lock:
            self.stopping.set()
            for process in self.running:
                process.terminate()

    @contextlib.contextmanager
    def _claimed(self, run: Run) -> Iterator[int]:
        """Waits until no other process trains this run, here or for another command; yields what holds the claim.

        The claim is a lock on an open file, which the process that trains inherits: it outlives this command if that
        is killed, and ends with the training.
        """
        file = run.experiment.with_name(f".{run.name}.lock")
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("w") as lock:
            while not self.stopping.is_set():
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                self.stopping.wait(1)
            yield lock.fileno()

    def _train(self, run: Run, claim: int) -> str | None:
        log = self.logs / f"{run.name}.log" if self.logs else None
        words = [*COMMAND, "-opt", str(run.options.resolve()), "--auto_resume", *self.arguments]
        with log.open("ab") if log else contextlib.nullcontext() as output:
            begin = output.tell() if output else 0
            with self.lock:
                if self.stopping.is_set():
                    return "stopped"
                process = subprocess.Popen(
                    words, cwd=run.folder, env=self.environment, stdout=output, stderr=output, pass_fds=(claim,)
                )
                self.running.add(process)
            code = process.wait()
            with self.lock:
                self.running.discard(process)
        if code == 0 and run.finished:
            return None
        problem = f"{run.name} ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}"
        return f"{problem}{_last_words(log, begin)} ({log})" if log else problem


def _last_words(log: Path, begin: int) -> str:
    """What a run printed last, since it began at this byte of its log: its ``basicsr: …`` line, or any."""
    lines = [line.strip() for line in log.read_bytes()[begin:].decode(errors="replace").splitlines() if line.strip()]
    said = next((line for line in reversed(lines) if line.startswith("basicsr: ")), "".join(lines[-1:]))
    return f": {said.removeprefix('basicsr: ')}" if said else ""
