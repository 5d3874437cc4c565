"""W&B, by a stand-in for its package: what a training starts, goes on with and ends."""

from __future__ import annotations

import random
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from hat_arch import cli
from hat_arch.training import wandb_log


@pytest.fixture
def wandb(monkeypatch) -> Any:
    """Its ``calls`` are the arguments of ``init``, and "finish"."""
    module: Any = ModuleType("wandb")
    module.calls = []
    module.errors = SimpleNamespace(Error=type("Error", (Exception,), {}))

    def init(**arguments: Any) -> Any:
        random.random()
        module.calls.append({name: value for name, value in arguments.items() if name != "config"})
        return SimpleNamespace(id=arguments["id"] or f"run{len(module.calls)}")

    module.init = init
    module.finish = lambda: module.calls.append("finish")
    monkeypatch.setitem(sys.modules, "wandb", module)
    monkeypatch.setattr("basicsr.utils.logger.initialized_logger", {})
    return module


@pytest.fixture
def train(options, write_options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options["logger"].update(use_tb_logger=True, save_checkpoint_freq=1)

    def train(iterations: int, *words: str, **section: str) -> int:
        options["train"]["total_iter"] = iterations
        options["logger"]["wandb"] = {"project": "hats", **section}
        return cli.main(["train", "-opt", str(write_options(options)), *words])

    return train


def test_a_training_that_goes_on_stays_one_run(wandb, train):
    given = {"project": "hats", "name": "tiny", "sync_tensorboard": True}
    assert train(1) == 0
    assert train(2, "--auto_resume") == 0
    assert train(3, "--auto_resume", resume_id="another") == 0
    assert wandb.calls == [
        {**given, "id": None, "resume": None},
        "finish",
        {**given, "id": "run1", "resume": "allow"},
        "finish",
        {**given, "id": "another", "resume": "allow"},
        "finish",
    ]


def test_training_draws_the_same_random_numbers(wandb, tmp_path):
    opt = {"name": "tiny", "path": {"experiments_root": str(tmp_path)}, "logger": {"wandb": {"project": "hats"}}}
    before = random.getstate()
    wandb_log.start(opt)
    assert wandb.calls and random.getstate() == before


def test_a_refusal_is_one_line(wandb, train, monkeypatch, capsys):
    def init(**_: Any) -> None:
        raise wandb.errors.Error("No API key configured.")

    monkeypatch.setattr(wandb, "init", init)
    assert train(1) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "basicsr: logger.wandb: No API key configured; without an account: WANDB_MODE=offline"
