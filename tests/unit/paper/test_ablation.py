"""The papers' ablations: their runs, how they are trained and gone on with, and what the report says."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch
import yaml
from tiny import ROOT
from torch.utils.tensorboard import SummaryWriter

from hat_arch import cli, config
from hat_arch.cli.paper import ablate
from hat_arch.config import load
from hat_arch.paper import ablation, ablation_options, ablation_report, networks, trials
from hat_arch.training.checkpoints import changed_options

OPTIONS = ROOT / "options"
TABLES = yaml.safe_load((ROOT / "hat_arch/paper/tables.yml").read_text(encoding="utf-8"))["ablations"]
STAGES = sorted(OPTIONS.glob("ablation_*.yml"))
TINY = ["embed_dim=12", "depths=[1]", "num_heads=[2]", "squeeze_factor=4"]

# --- which runs a study has


def test_option_files_are_those_that_the_recipes_make(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert {file.name: file.read_text(encoding="utf-8") for file in STAGES} == dict(ablation_options.files())


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


@pytest.mark.parametrize("file", STAGES, ids=lambda file: file.stem)
def test_only_what_the_study_is_about_differs_from_the_main_recipe(file):
    options, _ = config.read(file)
    base, _ = config.read(OPTIONS / f"train_HAT_SRx{options['scale']}.yml")
    lines = [line for kind in changed_options(base, options) for line in kind]
    changed = {line.partition(": ")[0] for line in lines if not line.startswith(("datasets.val", "val.val_freq"))}
    studied = {key for key in changed if key.startswith("network_g.")}
    allowed = {"name"}
    if options["scale"] == 4:
        allowed |= {"path.param_key_g", "path.pretrain_network_g", "path.strict_load_g", "train.optim_g.lr"}
        allowed |= {"train.scheduler.milestones", "train.total_iter"}
    if "multi_task" not in file.stem:
        assert studied
    elif file.stem.endswith("ImageNet"):
        allowed |= {"model_type", "network_g.type", "network_g.scales"}
        allowed |= {f"datasets.train.{key}" for key in ("name", "type", "scales", "dataroot_gt", "dataroot_lq")}
    assert changed - studied <= allowed


@pytest.mark.parametrize("file", STAGES, ids=lambda file: file.stem)
def test_option_files_pass_the_check_and_start_from_the_stage_before(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, _ = config.read(file)
    for dataset in options["datasets"].values():
        for root in (dataset["dataroot_gt"], dataset.get("dataroot_lq")):
            if root:
                Path(root).mkdir(parents=True, exist_ok=True)
                for name in ("data.mdb", "meta_info.txt"):
                    (Path(root) / name).touch()
    tiny = [f"network_g:{change}" for change in TINY]
    if source := options["path"]["pretrain_network_g"]:
        before = config.read(OPTIONS / f"{Path(source).parts[1]}.yml")[0]["network_g"]
        before |= {key: yaml.safe_load(value) for key, value in (change.split("=") for change in TINY)}
        Path(source).parent.mkdir(parents=True)
        torch.save({"params_ema": networks.build(before).state_dict()}, source)
    opt = load(file, is_train=True, overrides=tiny)
    assert opt["name"] == file.stem


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("HAT_no_ca", TABLES["channel_attention"]["params"]["without_CA"]),
        ("HAT_overlap_0_no_cab", TABLES["overlap_ratio_gamma"]["params_macs"]["0"][0]),
        ("HAT_overlap_0.25_no_cab", TABLES["overlap_ratio_gamma"]["params_macs"]["0.25"][0]),
        ("HAT_no_cab", TABLES["overlap_ratio_gamma"]["params_macs"]["0.5"][0]),
        ("HAT_overlap_0.75_no_cab", TABLES["overlap_ratio_gamma"]["params_macs"]["0.75"][0]),
        ("HAT_compress_1_no_ocab", TABLES["cab_size_beta"]["rows"]["1"]["analytic"][0]),
        ("HAT_compress_2_no_ocab", TABLES["cab_size_beta"]["rows"]["2"]["analytic"][0]),
        ("HAT_no_ocab", TABLES["cab_size_beta"]["rows"]["3"]["analytic"][0]),
        ("HAT_compress_6_no_ocab", TABLES["cab_size_beta"]["rows"]["6"]["analytic"][0]),
        ("HAT_no_cab_no_ocab", TABLES["cab_size_beta"]["rows"]["none"]["analytic"][0]),
        ("HAT_window_8_no_cab_no_ocab", TABLES["window_size"]["w8"]["params_M"]),
    ],
)
def test_networks_have_the_parameters_of_the_papers(name, count):
    with torch.device("meta"):
        net = networks.build(config.read(OPTIONS / f"ablation_{name}_SRx4.yml")[0]["network_g"])
    total = sum(p.numel() for p in net.parameters())
    assert total == count if isinstance(count, int) else total / 1e6 == pytest.approx(count, abs=0.051)


# --- what is trained


@pytest.fixture
def here(tmp_path, monkeypatch, demo_data):
    """A folder with the demo's data."""
    monkeypatch.chdir(tmp_path)
    Path("datasets").mkdir()
    Path("datasets/demo").symlink_to(demo_data)
    return tmp_path


@pytest.mark.parametrize("study", ablation.NAMES)
def test_variants_of_the_demo_differ_in_what_is_studied_alone(study, here):
    plan = ablation.plan_demo(study, here / "out", seeds=2, iterations=10)
    labels = networks.STUDIES[study].variants if study in networks.STUDIES else ablation.FULL_PRETRAINING
    assert [(t.variant, t.seed) for t in plan.trials] == [(label, seed) for seed in (0, 1) for label in labels]
    for trial in plan.trials:
        assert sum(run.iterations for run in trial.stages) == 10
        for run in trial.stages:
            opt = load(run.options, is_train=True) if run is trial.stages[0] else config.read(run.options)[0]
            assert (opt["name"], opt["manual_seed"], opt["train"]["total_iter"]) == (
                run.name,
                trial.seed,
                run.iterations,
            )
    base = config.read(ablation.DEMO)[0]["network_g"]
    for variant, network in plan.networks.items():
        changes = networks.STUDIES[study].variants[variant] if study in networks.STUDIES else {}
        assert network == {**base, **changes}
        networks.build(network)
    assert len({run.name for trial in plan.trials for run in trial.stages}) == sum(len(t.stages) for t in plan.trials)


def test_demo_with_other_settings_in_the_same_folder_is_refused(here):
    ablation.plan_demo("window", here / "out", seeds=1, iterations=10)
    ablation.plan_demo("window", here / "out", seeds=2, iterations=10)  # more seeds are no other settings
    with pytest.raises(config.ConfigError, match="was trained with other settings"):
        ablation.plan_demo("window", here / "out", seeds=1, iterations=11)


def test_full_budget_trains_the_option_files_as_they_are(monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(ablation.FULL_PRETRAINING, "none", ("train_HAT_SRx2", "train_HAT_SRx4"))
    plan = ablation.plan_full("overlap", Path("unused"))
    assert not Path("unused").exists()
    for trial, files in zip(plan.trials, ablation.option_files("overlap").values()):
        assert [run.options for run in trial.stages] == [Path("options") / f"{file}.yml" for file in files]
        assert [run.iterations for run in trial.stages] == [500_000, 250_000]


def test_another_seed_or_length_has_another_name_and_starts_from_its_own_stage(monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    plan = ablation.plan_full("window", tmp_path, seeds=2, iterations=7)
    for trial in plan.trials:
        first, last = (config.read(run.options)[0] for run in trial.stages)
        assert first["manual_seed"] == last["manual_seed"] == trial.seed
        assert first["train"]["total_iter"] == last["train"]["total_iter"] == 7
        assert last["path"]["pretrain_network_g"] == f"experiments/{first['name']}/models/net_g_latest.pth"
    assert len({run.name for trial in plan.trials for run in trial.stages}) == 8


# --- training


def pretend(argv):
    """In place of ``basicsr train``: does what the run's name says."""
    name = Path(argv[argv.index("-opt") + 1]).stem
    if "window_8" in name:
        print("some line\nbasicsr: the disk is full", file=sys.stderr)
        return 2
    if "stopped" in name:
        return 130
    if "killed" in name:
        os.kill(os.getpid(), signal.SIGKILL)
    folder = Path("experiments", name)
    folder.mkdir(parents=True)
    (folder / "summary.md").touch()
    return 0


def trial(folder, *names):
    return trials.Trial(names[-1], 0, tuple(trials.Run(name, folder / f"{name}.yml", 5, folder) for name in names))


def test_a_variant_that_fails_is_named_and_the_others_go_on(here, monkeypatch, capsys):
    monkeypatch.setattr(ablate, "train", pretend)
    assert cli.main(["paper", "ablate", "window", "--seeds", "1", "--out", "out"]) == 1
    name = "HAT_window_8_no_cab_no_ocab_seed0"
    why = f"{name} ended with exit code 2: the disk is full (out/logs/{name}.log)"
    assert capsys.readouterr().err.count(f"window 8, seed 0: failed: {why}\n") == 1
    assert f"Failed: window 8, seed 0: {why}." in Path("out/table.md").read_text(encoding="utf-8")
    assert Path("out/experiments/HAT_no_cab_no_ocab_seed0/summary.md").exists()


def test_the_cause_of_an_earlier_stop_is_not_named_again(tmp_path):
    log = tmp_path / "killed.log"
    log.write_text("basicsr: stopped after iteration 22, which is saved\n")
    ((_, problem),) = trials.train([trial(tmp_path, "killed")], pretend, logs=tmp_path)
    assert problem == f"killed ended with signal 9 ({log})"


def test_stages_are_trained_in_turn_and_none_that_is_finished(tmp_path):
    (tmp_path / "experiments/first").mkdir(parents=True)
    (tmp_path / "experiments/first/summary.md").touch()  # `pretend` would fail to make it again
    plan = [trial(tmp_path, "first", "window_8", "last"), trial(tmp_path, "first")]
    over = dict(trials.train(plan, pretend))
    assert over == {plan[0]: "window_8 ended with exit code 2", plan[1]: None}
    assert not (tmp_path / "experiments/last").exists()


def test_ctrl_c_in_one_process_stops_all(tmp_path):
    with (
        closing(trials.train([trial(tmp_path, "stopped"), trial(tmp_path, "later")], pretend)) as over,
        pytest.raises(KeyboardInterrupt),
    ):
        list(over)
    assert not (tmp_path / "experiments/later").exists()


def read_csv(file):
    return list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))


def start(*words):
    command = [sys.executable, "-m", "hat_arch", "paper", "ablate", "window", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_demo_that_was_killed_goes_on_and_ends_with_a_table(here, capsys):
    words = ("--seeds", "1", "--iterations", "16", "--out", "out")
    process = start(*words)
    states = Path("out/experiments").glob
    for _ in range(600):
        if next(states("*/training_states/*.state"), None):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGKILL)
    process.communicate()  # its processes have its output too: they have ended
    stopped = {file.parts[2]: file.stem for file in sorted(states("*/training_states/*.state"))}
    assert stopped and "16" not in stopped.values()

    assert cli.main(["paper", "ablate", "window", *words]) == 2
    assert "was begun; go on with --resume" in capsys.readouterr().err

    process = start(*words, "--resume")
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert "no evidence" in output and "| window 16 |" in output and "| 32.97 / 0.9049 |" in output
    for name in stopped:
        newest = max(Path("out/experiments", name).glob("*.log"))
        assert "Resuming training from epoch" in newest.read_text()
    rows = read_csv(Path("out/runs.csv"))
    assert [row["variant"] for row in rows] == ["window 8", "window 16"]
    assert all(5 < float(row["psnr"]) < 40 for row in rows)
    assert Path("out/curves.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "no study 'nothing'; there are: window, ocab_cab"),
        ([], "NAME is missing"),
        (["window", "--gpus", "2"], "--gpus is for --budget full"),
        (["window", "--budget", "full"], "options/ablation_HAT_window_8_no_cab_no_ocab_SRx2.yml"),
    ],
)
def test_mistakes_get_a_line_and_leave_nothing(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["paper", "ablate", *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


# --- what is reported


@pytest.fixture
def trained(here):
    """Plans whose runs have made-up curves: PSNR 20 + variant + seed², one variant's third seed unfinished."""

    def make(study):
        plan = ablation.plan_demo(study, here / study, seeds=3, iterations=10)
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
    text = (plan.out / "table.md").read_text(encoding="utf-8")
    values = [21.0, 22.0, 25.0]
    cell = f"{statistics.fmean(values):.2f} ± {statistics.stdev(values):.2f} / 0.5000 ± 0.0000"
    assert f"| neither | 354,611 | 3 | {cell} | 27.81 / 0.8336 |" in text
    assert "| both | 384,879 | 2 | 24.50 ± 0.71 / 0.5000 ± 0.0000 | 27.97 / 0.8366 |" in text
    assert "no evidence" in text and "Failed: both, seed 2: the disk is full." in text
    rows = read_csv(plan.out / "table.csv")
    assert [row["psnr"] for row in rows if row["source"] == "paper"] == ["27.81", "27.91", "27.91", "27.97"]
    assert float(rows[0]["psnr std"]) == pytest.approx(statistics.stdev(values), abs=1e-5)
    assert len(read_csv(plan.out / "runs.csv")) == 11


def test_results_whose_log_is_gone_are_not_replaced_by_nothing(trained, here, capsys):
    plan = trained("window")
    (plan.out / "table.md").write_text("results")
    words = ["paper", "ablate", "window", "--out", str(plan.out), "--iterations", "10", "--resume"]
    shutil.rmtree(plan.out / "tb_logger" / plan.trials[1].result.name)
    assert cli.main(words) == 2
    error = capsys.readouterr().err
    assert f"tb_logger/{plan.trials[1].result.name}: is gone" in error and error.count("\n") == 1
    assert (plan.out / "table.md").read_text() == "results"


def test_progress_is_that_of_the_iterations(tmp_path):
    run = trials.Run("a", Path("a.yml"), 400, tmp_path)
    run.experiment.mkdir(parents=True)
    log = run.experiment / "train_a_1.log"
    log.write_text("  total_iter: 400\n")
    assert run.done == 0
    log.write_text("  total_iter: 400\n[a..][epoch:  0, iter:   1,230, lr:(1.0e-3,)]\n")
    assert run.done == 1230


def test_curves_begin_where_the_stages_before_them_ended(trained, monkeypatch):
    plan, drawn = trained("pretraining"), []
    monkeypatch.setattr(ablation_report, "save", lambda figure, file: drawn.append(figure.axes[0]))
    assert ablation_report.draw(plan, plan.out / "curves.png")
    lines = {line.get_label(): line.get_xdata().tolist() for line in drawn[0].get_lines()}
    assert lines == {"none": [5, 10], "same task": [10, 15], "multi-related-task": [10, 15]}
    assert drawn[0].get_xlabel() == "iteration, earlier stages counted"


@pytest.mark.parametrize("study", ["overlap", "cab_weight", "cab_size", "channel_attention"])
def test_numbers_that_are_not_verified_are_not_shown(study, trained):
    plan = trained(study)
    ablation_report.write_report(plan, {})
    text = (plan.out / "table.md").read_text(encoding="utf-8")
    assert ablation_report.paper_scores(study) == {}
    assert "could be verified" in text and "paper: " not in text and "27." not in text
    assert "Not finished: " in text


def test_papers_numbers_are_those_of_the_tables():
    window = ablation_report.paper_scores("window")
    assert window["window 16"]["Urban100"] == {"psnr": 27.81, "ssim": 0.8336}
    assert len(window["window 8"]) == 5
    strategy = ablation_report.paper_scores("pretraining")
    assert strategy["none"]["Urban100"] == {"psnr": 27.97, "ssim": 0.8368}
    assert strategy["same task"]["Urban100"]["psnr"] == TABLES["pretraining_strategy"]["same_task_finetune"][3][0]
    assert ablation_report.look_up("ablations/channel_attention/without_CA/psnr") is None
    assert f"{TABLES['channel_attention']['gain_dB']['value']} dB" in ablation_report.STATEMENTS["channel_attention"]
