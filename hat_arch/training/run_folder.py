"""The folder of a run: one process or group uses it at a time, and what is in it is never replaced without a word."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, TypeVar

from basicsr.utils import make_exp_dirs
from basicsr.utils.misc import mkdir_and_rename
from torch import distributed

from ..config.keys import networks
from ..config.reading import Options
from ..utils.errors import UserError
from ..utils.files import write_file
from ..utils.lock import lock
from . import checkpoints

FINISHED = "finished.json"
"""In the folder of a run: the iterations and options of the training that came to its end."""
KEPT = ", which keeps this one under another name"
T = TypeVar("T")


class RunIsDone(Exception):
    """The training that was asked for has been done already; the message says where, and how to begin again."""


def first_decides(opt: Options, decide: Callable[[], T]) -> T:
    """What ``decide`` returns or raises on the first process, on all processes of a run.

    Raises:
        SystemExit: on the other processes, when the first raised `UserError` or `RunIsDone` and so tells the user.
    """
    if not opt["dist"]:
        return decide()
    decided: list[Any] = [None, None]
    problem: Exception | None = None
    if opt["rank"] == 0:
        try:
            decided[0] = decide()
        except (UserError, RunIsDone) as error:
            problem, decided[1] = error, 0 if isinstance(error, RunIsDone) else 2
    distributed.broadcast_object_list(decided)
    if problem is not None:
        raise problem
    if decided[1] is not None:
        raise SystemExit(decided[1])
    return decided[0]


def claim(opt: Options) -> TextIO | None:
    """Locks the folder that a run writes to, for as long as the returned stream is open; None but on the first process.

    Args:
        opt: the pipeline's options.

    Raises:
        InUse: another run has it.
    """
    held: list[TextIO] = []
    root = folder(opt)

    def take() -> None:
        # beside the folder, which may be renamed
        held.append(lock(root.with_name(f".{root.name}.in_use"), os.path.relpath(root)))

    first_decides(opt, take)
    return held[0] if held else None


def folder(opt: Options) -> Path:
    """The folder that a run writes to: in ``experiments/``, or of a test in ``results/``."""
    return Path(opt["path"]["log"])


def starting_point(opt: Options, checked: Options, restart: bool) -> tuple[Path, Path] | None:
    """The state from which a training goes on, and the folder of its weights; None if it begins anew.

    Args:
        opt: the pipeline's options.
        checked: the option file's.
        restart: whether to begin again in spite of what is there.

    Raises:
        RunIsDone: nothing is left to train.
        UserError: the folder holds a run, and nothing says what to do about it; or there is no such state.
    """
    root, states, models = folder(opt), Path(opt["path"]["training_states"]), Path(opt["path"]["models"])
    kept = opt["path"].get("ignore_resume_networks") or ()
    letters = [name.removeprefix("network_") for name in networks(opt) if name not in kept]
    given = Path(opt["path"]["resume_state"]) if opt["path"].get("resume_state") else None
    own = given is not None and given.resolve().parent == states.resolve()
    shown = os.path.relpath(root)
    if own and restart:
        raise UserError(f"--restart moves {shown} away, and with it path: resume_state {given}; leave out one of them")
    if opt["auto_resume"]:
        _raise_if_done(opt, checked, opt["train"]["total_iter"])
        if found := checkpoints.newest(states, models, letters):
            return found[0], models
        if (root / FINISHED).is_file():
            raise UserError(f"{shown}: has weights, but no state to go on from; begin again with --restart{KEPT}")
    elif own:
        assert given is not None
        _check(given, models, letters)
        return given, models
    elif not restart and "debug" not in opt["name"] and _holds_a_run(states, models):
        _raise_if_done(opt, checked, None)
        at = max(checkpoints.iterations(states), default=None)
        how_far = f", at iteration {at:,} of {int(opt['train']['total_iter']):,}" if at else ""
        raise UserError(f"{shown}: holds a run{how_far}; go on with --auto_resume, or begin again with --restart{KEPT}")
    if given is None:
        return None
    weights = given.parent.parent / "models"
    _check(given, weights, letters)
    return given, weights


def _check(state: Path, models: Path, letters: list[str]) -> None:
    """Raises `CheckpointError` unless the state that the option file names, and its weights, can be used."""
    try:
        checkpoints.check_weights(checkpoints.load(state), models, letters)
    except checkpoints.CheckpointError as error:
        raise checkpoints.CheckpointError(
            f"path: resume_state: {error}; name another state, or leave it out and go on with --auto_resume"
        ) from error


def make(opt: Options) -> None:
    """Makes the folders of a run that goes on from another's state; what has their names is renamed, as by BasicSR."""
    make_exp_dirs(opt)
    if opt["logger"].get("use_tb_logger"):
        mkdir_and_rename(str(Path(opt["root_path"], "tb_logger", opt["name"])))


def _holds_a_run(states: Path, models: Path) -> bool:
    return bool(checkpoints.iterations(states)) or any(models.glob("net_g_*.pth"))


def _raise_if_done(opt: Options, checked: Options, iterations: float | None) -> None:
    """Raises `RunIsDone` if the folder's training came to its end: after as many iterations, or by the same options."""
    root = folder(opt)
    try:
        done = json.loads((root / FINISHED).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    weights = root / "models/net_g_latest.pth"
    fatal, changed = checkpoints.changed_options(done["options"], checked)
    enough = done["iterations"] >= iterations if iterations is not None else not changed
    if fatal or not enough or not weights.is_file():
        return
    since = f"  options changed since: {'; '.join(changed)}\n" if changed else ""
    raise RunIsDone(
        f"{opt['name']} is done: {done['iterations']:,} iterations, {os.path.relpath(weights)}\n{since}"
        f"  to begin again: --restart{KEPT}; to go on: raise train: total_iter, with --auto_resume"
    )


def finish(opt: Options, checked: Options, iterations: int) -> None:
    """Notes in the folder that its training came to its end."""
    content = {"iterations": iterations, "options": checked}
    write_file(folder(opt) / FINISHED, f"{json.dumps(content, indent=1)}\n".encode())
