"""Where a training begins, given what its folder holds: nothing is replaced or begun again without being asked."""

from __future__ import annotations

import json

import pytest
import torch

from hat_arch.training import checkpoints, run_folder
from hat_arch.training.run_folder import RunIsDone, starting_point
from hat_arch.utils.errors import UserError

CHECKED = {"name": "tiny", "train": {"total_iter": 8}}


@pytest.fixture
def opt(tmp_path):
    def opt(name="tiny", **changes):
        root = tmp_path / "experiments" / name
        path = {"log": str(root), "models": str(root / "models"), "training_states": str(root / "training_states")}
        fixed = {"name": name, "dist": False, "rank": 0, "auto_resume": False, "is_train": True}
        return {**fixed, "train": {"total_iter": 8}, **changes, "path": {**path, **changes.get("path", {})}}

    return opt


def checkpoint(opt, iteration):
    weights = checkpoints.write({"params": {}}, run_folder.folder(opt) / f"models/net_g_{iteration}.pth")
    state = {"epoch": 0, "iter": iteration, "optimizers": [], "schedulers": []}
    state["weights"] = {f"net_g_{iteration}.pth": weights}
    path = run_folder.folder(opt) / f"training_states/{iteration}.state"
    checkpoints.write(state, path)
    return path


def finished(opt, iterations=8, checked=None):
    checkpoints.write({"params": {}}, run_folder.folder(opt) / "models/net_g_latest.pth")
    run_folder.finish(opt, checked or CHECKED, iterations)


def test_an_empty_folder_begins(opt):
    assert starting_point(opt(), CHECKED, False) is None
    assert starting_point(opt(auto_resume=True), CHECKED, False) is None


def test_a_run_that_stopped_goes_on_or_asks(opt):
    path = checkpoint(opt(), 4)
    assert starting_point(opt(auto_resume=True), CHECKED, False) == (path, path.parents[1] / "models")
    with pytest.raises(UserError, match=r"at iteration 4 of 8; .*--auto_resume.*--restart"):
        starting_point(opt(), CHECKED, False)
    assert starting_point(opt(), CHECKED, True) is None


@pytest.mark.parametrize("auto_resume", [False, True])
def test_a_run_that_is_done_says_so(opt, auto_resume):
    checkpoint(opt(), 4)
    finished(opt())
    with pytest.raises(RunIsDone, match=r"(?s)tiny is done: 8 iterations, .*net_g_latest\.pth.*--restart"):
        starting_point(opt(auto_resume=auto_resume), CHECKED, False)
    assert starting_point(opt(), CHECKED, True) is None


def test_a_run_that_is_done_by_other_options_asks(opt):
    finished(opt(), checked={**CHECKED, "lr": 1})
    with pytest.raises(UserError, match="--restart"):
        starting_point(opt(), CHECKED, False)


def test_a_run_of_another_network_is_not_the_one_that_is_done(opt):
    path = checkpoint(opt(), 8)
    finished(opt(), checked={**CHECKED, "scale": 2})
    assert starting_point(opt(auto_resume=True), CHECKED, False)[0] == path  # whose options are compared next


def test_a_run_that_is_done_goes_on_for_longer(opt):
    path = checkpoint(opt(), 8)
    finished(opt())
    longer = opt(auto_resume=True, train={"total_iter": 16})
    assert starting_point(longer, CHECKED, False) == (path, path.parents[1] / "models")
    path.unlink()
    with pytest.raises(UserError, match="no state to go on from"):
        starting_point(longer, CHECKED, False)


def test_a_run_that_ended_without_its_weights_is_not_done(opt):
    path = checkpoint(opt(), 8)
    finished(opt())
    (run_folder.folder(opt()) / "models/net_g_latest.pth").unlink()
    assert starting_point(opt(auto_resume=True), CHECKED, False) == (path, path.parents[1] / "models")


def test_a_state_of_another_run_goes_on_with_the_weights_beside_it(opt):
    path = checkpoint(opt("other"), 4)
    given = {"path": {"resume_state": str(path)}}
    assert starting_point(opt(**given), CHECKED, False) == (path, path.parents[1] / "models")
    own = checkpoint(opt(), 6)  # of a run that began so
    assert starting_point(opt(auto_resume=True, **given), CHECKED, False) == (own, own.parents[1] / "models")
    with pytest.raises(UserError, match="holds a run"):
        starting_point(opt(**given), CHECKED, False)
    (path.parents[1] / "models/net_g_4.pth").unlink()
    with pytest.raises(UserError, match=r"resume_state: .*other/models/net_g_4\.pth is missing"):
        starting_point(opt(**given), CHECKED, True)


def test_an_own_state_goes_on_and_is_not_moved_away(opt):
    path = checkpoint(opt(), 4)
    given = {"path": {"resume_state": str(path)}}
    assert starting_point(opt(**given), CHECKED, False)[0] == path
    with pytest.raises(UserError, match="--restart"):
        starting_point(opt(**given), CHECKED, True)


def test_runs_for_debugging_begin_again_as_in_basicsr(opt):
    checkpoint(opt("debug_tiny"), 4)
    assert starting_point(opt("debug_tiny"), CHECKED, False) is None


def test_what_is_noted_at_the_end_can_be_read(opt):
    finished(opt())
    noted = json.loads((run_folder.folder(opt()) / run_folder.FINISHED).read_text())
    assert noted == {"iterations": 8, "options": CHECKED}
    assert torch.load(run_folder.folder(opt()) / "models/net_g_latest.pth", weights_only=True) == {"params": {}}
