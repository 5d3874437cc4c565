"""The papers' ablations: which runs they have, and what the report says of them."""

from __future__ import annotations

import csv
import re
import shutil
import statistics
from pathlib import Path

import pytest
import yaml
from tiny import ROOT
from torch.utils.tensorboard import SummaryWriter

from hat_arch import cli
from hat_arch.compat.registration import build
from hat_arch.config import ConfigError, load, reading, shipped_options
from hat_arch.paper import ablation, ablation_report, networks

TABLES = yaml.safe_load((ROOT / "hat_arch/paper/tables.yml").read_text(encoding="utf-8"))["ablations"]
FILES = ("table.csv", "runs.csv")

# --- which runs a study has


def test_networks_that_are_equal_share_their_runs_and_no_others_do():
    runs: dict[str, list[str]] = {}
    for name, study in networks.STUDIES.items():
        for variant, changes in study.variants.items():
            network = {**networks.HAT, "use_cab": True, "use_ocab": True, "use_channel_attention": True, **changes}
            files = ablation.option_files(name)[variant]
            assert all(file.isascii() for file in files)
            runs.setdefault(files[-1], []).append(str(sorted(network.items(), key=str)))
    assert all(len(set(same)) == 1 for same in runs.values())
    assert len({same[0] for same in runs.values()}) == len(runs) == 15


@pytest.mark.parametrize("study", ablation.NAMES)
def test_variants_of_the_demo_differ_in_what_is_studied_alone(study, beside_demo_data):
    plan = ablation.plan_demo(study, beside_demo_data / "out", seeds=2, iterations=10)
    labels = networks.STUDIES[study].variants if study in networks.STUDIES else ablation.FULL_PRETRAINING
    assert [(t.variant, t.seed) for t in plan.trials] == [(label, seed) for seed in (0, 1) for label in labels]
    for trial in plan.trials:
        assert sum(run.iterations for run in trial.stages) == 10
        for run in trial.stages:
            opt = load(run.options, is_train=True) if run is trial.stages[0] else reading.read(run.options)[0]
            assert (opt["name"], opt["manual_seed"]) == (run.name, trial.seed)
            assert opt["train"]["total_iter"] == run.iterations
    base = ablation.demo_options(beside_demo_data)["network_g"]
    for variant, network in plan.networks.items():
        changes = networks.STUDIES[study].variants[variant] if study in networks.STUDIES else {}
        assert network == {**base, **changes}
        build(network)
    assert len({run.name for trial in plan.trials for run in trial.stages}) == sum(len(t.stages) for t in plan.trials)


def test_demo_with_other_settings_in_the_same_folder_is_refused(beside_demo_data):
    for seeds in (1, 2):  # more seeds are no other settings
        ablation.plan_demo("window", beside_demo_data / "out", seeds, iterations=10)
    with pytest.raises(ConfigError, match="other settings"):
        ablation.plan_demo("window", beside_demo_data / "out", iterations=11)


def test_full_budget_trains_the_option_files_as_they_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = ablation.plan_full("ocab_cab", Path("unused"))
    assert not any(tmp_path.iterdir())
    for trial, files in zip(plan.trials, ablation.option_files("ocab_cab").values()):
        assert [run.options for run in trial.stages] == [shipped_options.named(file) for file in files]
        assert [run.iterations for run in trial.stages] == [500_000, 250_000]


def test_another_seed_or_length_has_another_name_and_starts_from_its_own_stage(tmp_path):
    plan = ablation.plan_full("window", tmp_path, seeds=2, iterations=7)
    for trial in plan.trials:
        first, last = (reading.read(run.options)[0] for run in trial.stages)
        assert first["manual_seed"] == last["manual_seed"] == trial.seed
        assert first["train"]["total_iter"] == last["train"]["total_iter"] == 7
        assert last["path"]["pretrain_network_g"] == f"experiments/{first['name']}/models/net_g_latest.pth"
    assert len({run.name for trial in plan.trials for run in trial.stages}) == 8


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "no study 'nothing'; there are: window, ocab_cab"),
        ([], "NAME is missing"),
        (["window", "--gpus", "2"], "--gpus is for --budget full"),
    ],
)
def test_mistakes_get_a_line_and_leave_nothing(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["paper", "ablate", *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- what is reported


@pytest.fixture
def trained(beside_demo_data):
    """Plans whose runs have made-up curves: PSNR 20 + variant + seed², one variant's third seed unfinished."""

    def make(study):
        plan = ablation.plan_demo(study, beside_demo_data / study, seeds=3, iterations=10)
        for n, one in enumerate(plan.trials):
            with SummaryWriter(one.result.folder / "tb_logger" / one.result.name) as writer:
                for step in (5, 10):
                    psnr = 20 + [*plan.networks].index(one.variant) + one.seed**2 + step / 10
                    writer.add_scalar("metrics/demo_held_out/psnr", psnr, step)
                    writer.add_scalar("metrics/demo_held_out/ssim", 0.5, step)
            if n < len(plan.trials) - 1:
                one.result.experiment.mkdir(parents=True)
                (one.result.experiment / "summary.md").touch()
        return plan

    return make


def test_table_has_mean_and_spread_and_what_is_missing(trained):
    plan = trained("ocab_cab")
    ablation_report.write_report(plan, {"both, seed 2": "the disk is full"})
    text = re.sub(" +", " ", (plan.out / "table.md").read_text(encoding="utf-8"))
    values = [21.0, 22.0, 25.0]
    cell = f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f} / 0.5000 ± 0.0000"
    assert f"| neither | 354,611 | 3 | {cell} | 27.81 / 0.8336 |" in text
    assert "| both | 384,879 | 2 | 24.50 ± 0.71 / 0.5000 ± 0.0000 | 27.97 / 0.8366 |" in text
    assert "no evidence" in text and "Failed: both, seed 2: the disk is full." in text
    rows, runs = (list(csv.DictReader((plan.out / name).read_text("utf-8").splitlines())) for name in FILES)
    assert [row["psnr"] for row in rows if row["source"] == "paper"] == ["27.81", "27.91", "27.91", "27.97"]
    assert float(rows[0]["psnr std"]) == pytest.approx(statistics.stdev(values), abs=1e-5)
    assert len(runs) == 11


def test_results_whose_log_is_gone_are_not_replaced_by_nothing(trained, beside_demo_data, capsys):
    plan = trained("window")
    (plan.out / "table.md").write_text("results")
    words = ["paper", "ablate", "window", "--out", str(plan.out), "--iterations", "10", "--resume"]
    shutil.rmtree(plan.out / "tb_logger" / plan.trials[1].result.name)
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert f"tb_logger/{plan.trials[1].result.name}: is gone" in error and error.count("\n") == 1
    assert (plan.out / "table.md").read_text() == "results"


def test_curves_begin_where_the_stages_before_them_ended(trained, monkeypatch):
    plan, drawn = trained("pretraining"), []
    monkeypatch.setattr(ablation_report, "save", lambda figure, file: drawn.append(figure.axes[0]))
    ablation_report.write_report(plan, {})
    lines = {line.get_label(): line.get_xdata().tolist() for line in drawn[0].get_lines()}
    assert lines == {"none": [5, 10], "same task": [10, 15], "multi-related-task": [10, 15]}
    assert drawn[0].get_xlabel() == "iteration, earlier stages counted"


@pytest.mark.parametrize("study", ["overlap", "cab_weight", "cab_size", "channel_attention"])
def test_numbers_that_are_not_verified_are_not_shown(study, trained):
    plan = trained(study)
    ablation_report.write_report(plan, {})
    text = (plan.out / "table.md").read_text(encoding="utf-8")
    assert ablation_report.paper_scores(study) == {}
    assert "could not be verified" in text and "paper: " not in text and "Not finished: " in text
    assert study != "channel_attention" or f"{TABLES[study]['gain_dB']['value']} dB" in text


def test_papers_numbers_are_those_of_the_tables():
    window = ablation_report.paper_scores("window")
    assert window["window 16"]["Urban100"] == {"psnr": 27.81, "ssim": 0.8336}
    assert len(window["window 8"]) == 5
    strategy = ablation_report.paper_scores("pretraining")
    assert strategy["none"]["Urban100"] == {"psnr": 27.97, "ssim": 0.8368}
    assert strategy["same task"]["Urban100"]["psnr"] == TABLES["pretraining_strategy"]["same_task_finetune"][3][0]
