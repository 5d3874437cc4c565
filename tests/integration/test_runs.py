"""Runs that share a name: at once, one after the other, and one from another's state; and tests of what they leave."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import yaml


def snapshot(folder):
    return {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}


def test_a_name_in_use_is_refused_and_says_by_whom(tmp_path, basicsr, options, write_options):
    options["train"]["total_iter"] = 100_000
    file = write_options(options)
    command = [sys.executable, "-m", "hat_arch", "train", "-opt", str(file)]
    with subprocess.Popen(command, cwd=tmp_path, text=True, stderr=subprocess.PIPE) as first:
        for line in first.stderr:
            if "iter:       1" in line:
                break
        second = basicsr("train", "-opt", file, "--restart")
        first.kill()
    assert second.returncode == 2
    assert second.stderr.startswith(f"basicsr: experiments/tiny is in use by process {first.pid} on ")
    assert second.stderr.count("\n") == 1
    assert [path.name for path in (tmp_path / "experiments").iterdir() if path.is_dir()] == ["tiny"]
    third = basicsr("train", "-opt", file, "--restart", "--force_yml", "train:total_iter=1")
    assert third.returncode == 0, third.stderr  # the first was killed, and left no lock


def test_a_run_is_done_once_and_tested_by_its_own_file(tmp_path, basicsr, options, write_options):
    file, run = write_options(options), tmp_path / "experiments/tiny"
    done = basicsr("train", "-opt", file)
    assert done.returncode == 0, done.stderr
    before_start = done.stderr.partition("Start training")[0]
    assert before_start.count("\n") < 15 and "parameters" in before_start
    [log] = run.glob("train_tiny_*.log")
    assert "Version Information" in log.read_text() and "save_checkpoint_freq: 2" in log.read_text()

    before = snapshot(run)
    for flags in ([], ["--auto_resume"]):
        again = basicsr("train", "-opt", file, *flags)
        assert again.returncode == 0 and again.stdout.startswith("tiny is done: 4 iterations, "), again.stderr
        assert "--restart" in again.stdout and snapshot(run) == before

    tested = basicsr("test", "-opt", file)
    assert tested.returncode == 0, tested.stderr
    assert "Best" not in tested.stderr and "seconds per image" in tested.stdout
    found = json.loads((tmp_path / "results/tiny/results.json").read_text())
    assert found["weights"] == "experiments/tiny/models/net_g_latest.pth"
    [dataset] = found["datasets"]
    validated = re.findall(r"# psnr: (\d+\.\d+)", log.read_text())[-1]
    assert f"{dataset['metrics']['psnr']['ours']:.4f}" == validated

    options["name"] = "other"
    options["path"]["resume_state"] = "experiments/tiny/training_states/2.state"
    other = basicsr("train", "-opt", write_options(options, "other.yml"))
    assert other.returncode == 0, other.stderr
    assert "goes on from experiments/tiny/training_states/2.state" in other.stderr and "iter: 2." in other.stderr
    assert snapshot(run) == before
    assert (tmp_path / "experiments/other/models/net_g_latest.pth").is_file()


def test_nothing_is_measured_with_random_weights(tmp_path, basicsr, options):
    kept = {key: options[key] for key in ("name", "model_type", "scale", "network_g", "val")}
    opt = {**kept, "datasets": {"test_1": options["datasets"]["val"]}}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(opt))
    done = basicsr("test", "-opt", "test.yml")
    assert done.returncode == 2 and done.stderr.startswith("basicsr: test.yml: path: pretrain_network_g: ")
    assert not (tmp_path / "results").exists()
