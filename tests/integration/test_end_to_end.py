"""The whole way, as a user goes it: data, training, a crash, resuming, testing."""

from __future__ import annotations

import contextlib
import pickle
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml


def start(tmp_path: Path, *args: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hat_arch", *map(str, args)]
    return subprocess.Popen(command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def wait_for(file: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(1200):
        if file.is_file():
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.1)
    process.kill()
    raise AssertionError(f"{file} was not written: {process.stdout.read()}")


def newest_intact_state(run: Path) -> int:
    """A kill may have left the newest state half written."""
    for state in sorted((run / "training_states").glob("*.state"), key=lambda file: -int(file.stem)):
        with contextlib.suppress(RuntimeError, EOFError, pickle.UnpicklingError):
            return torch.load(state, weights_only=True)["iter"]
    raise AssertionError("no intact state")


def logs(folder: Path) -> str:
    return "".join(file.read_text() for file in sorted(folder.glob("*.log")))


def test_demo_data_train_kill_resume_test(tmp_path, basicsr, options, write_options):
    done = basicsr("data", "demo")
    assert done.returncode == 0 and "training pairs (LMDB)" in done.stdout, done.stderr
    demo = Path("datasets/demo")
    options["datasets"]["train"].update(
        dataroot_gt=str(demo / "train_GT.lmdb"), dataroot_lq=str(demo / "train_LRx4.lmdb"), num_worker_per_gpu=1
    )
    options["train"]["total_iter"] = 100_000
    file = write_options(options)
    run = tmp_path / "experiments/tiny"

    process = start(tmp_path, "train", "-opt", file)
    wait_for(run / "training_states/6.state", process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    intact = newest_intact_state(run)
    torn = run / f"training_states/{intact + 2}.state"
    torn.write_bytes(b"torn")  # as if killed while saving, if that has not happened anyway

    total = intact + 6
    done = basicsr("train", "-opt", file, "--auto_resume", "--force_yml", f"train:total_iter={total}")
    assert done.returncode == 0, done.stderr
    assert f"{torn.name} is damaged" in done.stderr
    assert re.search(rf"Resuming training from epoch: \d+, iter: {intact}\.", logs(run))
    assert re.search(r"Validation demo_held_out\n\t # psnr: \d+\.\d+", logs(run))
    weights = torch.load(run / "models/net_g_latest.pth", weights_only=True)
    assert set(weights) == {"params", "params_ema"}

    test = {key: options[key] for key in ("model_type", "scale", "network_g")}
    test["name"] = "tiny_test"
    test["datasets"] = {"test_1": options["datasets"]["val"]}
    test["path"] = {"pretrain_network_g": "experiments/tiny/models/net_g_latest.pth", "param_key_g": "params_ema"}
    test["val"] = {**options["val"], "save_img": True}
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test))
    done = basicsr("test", "-opt", "test.yml")
    assert done.returncode == 0, done.stderr
    tested = re.search(r"# psnr: (\d+\.\d+)", logs(tmp_path / "results/tiny_test"))
    validated = re.findall(r"# psnr: (\d+\.\d+)", logs(run))[-1]
    assert tested and tested[1] == validated  # what training reports is what testing gives
    images = sorted(p.name for p in (tmp_path / "results/tiny_test/visualization/demo_held_out").iterdir())
    assert images == ["coffee_tiny_test.png", "rocket_tiny_test.png"]

    done = basicsr("report", "-opt", file)
    assert done.returncode == 0, done.stderr
    ours = re.search(r"mean +bicubic \d+\.\d\d / \d+\.\d\d dB +ours (\d+\.\d\d) / \d+\.\d\d dB", done.stdout)
    assert ours and abs(float(ours[1]) - float(tested[1])) < 0.006
    assert "before" not in done.stdout  # it started from nothing
    for picture in ("comparison.png", "curves.png"):
        assert f"experiments/tiny/{picture}" in done.stdout
        assert (run / picture).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("workers", [0, 1])
def test_ctrl_c_leaves_a_state_to_resume_from(tmp_path, basicsr, options, write_options, workers):
    options["datasets"]["train"]["num_worker_per_gpu"] = workers
    options["train"]["total_iter"] = 100_000
    options["logger"]["save_checkpoint_freq"] = 100_000
    options["val"]["val_freq"] = 2
    file = write_options(options)
    process = start(tmp_path, "train", "-opt", file)
    for line in process.stdout:
        if "iter:       3" in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.communicate(timeout=60)[0]
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    stopped = re.search(r"stopped after iteration (\d+), which is saved; go on with: basicsr train -opt", rest)
    assert stopped, rest
    iteration = int(stopped[1])
    assert (tmp_path / f"experiments/tiny/training_states/{iteration}.state").is_file()

    done = basicsr("train", "-opt", file, "--auto_resume", "--force_yml", f"train:total_iter={iteration + 1}")
    assert done.returncode == 0, done.stderr
    assert f"iter: {iteration}." in logs(tmp_path / "experiments/tiny")


def test_a_broken_image_is_named_or_passed_over(basicsr, options, write_options, tmp_path):
    train = options["datasets"]["train"]
    for which in ("gt", "lq"):
        folder = tmp_path / which
        folder.mkdir()
        for n in range(4):
            side = 64 if which == "gt" else 16
            cv2.imwrite(
                str(folder / f"im{n}.png"), np.random.default_rng(n).integers(0, 256, (side, side, 3), np.uint8)
            )
        train[f"dataroot_{which}"] = which
    torn = tmp_path / "gt/im1.png"
    torn.write_bytes(torn.read_bytes()[:500])
    train["io_backend"] = {"type": "disk"}
    del options["val"], options["datasets"]["val"]

    # BasicSR's own prefetching would wait for the next item forever
    for changes in ({"num_worker_per_gpu": 1}, {"prefetch_mode": "cpu", "num_prefetch_queue": 1}):
        train.update(changes)
        done = basicsr("train", "-opt", write_options(options))
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert done.stderr.splitlines()[-1].startswith("basicsr: gt/im1.png: is damaged")

    train["skip_broken"] = True
    done = basicsr("train", "-opt", write_options(options))
    assert done.returncode == 0, done.stderr
    assert "1 of 4 items are broken, others were taken instead: gt/im1.png" in logs(tmp_path / "experiments/tiny")


def test_a_wrong_option_file_creates_nothing(tmp_path, basicsr, options, write_options):
    options["train"]["ema_decy"] = 0.9
    done = basicsr("train", "-opt", write_options(options))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "did you mean 'ema_decay'" in done.stderr
    assert not (tmp_path / "experiments").exists()
