"""Training that is killed, stopped, starved of disk or of workers: what it says, what it leaves, how it goes on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

from hat_arch.data.lmdb_store import write_store
from hat_arch.degradations.resize import imresize
from hat_arch.training import checkpoints

TOTAL = 20

LAUNCHER = """
import json, multiprocessing.util, os, resource, signal, sys
from hat_arch import cli
from hat_arch.training import pipeline
from hat_arch.training import checkpoints, hat_model
from hat_arch.utils import files
import basicsr.train, basicsr.test
for line in sys.stdin:
    job = json.loads(line)
    os.chdir(job["cwd"])
    pipes = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        for number, (_, end) in enumerate(pipes, 1):
            os.dup2(end, number)
        signal.alarm(60)
        exec(job["fault"])
        code = 70
        try:
            code = cli.main(job["args"])
        except BaseException:
            sys.excepthook(*sys.exc_info())
        multiprocessing.util._exit_function()  # as at the end of a process of its own
        sys.stdout.flush()
        os._exit(code)
    said = []
    for start, end in pipes:
        os.close(end)
        with open(start, encoding="utf-8") as stream:
            said.append(stream.read())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([code, *said]), flush=True)
"""

IN_A_STEP = """
step = hat_model.HATModel.optimize_parameters
def optimize_parameters(self, current_iter):
    if current_iter == {at}:
        os.kill(os.getpid(), signal.{signal})
    step(self, current_iter)
hat_model.HATModel.optimize_parameters = optimize_parameters
"""

IN_A_WRITE = """
from pathlib import Path
def kill():
    os.kill(os.getpid(), signal.SIGKILL)
def write_bytes(data, path, write=checkpoints.write_bytes):
    if path.name == "{name}":
        unfinished = path.with_name("." + path.name + ".partial")
        if "{at}" == "start":
            kill()
        if "{at}" == "middle":
            unfinished.write_bytes(data[: len(data) // 2])
            kill()
        if "{at}" == "before the rename":
            Path.replace = lambda *args: kill()
        if "{at}" == "after the rename":
            files._sync_folder = lambda folder: kill()
    return write(data, path)
checkpoints.write_bytes = write_bytes
"""

KILLS = [
    IN_A_STEP.format(at=3, signal="SIGKILL"),
    *(
        IN_A_WRITE.format(name=name.format(n), at=at)
        for n, name, at in [
            (3, "net_g_{}.pth", "middle"),
            (3, "{}.state", "start"),
            (3, "{}.state", "middle"),
            (4, "net_g_{}.pth", "before the rename"),
            (5, "net_g_{}.pth", "after the rename"),
            (6, "{}.state", "before the rename"),
            (6, "{}.state", "after the rename"),
            (7, "net_g_{}.pth", "start"),
        ]
    ),
    *(IN_A_STEP.format(at=at, signal="SIGKILL") for at in (7, 8, 10, 11)),
    *(
        IN_A_WRITE.format(name=name, at=at)
        for name, at in [
            ("12.state", "middle"),
            ("net_g_12.pth", "middle"),  # which is there
            ("15.state", "before the rename"),
            ("net_g_17.pth", "after the rename"),
            ("20.state", "after the rename"),
            ("net_g_latest.pth", "middle"),
            ("net_g_latest.pth", "after the rename"),
        ]
    ),
]


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """Runs the command in a process forked from one that has imported everything, after it ran ``fault`` there."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    cwd = tmp_path_factory.mktemp("launcher")
    with subprocess.Popen([sys.executable, "-c", LAUNCHER], cwd=cwd, env=environment, **pipes) as process:

        def run(cwd, *args, fault=""):
            job = {"args": ["train", "-opt", "tiny.yml", *args], "cwd": str(cwd), "fault": fault}
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            done = subprocess.CompletedProcess(args, *json.loads(process.stdout.readline()))
            assert "Traceback" not in done.stderr, done.stderr
            return done

        yield run
        process.stdin.close()


@pytest.fixture
def options(options, tmp_path):
    rng = np.random.default_rng(0)
    gt = {f"im{n}": rng.integers(0, 256, (40, 48, 3), np.uint8) for n in range(6)}
    write_store(tmp_path / "gt.lmdb", gt.items())
    write_store(tmp_path / "lq.lmdb", ((name, imresize(image, 0.25)) for name, image in gt.items()))
    data = options["datasets"]["train"]
    data.update(dataroot_gt=str(tmp_path / "gt.lmdb"), dataroot_lq=str(tmp_path / "lq.lmdb"))
    options["network_g"]["drop_path_rate"] = 0.3  # draws random numbers
    options["train"].update(total_iter=TOTAL, max_bad_steps=5)
    options["logger"].update(save_checkpoint_freq=1, use_tb_logger=False)
    del options["val"], options["datasets"]["val"]
    return options


@pytest.fixture
def folder(tmp_path):
    """Makes a folder with the option file in which to run."""

    def folder(options, name="run"):
        path = tmp_path / name
        path.mkdir(exist_ok=True)
        (path / "tiny.yml").write_text(yaml.safe_dump(options))
        return path

    return folder


def latest(cwd):
    return torch.load(cwd / "experiments/tiny/models/net_g_latest.pth", weights_only=True)


def states(cwd):
    return checkpoints.iterations(cwd / "experiments/tiny/training_states")


def complaint(done):
    """The last line on standard error that is no log, without what may follow it indented."""
    lines = [line for line in done.stderr.splitlines() if line.startswith("basicsr: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def assert_equal(a, b):
    assert a.keys() == b.keys()
    for key in a:
        assert all(torch.equal(a[key][name], b[key][name]) for name in a[key]), key


def test_twenty_kills_change_nothing(launch, options, folder):
    whole = folder(options, "whole")
    assert launch(whole).returncode == 0
    assert states(whole) == list(range(TOTAL, 0, -1))
    cwd = folder(options)
    assert len(KILLS) == 20
    for number, fault in enumerate(KILLS):
        done = launch(cwd, *(["--auto_resume"] if number else []), fault=fault)
        assert done.returncode == -9, (number, done.stderr)
        assert "damaged" not in done.stderr
        assert number == 0 or states(cwd), number
    done = launch(cwd, "--auto_resume")
    assert done.returncode == 0, done.stderr
    assert_equal(latest(whole), latest(cwd))
    last = f"experiments/tiny/training_states/{TOTAL}.state"
    wanted, found = (checkpoints.load(path / last) for path in (whole, cwd))
    for key in ("optimizers", "position", "iter", "epoch", "weights"):
        assert str(wanted[key]) == str(found[key]), key
    for part in ("models", "training_states"):
        names = [sorted(file.name for file in (path / "experiments/tiny" / part).iterdir()) for path in (whole, cwd)]
        assert names[0] == names[1]  # no partial file either


@pytest.mark.parametrize("workers", [0, 1])
def test_sigterm_leaves_a_state_and_says_how_to_go_on(launch, options, folder, workers):
    options["logger"]["save_checkpoint_freq"] = 100
    options["datasets"]["train"]["num_worker_per_gpu"] = workers
    cwd = folder(options)
    done = launch(cwd, fault=IN_A_STEP.format(at=3, signal="SIGTERM"))
    assert done.returncode == 143
    assert complaint(done) == (
        "basicsr: stopped after iteration 3, which is saved; go on with: basicsr train -opt tiny.yml --auto_resume"
    )
    assert states(cwd) == [3]
    done = launch(cwd, "--auto_resume", "--force_yml", "train:total_iter=4")
    assert done.returncode == 0
    assert "option changed since 3.state: train.total_iter: 20 → 4" in done.stderr.splitlines()


A_MODEL_OF_BASICSR = """
from basicsr.models.sr_model import SRModel
step = SRModel.optimize_parameters
def optimize_parameters(self, current_iter):
    if current_iter == 3:
        os.kill(os.getpid(), signal.SIGTERM)
    step(self, current_iter)
SRModel.optimize_parameters = optimize_parameters
"""


def test_a_model_of_basicsr_is_stopped_and_goes_on_too(launch, options, folder):
    options["model_type"] = "SRModel"
    for name in ("precision", "max_bad_steps"):
        options["train"].pop(name, None)
    options["logger"]["save_checkpoint_freq"] = 100
    cwd = folder(options)
    done = launch(cwd, fault=A_MODEL_OF_BASICSR)
    assert done.returncode == 143 and "stopped after iteration 3, which is saved" in complaint(done)
    assert states(cwd) == [3]
    done = launch(cwd, "--auto_resume", "--force_yml", "train:total_iter=4")
    assert done.returncode == 0 and "iter: 3." in done.stderr


DYING_WORKER = """
main = os.getpid()
from hat_arch.data import sampling
item = sampling.DrawnDataset.__getitem__
def dying(self, position):
    if position // len(self) >= 2 and os.getpid() != main:
        {how}
    return item(self, position)
sampling.DrawnDataset.__getitem__ = dying
"""


@pytest.mark.parametrize(
    "how,prefetch",
    [("os._exit(3)", None), ("os.kill(os.getpid(), signal.SIGKILL)", None), ("os._exit(3)", "cpu")],
)
def test_a_dead_worker_is_said_in_one_line(launch, options, folder, how, prefetch):
    options["datasets"]["train"].update(num_worker_per_gpu=1, prefetch_mode=prefetch)
    cwd = folder(options)
    done = launch(cwd, fault=DYING_WORKER.format(how=how))
    assert done.returncode == 1, done.stderr
    assert re.fullmatch(r"basicsr: DataLoader worker \(pid.*\).*", complaint(done))
    assert "lower datasets:train:num_worker_per_gpu; go on with: basicsr train -opt tiny.yml --auto_resume" in (
        done.stderr
    )
    assert states(cwd)
    assert launch(cwd, "--auto_resume", "--force_yml", "train:total_iter=8").returncode == 0


def test_a_sample_that_cannot_be_sent_ends_the_run(launch, options, folder, tmp_path):
    options["datasets"]["train"]["num_worker_per_gpu"] = 1
    long = tmp_path / ("long" * 25)  # a socket's name has at most 107 characters
    long.mkdir()
    done = launch(folder(options), fault=f"import tempfile; tempfile.tempdir = {str(long)!r}")
    assert done.returncode == 2
    assert complaint(done).startswith(f"basicsr: {long}: ") and "TMPDIR" in complaint(done)


def test_another_network_does_not_go_on(launch, options, folder):
    options["train"]["total_iter"] = 1
    cwd = folder(options)
    assert launch(cwd).returncode == 0
    options["network_g"]["embed_dim"] = 24
    done = launch(folder(options), "--auto_resume")
    assert done.returncode == 2
    assert complaint(done).endswith("1.state: was trained with other options, and cannot go on with these:")
    assert "  network_g.embed_dim: 12 → 24\n" in done.stderr
    assert states(cwd) == [1]


def test_auto_resume_looks_into_the_folder_of_this_run_only(launch, options, folder, tmp_path):
    options["train"]["total_iter"] = 2
    assert launch(folder(options)).returncode == 0
    options["name"] = "other"
    cwd = folder(options)
    done = launch(cwd, "--auto_resume")
    assert done.returncode == 0 and "Start training from epoch: 0, iter: 0" in done.stderr
    elsewhere = folder(options, "elsewhere")
    done = launch(elsewhere, "--auto_resume")
    assert done.returncode == 0 and "Start training from epoch: 0, iter: 0" in done.stderr
    assert "other is done: 2 iterations" in launch(cwd, "--auto_resume").stdout


@pytest.mark.parametrize("weights_fit", [False, True])
def test_a_full_disk_costs_a_checkpoint_and_not_the_run(launch, options, folder, weights_fit):
    options["train"].update(total_iter=4, ema_decay=0.0)  # so that a state is larger than weights
    whole, cwd = folder(options, "whole"), folder(options)
    assert launch(whole).returncode == 0
    assert launch(cwd, fault=IN_A_STEP.format(at=2, signal="SIGKILL")).returncode == -9
    runs = [path / "experiments/tiny" for path in (whole, cwd)]
    weights, state = (runs[0] / name for name in ("models/net_g_1.pth", "training_states/1.state"))
    assert 100_000 < weights.stat().st_size < state.stat().st_size - 100_000
    limit = weights.stat().st_size + (50_000 if weights_fit else -50_000)

    done = launch(cwd, "--auto_resume", fault=f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))")
    assert done.returncode == (0 if weights_fit else 2)
    for n in (2, 3, 4):
        file = f"training_states/{n}.state" if weights_fit else f"models/net_g_{n}.pth"
        error = f"{runs[1] / file}: cannot be written (File too large; it takes {1 + weights_fit} MiB)"
        assert f"ERROR: {error}. No checkpoint of iteration {n}; earlier ones are intact\n" in done.stderr
    if not weights_fit:
        assert complaint(done).startswith(f"basicsr: {runs[1]}/models/net_g_latest.pth: cannot be written")
    assert states(cwd) == [1]
    assert not list(runs[1].rglob(".*"))

    assert launch(cwd, "--auto_resume").returncode == 0
    assert states(cwd) == ([1] if weights_fit else [4, 3, 2, 1])  # with weights, the run was done
    assert_equal(latest(whole), latest(cwd))
