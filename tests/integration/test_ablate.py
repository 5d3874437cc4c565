"""``basicsr paper ablate``: how runs are trained in processes, and gone on with after they were stopped."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from threading import Timer

import pytest
from tiny import ROOT

from hat_arch import cli
from hat_arch.paper import trials

PRETEND = """\
import pathlib, sys, time
name = pathlib.Path(sys.argv[sys.argv.index("-opt") + 1]).stem
if "window_8" in name:
    sys.exit("some line\\nbasicsr: the disk is full")
if "slow" in name:
    time.sleep(1)
folder = pathlib.Path("experiments", name)
folder.mkdir(parents=True)
(folder / "summary.md").touch()
"""


@pytest.fixture
def pretend(monkeypatch):
    """In place of ``basicsr train``: does what the run's name says; fails where the run was trained before."""
    monkeypatch.setattr(trials, "COMMAND", (sys.executable, "-c", PRETEND))


def trial(folder, *names):
    return trials.Trial(names[-1], 0, tuple(trials.Run(name, folder / f"{name}.yml", 5, folder) for name in names))


def test_a_variant_that_fails_is_named_and_the_others_go_on(beside_demo_data, pretend, capsys):
    assert cli.main(["paper", "ablate", "window", "--seeds", "1", "--out", "out"]) == 1
    name = "HAT_window_8_no_cab_no_ocab_seed0"
    why = f"{name} ended with exit code 1: the disk is full (out/logs/{name}.log)"
    assert capsys.readouterr().err.count(f"window 8, seed 0: failed: {why}\n") == 1
    assert f"Failed: window 8, seed 0: {why}." in Path("out/table.md").read_text(encoding="utf-8")
    assert Path("out/experiments/HAT_no_cab_no_ocab_seed0/summary.md").exists()


def test_the_cause_of_an_earlier_stop_is_not_named_again(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "COMMAND", (sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"))
    log = tmp_path / "killed.log"
    log.write_text("basicsr: stopped after iteration 22, which is saved\n")
    ((_, problem),) = trials.train([trial(tmp_path, "killed")], logs=tmp_path)
    assert problem == f"killed ended with signal 9 ({log})"


def test_stages_are_trained_in_turn_and_none_that_is_finished(tmp_path, pretend):
    (tmp_path / "experiments/first").mkdir(parents=True)
    (tmp_path / "experiments/first/summary.md").touch()
    plan = [trial(tmp_path, "first", "window_8", "last"), trial(tmp_path, "first")]
    ended = dict(trials.train(plan))
    assert ended == {plan[0]: "window_8 ended with exit code 1", plan[1]: None}
    assert not (tmp_path / "experiments/last").exists()


def test_two_that_want_the_same_run_train_it_once(tmp_path, pretend):
    """As two commands do: each has its own claim on the run."""
    plan = [trial(tmp_path, "slow", f"last_{n}") for n in range(3)]
    assert list(dict(trials.train(plan, at_once=3)).values()) == [None] * 3


def test_a_run_is_claimed_until_its_process_has_ended_though_its_command_was_killed(tmp_path, monkeypatch):
    pretend = "import time; print(time.time(), flush=True); time.sleep(2); print(time.time())"
    monkeypatch.setattr(trials, "COMMAND", (sys.executable, "-c", pretend))
    plan, log = [trial(tmp_path, "a")], tmp_path / "a.log"
    command = get_context("fork").Process(target=lambda: list(trials.train(plan, logs=tmp_path)))
    command.start()
    wait_for(lambda: log.is_file() and log.read_text())
    command.kill()
    list(trials.train(plan, logs=tmp_path))
    times = [float(line) for line in log.read_text().split()]
    assert len(times) == 4 and times == sorted(times)


def test_what_is_trained_stops_when_the_command_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(trials, "COMMAND", (sys.executable, "-c", "import time; time.sleep(60)"))
    began = time.monotonic()
    plan = [trial(tmp_path, name) for name in "abc"]
    with closing(trials.train(plan, at_once=2)) as ended, pytest.raises(KeyboardInterrupt):
        Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
        list(ended)
    assert time.monotonic() - began < 30


def wait_for(condition):
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def start(*words):
    """The command in a process group of its own, with the processes that it starts."""
    command = [sys.executable, "-m", "hat_arch", "paper", "ablate", "window", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def test_demo_that_was_killed_goes_on_and_ends_with_a_table(beside_demo_data, capsys):
    words = ("--seeds", "1", "--iterations", "16", "--out", "out")
    process = start(*words)
    states = Path("out/experiments").glob
    wait_for(lambda: next(states("*/training_states/*.state"), None))
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    stopped = {file.parts[2]: file.stem for file in sorted(states("*/training_states/*.state"))}
    assert stopped and "16" not in stopped.values()

    assert cli.main(["paper", "ablate", "window", *words]) == 2
    assert "was begun; go on with --resume" in capsys.readouterr().err

    process = start(*words, "--resume")
    while "no evidence" not in process.stdout.readline():
        pass
    process.terminate()
    assert "--resume" in process.communicate()[0] and process.returncode == 130

    process = start(*words, "--resume")
    output = re.sub(" +", " ", process.communicate()[0])
    assert process.returncode == 0, output
    assert "no evidence" in output and "| window 16 |" in output and "| 32.97 / 0.9049 |" in output
    for name in stopped:
        newest = max(Path("out/experiments", name).glob("*.log"))
        assert "Resuming training from epoch" in newest.read_text()
    rows = list(csv.DictReader(Path("out/runs.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["variant"] for row in rows if 5 < float(row["psnr"]) < 40] == ["window 8", "window 16"]
    assert Path("out/curves.png").read_bytes()[:4] == b"\x89PNG"
