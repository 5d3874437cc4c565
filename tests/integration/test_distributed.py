"""Two processes train as one does on their batches together, and are stopped, killed and resumed as one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import pytest
import torch
import yaml
from tiny import tiny_options

CHECKS = """
import copy, os, sys
import torch, yaml
import hat_arch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from torch import distributed
from torch.nn import functional as F
from torch.utils.data import Subset
from hat_arch.training import seams
from hat_arch import config

def model_of(dist, **train):
    opt = config.load("tiny.yml", is_train=True)
    opt["train"].update(train)
    opt.update(dist=dist, rank=rank if dist else 0, world_size=2 if dist else 1, is_train=True)
    opt["path"].update(models=f"models{rank}{dist}", training_states=f"models{rank}{dist}")
    torch.manual_seed(rank if dist else 0)
    return build_model(opt)

def step(model, data, n):
    model.feed_data(data)
    model.optimize_parameters(n)

def loader(model, count):
    opt = {**model.opt["datasets"]["val"], "phase": "val", "scale": 4}
    data = build_dataset(opt)
    part = Subset(data, [n % len(data) for n in range(count)])
    part.opt = opt
    return build_dataloader(part, opt)

seams.init_dist("pytorch")
rank = distributed.get_rank()
found = {}
gt = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(1))
whole = {"lq": F.avg_pool2d(gt, 4), "gt": gt}
mine = {name: value[2 * rank : 2 * rank + 2] for name, value in whole.items()}

for parts in (1, 2):  # in float64
    one, two = model_of(False), model_of(True, accumulate=parts)
    for model, data in ((one, whole), (two, mine)):
        model.net_g.double()
    two.net_g = two.model_to_device(two.net_g.module.double())
    two.net_g.module.load_state_dict(one.net_g.state_dict())
    losses = {}
    for name, model, data in (("one", one, whole), ("two", two, mine)):
        step(model, {key: value.double() for key, value in data.items()}, 1)
        found[f"gradient {name} {parts}"] = torch.cat([p.grad.flatten() for p in model.net_g.parameters()])
        found[f"log {name} {parts}"] = dict(model.log_dict)

model = model_of(True)  # whose processes began with other weights
for n in (1, 2, 3):
    step(model, mine, n)
found["weights"] = model.net_g.module.state_dict()

one = model_of(False)
for net in (one.net_g, one.net_g_ema):
    net.load_state_dict(model.net_g.module.state_dict())
model.net_g_ema.load_state_dict(model.net_g.module.state_dict())
for count in (1, 2, 3):
    for name, m in (("one", one), ("two", model)):
        m.validation(loader(m, count), 10 * count, None)
        found[f"metrics {name} {count}"] = m.metric_results, copy.deepcopy(m.best_metric_results)

step(model, {"lq": mine["lq"] * (torch.nan if rank else 1), "gt": mine["gt"]}, 4)
found["bad"] = model.bad_steps, model.net_g.module.state_dict()
torch.save(found, f"found{rank}.pth")
distributed.destroy_process_group()
"""

FAULTS = """
import os, signal, time
from hat_arch.training import hat_model
step = hat_model.HATModel.optimize_parameters
fault, rank = os.environ.get("FAULT"), os.environ.get("RANK")
def optimize_parameters(self, current_iter):
    if fault == "rank 1 dies" and rank == "1" and current_iter == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    if fault == "stop" and rank == "0" and current_iter == 6:
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(0.5)
    step(self, current_iter)
hat_model.HATModel.optimize_parameters = optimize_parameters
save = hat_model.HATModel.save
def heard(self, epoch, current_iter):
    if fault == "stop rank 1 as it saves" and rank == "1" and current_iter == 3:
        os.kill(os.getpid(), signal.SIGTERM)
    save(self, epoch, current_iter)
hat_model.HATModel.save = heard
"""


@pytest.fixture(scope="module")
def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def options(options):
    options["network_g"]["drop_path_rate"] = 0.3
    options["train"].update(total_iter=9)
    options["logger"].update(save_checkpoint_freq=3, use_tb_logger=False)
    options["val"]["val_freq"] = 5
    return options


def start(cwd, environment, *args, fault=""):
    (cwd / "faults.py").write_text(FAULTS)
    command = [sys.executable, "-m", "hat_arch", "train", "-opt", "tiny.yml", "--gpus", "2", "--plugin", "faults.py"]
    environment = {**environment, "FAULT": fault}
    began = time.monotonic()
    done = subprocess.run([*command, *args], cwd=cwd, env=environment, capture_output=True, text=True, timeout=100)
    assert "Traceback" not in done.stderr, done.stderr
    done.seconds = time.monotonic() - began
    return done


def complaints(done):
    return [line for line in done.stderr.splitlines() if line.startswith("basicsr: ")]


def latest(cwd):
    return torch.load(cwd / "experiments/tiny/models/net_g_latest.pth", weights_only=True)


def states(cwd):
    return sorted(int(file.stem) for file in (cwd / "experiments/tiny/training_states").iterdir())


def test_killed_stopped_and_resumed_equals_uninterrupted(options, tmp_path, environment):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tiny.yml").write_text(yaml.safe_dump(options))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    done = start(whole, environment)
    assert done.returncode == 0 and not complaints(done), done.stderr

    done = start(parts, environment, fault="rank 1 dies")
    assert done.returncode == 1 and done.seconds < 60
    *survivors, last = complaints(done)
    assert last == (
        "basicsr: process 1 ended with signal 9; the others were stopped; "
        "go on with: basicsr train -opt tiny.yml --gpus 2 --auto_resume --plugin faults.py"
    )
    assert survivors in ([], ["basicsr: process 0: another process of this run has ended"])
    assert states(parts) == [3]

    done = start(parts, environment, "--auto_resume", fault="stop")
    assert done.returncode == 143, done.stderr
    [line] = complaints(done)
    stopped = re.fullmatch(r"basicsr: stopped after iteration (\d+), which is saved; go on with: (.*)", line)
    assert stopped and 6 <= int(stopped[1]) <= 8 and int(stopped[1]) in states(parts)
    assert stopped[2] == "basicsr train -opt tiny.yml --gpus 2 --auto_resume --plugin faults.py"

    done = start(parts, environment, "--auto_resume")
    assert done.returncode == 0, done.stderr
    assert f"Resuming training from epoch: 0, iter: {stopped[1]}." in done.stderr
    ours, theirs = latest(parts), latest(whole)
    assert ours.keys() == theirs.keys() == {"params", "params_ema"}
    assert all(torch.equal(ours[key][name], theirs[key][name]) for key in ours for name in ours[key])


def test_a_stop_that_one_process_hears_as_it_saves_stops_all(options, tmp_path, environment):
    (tmp_path / "tiny.yml").write_text(yaml.safe_dump(options))
    done = start(tmp_path, environment, fault="stop rank 1 as it saves")
    assert done.returncode == 143, done.stderr
    [line] = complaints(done)
    assert line.startswith("basicsr: stopped after iteration 4, which is saved; ")
    assert states(tmp_path) == [3, 4]


@pytest.mark.parametrize("count", [0, -1])
def test_no_processes_are_refused(options, write_options, count, capsys):
    from hat_arch import cli

    assert cli.main(["train", "-opt", str(write_options(options)), "--gpus", str(count)]) == 2
    assert capsys.readouterr().err.startswith(f"basicsr: --gpus {count}: ")


@pytest.fixture(scope="module")
def found(demo_data, environment, tmp_path_factory):
    """What two processes found out, for each."""
    cwd = tmp_path_factory.mktemp("checks")
    (cwd / "checks.py").write_text(CHECKS)
    opt = tiny_options(demo_data)
    opt["train"]["optim_g"] = {"type": "SGD", "lr": 0.1}
    (cwd / "tiny.yml").write_text(yaml.safe_dump(opt))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "checks.py"]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return [torch.load(cwd / f"found{rank}.pth", weights_only=False) for rank in (0, 1)]


@pytest.mark.parametrize("parts", [1, 2])
def test_two_processes_have_the_gradient_of_one_with_both_batches(found, parts):
    for of_rank in found:
        one, two = of_rank[f"gradient one {parts}"], of_rank[f"gradient two {parts}"]
        assert one.dtype == torch.float64 and one.norm() > 0
        assert (one - two).norm() < 1e-6 * one.norm()
    one, two = found[0][f"log one {parts}"], found[0][f"log two {parts}"]
    assert one == pytest.approx(two, rel=1e-6)


def test_all_processes_have_the_same_weights(found):
    first, second = (of_rank["weights"] for of_rank in found)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_validation_is_that_of_one_process(found, count):
    (one, best_of_one), (two, best_of_two) = found[0][f"metrics one {count}"], found[0][f"metrics two {count}"]
    assert one == pytest.approx(two, rel=1e-10, abs=0) and one["psnr"] > 3
    for metric, best in best_of_one["demo_held_out"].items():
        same = {"val": pytest.approx(best["val"], rel=1e-10, abs=0)}
        assert best_of_two["demo_held_out"][metric] == {**best, **same}, metric
    assert found[1][f"metrics two {count}"] == (two, best_of_two)


def test_all_pass_over_a_step_that_is_bad_in_one(found):
    for of_rank in found:
        count, weights = of_rank["bad"]
        assert count == 1
        assert all(torch.equal(weights[name], of_rank["weights"][name]) for name in weights)
