"""The template of a plugin, examples/plugin, is installed as it is, found, and trained."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import ROOT

SOURCE = ROOT / "examples/plugin"
OPTIONS = SOURCE / "train_MyNet_SRx4.yml"
QUICK = ["train:total_iter=4", "val:val_freq=4", "logger:print_freq=2", "datasets:train:num_worker_per_gpu=0"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PYTHONPATH in which the plugin is installed; no network is needed."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(SOURCE, folder / "source", ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*command, "--target", folder / "site", folder / "source"], check=True, capture_output=True)
    return folder / "site"


def test_it_trains_by_its_option_file(basicsr, site, beside_demo_data):
    done = basicsr("train", "-opt", OPTIONS, "--force_yml", *QUICK, env={"PYTHONPATH": str(site)})
    assert done.returncode == 0, done.stderr
    assert "network    MyNet" in done.stderr
    assert (beside_demo_data / "experiments/train_MyNet_SRx4/models/net_g_latest.pth").is_file()


def test_its_own_tests_pass_and_the_command_lists_it(site, tmp_path):
    shutil.copytree(SOURCE / "tests", tmp_path / "tests")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout + done.stderr
