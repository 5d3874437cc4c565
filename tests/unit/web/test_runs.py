"""What the board reads of a run's folder."""

import json
import math
from pathlib import Path

import pytest
import yaml
from PIL import Image
from torch.utils.tensorboard import SummaryWriter
from visitors import Browser, served

from hat_arch.utils.errors import UserError
from hat_arch.web import runs
from hat_arch.web.board_page import BoardPage
from hat_arch.web.limits import Limits
from hat_arch.web.logs import Log
from hat_arch.web.runs import Run, compare_options, find, find_all, key, thinned

LOG = """\
2026-11-25 20:05:26,568 INFO: [train..][epoch:  0, iter:   1,000, lr:(6.394e-05,)] [eta: 0:05:29, time (data): 2.372 (0.015)] l_pix: 2.6734e-02 grad_norm: 2.0494e-01 
2026-11-25 20:07:50,968 INFO: Validation Set5
\t # psnr: 29.4615\tBest: 29.4615 @ 1000 iter
\t # ssim: 0.8352\tBest: 0.8352 @ 1000 iter

2026-11-25 20:10:58,529 INFO: [train..][epoch:  0, iter:   2,000, lr:(1.004e-06,)] [eta: -1 day, 23:59:58, time (data): 2.647 (0.015)] l_pix: nan 
"""  # noqa: E501, W291


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run as BasicSR leaves it: ``experiments/one`` and ``tb_logger/one``."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "experiments/one"
    (folder / "models").mkdir(parents=True)
    options = {"name": "one", "scale": 4, "network_g": {"type": "HAT"}, "train": {"total_iter": "4e3", "lr": "1e-4"}}
    (folder / "one.yml").write_text(yaml.safe_dump(options))
    (folder / "train_one_20261125.log").write_text(LOG)
    for iteration in (1000, 2000):
        picture = folder / f"visualization/baby/baby_{iteration}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(picture)
    with SummaryWriter(str(tmp_path / "tb_logger/one")) as writer:
        writer.add_scalar("metrics/Set5/psnr", 30.0, 3000)
        writer.add_scalar("training/samples_per_second", 7, 3000)
    return Run(folder)


def copied(run, name, **changes):
    """A run whose option file says something else."""
    folder = run.folder.with_name(name)
    (folder / "models").mkdir(parents=True)
    options = run.options() | {"name": name} | changes
    (folder / f"{name}.yml").write_text(yaml.safe_dump(options))
    return Run(folder)


def test_a_log_in_words_is_numbers(tmp_path):
    file = tmp_path / "train_a.log"
    file.write_text(LOG[:-30])
    log = Log(tmp_path)
    assert log.read_on() and (log.iteration, log.eta) == (1000, "0:05:29")
    assert log.scalars["losses/l_pix"] == {1000: 0.026734} and log.scalars["grad_norm"] == {1000: 0.20494}
    assert log.scalars["metrics/Set5/ssim"] == {1000: 0.8352}
    assert log.scalars["training/lr"] == {1000: 6.394e-05}
    file.write_text(LOG)
    assert log.read_on() and not log.read_on() and (log.iteration, log.eta) == (2000, "")
    assert math.isnan(log.scalars["losses/l_pix"][2000])
    assert log.tail() == LOG


def test_a_long_log_is_shown_from_a_line_on(tmp_path):
    (tmp_path / "train_a.log").write_text("".join(f"line {number}\n" for number in range(5000)))
    lines = Log(tmp_path).tail().splitlines()
    assert lines[-1] == "line 4999" and lines[0].startswith("line ") and len(lines) < 3000


def test_state_and_curves(run):
    state = run.state()
    assert (state["iteration"], state["total"], state["scale"], state["network"]) == (3000, 4000, 4, "HAT")
    assert not state["done"] and 0 <= state["seconds_since"] < 60
    assert run.state()["version"] == state["version"]
    curves = json.loads(json.dumps(run.curves(), allow_nan=False))
    assert curves["losses/l_pix"] == [[1000, 0.026734], [2000, None]]
    assert curves["metrics/Set5/psnr"] == [[3000, 30.0]] and curves["metrics/Set5/ssim"] == [[1000, 0.8352]]
    (run.folder / "finished.json").write_text("{}")
    assert run.state()["done"]


def test_a_run_that_is_moved_away_is_said_to_be_gone(run):
    run.folder.rename(run.folder.with_name("two"))
    assert run.state() == {"name": "one", "gone": True, "version": 0}


def test_pictures_by_iteration(run):
    [shown] = run.pictures()
    assert (shown["title"], shown["iterations"]) == ("baby", [1000, 2000])
    assert run.picture(shown["key"], 2000) == run.folder / "visualization/baby/baby_2000.png"
    assert run.picture(shown["key"], 3000) is None is run.picture("../../etc/passwd", 1)


def test_a_curve_of_many_points_is_drawn_by_means():
    points = {step: float(step) for step in range(10_000)}
    curve = thinned(points)
    assert len(curve) <= runs.POINTS and curve[-1][0] == 9999
    assert curve[0] == [6, 3.0]
    assert thinned({1: math.inf, 2: 1.0}) == [[1, None], [2, 1.0]]


def test_options_are_compared_by_what_they_mean(run):
    other = copied(run, "two", train={"total_iter": 4000, "lr": 1e-4, "ema": True}, scale=2)
    rows = {row["key"]: row["values"] for row in compare_options([run, other])}
    assert rows == {"scale": ["4", "2"], "train.ema": [None, "true"]}


@pytest.mark.parametrize("content", ["a: [", "- 1", "\x00", ""])
def test_a_broken_option_file_stops_nothing(run, content):
    run.option_file().write_text(content)
    assert run.state()["total"] is None and run.options() == {}


def test_runs_are_found_by_path_and_name(run):
    assert find("one").samefile(find("experiments/one"))
    Path("one").mkdir()  # of pictures, say
    assert find("one").samefile("experiments/one")
    for name, word in (
        ("nothing", "no such folder"),
        ("experiments", "basicsr board experiments/*"),
        (".", "is no folder"),
    ):
        with pytest.raises(UserError, match=name.replace(".", r"\.")) as error:
            find(name)
        assert word in str(error.value) and "\n" not in str(error.value)


def test_a_pattern_may_bring_what_is_no_run(run):
    """``experiments/*`` in a clone of the repository has more than runs."""
    Path("experiments/benchmarks").mkdir()
    Path("experiments/README.md").touch()
    names = [str(path) for path in sorted(Path("experiments").iterdir())]
    folders, others = find_all([*names, "experiments/one"])
    assert folders == [Path("experiments/one")]
    assert others == ["experiments/README.md", "experiments/benchmarks"]
    for wrong, word in ((["one", "tow"], "tow: no such folder"), (others, "none of them is the folder of a run")):
        with pytest.raises(UserError, match=word):
            find_all(wrong)


def test_the_page_shows_runs_and_writes_nothing(run, tmp_path):
    other = copied(run, "two")
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    with served(BoardPage([run, other], Limits(), "token").app) as address:
        browser = Browser(address)
        paths = ["/api/runs", "/api/differences"]
        paths += [f"/api/runs/0/{what}" for what in ("curves", "pictures", "options", "log")]
        paths += [f"/api/runs/0/pictures/{key('baby')}/1000"]
        assert [browser.get(path).status_code for path in paths] == [401] * len(paths)
        browser.enter("token")
        answers = {path: browser.get(path) for path in paths}
        assert [answer.status_code for answer in answers.values()] == [200] * len(paths)
        assert [one["name"] for one in answers["/api/runs"].json()["runs"]] == ["one", "two"]
        assert answers["/api/runs/0/log"].text == LOG and "network_g" in answers["/api/runs/0/options"].text
        assert answers[paths[-1]].headers["content-type"] == "image/png"
        for path in ("/api/runs/2/curves", f"/api/runs/0/pictures/{key('baby')}/7", "/api/runs/0/pictures/..%2f/1"):
            assert browser.get(path).status_code == 404
        for method in ("post", "put", "delete"):
            assert getattr(browser, method)("/api/runs").status_code == 405
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before
