"""Checkpoint files: written whole or not at all, found again past broken ones, and what they say of a run."""

from __future__ import annotations

import copy
import os
import random
import resource
import shutil
import signal
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR

from hat_arch.training import checkpoints
from hat_arch.training.checkpoints import CheckpointError
from hat_arch.training.random_state import random_states, same_random_numbers_after, set_random_states

OLD = {"params": {"weight": torch.zeros(3)}}
LARGE = {"params": {"weight": torch.ones(1_000_000)}}  # 3.8 MiB


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "models/net_g_5.pth"
    checkpoints.write(OLD, path)
    return path


def assert_old_alone(path):
    """The old file is as it was, and nothing lies beside it."""
    assert torch.equal(torch.load(path, weights_only=True)["params"]["weight"], OLD["params"]["weight"])
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_what_is_written_reads_back_and_its_checksum_is_returned(file):
    wanted = checkpoints.write(LARGE, file)
    assert wanted == checkpoints.checksum(file) and len(wanted) == 32
    assert torch.equal(torch.load(file, weights_only=True)["params"]["weight"], LARGE["params"]["weight"])
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_a_failure_in_the_middle_leaves_the_old_file(file, monkeypatch):
    def fail(descriptor):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(CheckpointError) as caught:
        checkpoints.write(LARGE, file)
    assert str(caught.value) == f"{file}: cannot be written (Input/output error; it takes 4 MiB)"
    assert_old_alone(file)


def test_without_room_nothing_is_written(file, monkeypatch):
    free = namedtuple("free", "total used free")(10**9, 10**9, 3_999_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: free)
    checkpoints.write(OLD, file)
    monkeypatch.setattr(Path, "open", None)  # so that trying would be another error
    with pytest.raises(CheckpointError, match=r"net_g_5\.pth: cannot be written \(No space left on device; .* 4 MiB"):
        checkpoints.write(LARGE, file)
    monkeypatch.undo()
    assert_old_alone(file)


def test_a_disk_that_is_full_in_the_middle_leaves_the_old_file(file):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        with pytest.raises(CheckpointError, match=r"net_g_5\.pth: cannot be written \(File too large; it takes 4 MiB"):
            checkpoints.write(LARGE, file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert_old_alone(file)


def test_a_disk_that_does_not_keep_what_is_written_is_noticed(file, monkeypatch):
    def damage(descriptor):
        os.pwrite(descriptor, b"damage", 100_000)

    monkeypatch.setattr(os, "fsync", damage)
    with pytest.raises(CheckpointError, match=r"net_g_5\.pth: what was written does not read back"):
        checkpoints.write(LARGE, file)
    assert_old_alone(file)


def test_a_place_where_no_folder_can_be_is_named(tmp_path):
    (tmp_path / "models").write_text("a file")
    with pytest.raises(CheckpointError, match=r"models/net_g_5\.pth: cannot be written"):
        checkpoints.write(OLD, tmp_path / "models/net_g_5.pth")


@pytest.fixture
def run(tmp_path):
    """A run with checkpoints of iterations 2, 4, 6 and 8."""
    states, models = tmp_path / "training_states", tmp_path / "models"
    for iteration in (2, 4, 6, 8):
        weights = {"params": {"weight": torch.full((50,), iteration)}}
        own = {name(iteration): checkpoints.write(weights, models / name(iteration))}
        state = {"epoch": 0, "iter": iteration, "optimizers": [], "schedulers": [], "weights": own}
        checkpoints.write(state, states / f"{iteration}.state")
    return states, models


def name(iteration):
    return f"net_g_{iteration}.pth"


def half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_the_newest_checkpoint_is_found(run, capsys):
    states, models = run
    (states / "latest.state").write_text("not a number")
    path, state = checkpoints.newest(states, models)
    assert path == states / "8.state" and state["iter"] == 8
    assert not capsys.readouterr().err


class Code:
    def __reduce__(self):
        return pytest.fail, ("code of a state was run",)


SPOIL = {
    "code": (lambda s, m: torch.save({"iter": 8, "code": Code()}, s / "8.state"), "8.state is damaged"),
    "torn state": (lambda s, m: half(s / "8.state"), "8.state is damaged"),
    "empty state": (lambda s, m: (s / "8.state").write_bytes(b""), "8.state is damaged"),
    "text": (lambda s, m: (s / "8.state").write_text("the state of things"), "8.state is damaged"),
    "another dict": (lambda s, m: torch.save({"iter": 8}, s / "8.state"), "8.state is no training state"),
    "a list": (lambda s, m: torch.save([8], s / "8.state"), "8.state is no training state"),
    "a folder": (lambda s, m: ((s / "8.state").unlink(), (s / "8.state").mkdir()), "8.state is damaged"),
    "missing weights": (lambda s, m: (m / name(8)).unlink(), "net_g_8.pth is missing"),
    "truncated weights": (lambda s, m: half(m / name(8)), "net_g_8.pth is damaged"),
    "other weights": (lambda s, m: shutil.copy(m / name(6), m / name(8)), "net_g_8.pth is damaged"),
}


@pytest.mark.parametrize("how", SPOIL)
def test_a_broken_checkpoint_is_passed_over_and_named(run, capsys, how):
    spoil, reason = SPOIL[how]
    spoil(*run)
    path, state = checkpoints.newest(*run)
    assert path.name == "6.state" and state["iter"] == 6
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].endswith(f"{reason}, looking for an earlier state")
    assert lines[0].startswith(str(run[0].parent))


def test_several_broken_checkpoints_take_a_line_each_and_none_may_be_left(run, capsys):
    states, models = run
    half(states / "8.state")
    half(models / name(6))
    assert checkpoints.newest(states, models)[0].name == "4.state"
    assert len(capsys.readouterr().err.splitlines()) == 2
    shutil.rmtree(models)
    assert checkpoints.newest(states, models) is None
    assert checkpoints.newest(states / "none", models) is None


@pytest.mark.parametrize("whole", [True, False])
def test_basicsrs_own_states_are_accepted_with_whole_weights(run, whole):
    states, models = run
    torch.save({"epoch": 1, "iter": 9, "optimizers": [], "schedulers": []}, states / "9.state")
    torch.save(OLD, models / name(9))
    if not whole:
        half(models / name(9))
    path, state = checkpoints.newest(states, models)
    assert path.name == ("9.state" if whole else "8.state")
    if whole:
        assert checkpoints.options_of(state) is None


def test_prune_deletes_old_checkpoints_and_nothing_else(run):
    states, models = run
    others = ["net_g_latest.pth", "net_g_best_val_psnr.pth", "net_g_best_val_2.pth", "notes_2.txt", "net_g_12.pth"]
    for other in others:
        (models / other).write_text("mine")
    (models / "net_g_4.safetensors").write_text("of iteration 4")
    checkpoints.prune(states, models, 2)
    assert sorted(p.name for p in states.iterdir()) == ["6.state", "8.state"]
    assert sorted(p.name for p in models.iterdir()) == sorted([*others, name(6), name(8)])
    assert checkpoints.newest(states, models)[1]["iter"] == 8


def draw():
    return random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn(), torch.rand(3).tolist()


def test_random_numbers_go_on_from_a_file(tmp_path):
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)
    draw()  # leaves half of a pair of normal numbers behind
    checkpoints.write(random_states(), tmp_path / "random")
    wanted = [draw(), draw()]
    assert [draw(), draw()] != wanted
    set_random_states(torch.load(tmp_path / "random", weights_only=True))
    assert [draw(), draw()] == wanted


def test_random_numbers_drawn_aside_do_not_count_even_after_an_error():
    states = random_states()
    wanted = draw()
    set_random_states(states)
    with pytest.raises(KeyError), same_random_numbers_after():
        draw()
        raise KeyError
    assert draw() == wanted


OPTIONS = {
    "name": "a",
    "model_type": "HATModel",
    "scale": 4,
    "network_g": {"type": "HAT", "depths": [2, 2]},
    "train": {"total_iter": 10, "optim_g": {"type": "Adam", "lr": 1e-4}, "scheduler": {"type": "MultiStepLR"}},
}


@pytest.mark.parametrize(
    "key,value,fatal,line",
    [
        ("model_type", "SRModel", True, "model_type: 'HATModel' → 'SRModel'"),
        ("scale", 2, True, "scale: 4 → 2"),
        ("network_g.depths", [2, 4], True, "network_g.depths: [2, 2] → [2, 4]"),
        ("network_g.embed_dim", 60, True, "network_g.embed_dim: absent → 60"),
        ("network_g.use_checkpoint", True, False, "network_g.use_checkpoint: absent → True"),
        ("network_g.depths", ..., True, "network_g.depths: [2, 2] → absent"),
        ("train.optim_g.type", "AdamW", True, "train.optim_g.type: 'Adam' → 'AdamW'"),
        ("train.optim_g.amsgrad", True, True, "train.optim_g.amsgrad: absent → True"),
        ("train.scheduler.type", "Cosine", True, "train.scheduler.type: 'MultiStepLR' → 'Cosine'"),
        ("train.optim_g.lr", 1e-5, False, "train.optim_g.lr: 0.0001 → 1e-05"),
        ("train.total_iter", 20, False, "train.total_iter: 10 → 20"),
        ("name", "b", False, "name: 'a' → 'b'"),
        ("scales", 1, False, "scales: absent → 1"),
    ],
)
def test_changed_options_are_shown_and_those_that_matter_are_fatal(key, value, fatal, line):
    now = copy.deepcopy(OPTIONS)
    *sections, last = key.split(".")
    section = now
    for part in sections:
        section = section[part]
    if value is ...:
        del section[last]
    else:
        section[last] = value
    assert checkpoints.changed_options(OPTIONS, now) == (([line], []) if fatal else ([], [line]))


def test_unchanged_options_give_no_lines():
    assert checkpoints.changed_options(OPTIONS, copy.deepcopy(OPTIONS)) == ([], [])


FIRST = {"lr": 1.0, "weight_decay": 0.0}


@pytest.mark.parametrize(
    "schedule,before,now,optimizer_now",
    [
        (CosineAnnealingRestartLR, {"periods": [4]}, {"periods": [10]}, FIRST),
        (CosineAnnealingRestartLR, {"periods": [9]}, {"periods": [9]}, {"lr": 0.25, "weight_decay": 0.5}),
        (MultiStepRestartLR, {"milestones": [9]}, {"milestones": [6, 8]}, FIRST),
        (MultiStepRestartLR, {"milestones": [2, 9]}, {"milestones": [2, 9]}, {"lr": 0.25, "weight_decay": 0.5}),
    ],
)
def test_a_changed_option_file_holds_from_the_checkpoint_on(schedule, before, now, optimizer_now):
    """As `basicsr train --auto_resume` goes on with more iterations, or another rate, than a run began with."""

    def made(settings, **options):
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], **options)
        return optimizer, schedule(optimizer, **settings)

    def rates(optimizer, scheduler, steps):
        for _ in range(steps):
            optimizer.step()
            scheduler.step()
            yield optimizer.param_groups[0]["lr"]

    first = made(before, **FIRST)
    list(rates(*first, 4))
    states = [copy.deepcopy(one.state_dict()) for one in first]
    optimizer, scheduler = made(now, **optimizer_now)
    optimizer.load_state_dict(checkpoints.settings_of_file(states[0], optimizer))
    scheduler.load_state_dict(checkpoints.schedule_of_file(states[1], scheduler))
    assert optimizer.param_groups[0]["weight_decay"] == optimizer_now["weight_decay"]
    assert list(rates(optimizer, scheduler, 5)) == pytest.approx(list(rates(*made(now, **optimizer_now), 9))[4:])
    unchanged = made(before, **FIRST)[1]
    assert checkpoints.schedule_of_file(states[1], unchanged) == states[1]
