"""Every script of experiments/benchmarks on something small, and ``basicsr bench``."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys

import common
import pytest
import scaling
import tiles
import torch
from tiny import ROOT, TINY_HAT

from hat_arch import cli
from hat_arch.archs.presets import PRESETS
from hat_arch.cli import bench
from hat_arch.utils.errors import UserError

FOLDER = ROOT / "experiments/benchmarks"
SMALL = ["--network", "HAT-S", "--groups", "1"]
ENGINES = ["--size", "16", "--rounds", "1", "--candidates", "torch", "openvino"]


def script(*words: object) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(FOLDER / str(words[0])), *map(str, words[1:])]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(
    ("name", "words", "file", "printed"),
    [
        ("inference.py", [*SMALL, "--size", "16", "--rounds", "1"], "cpu_HAT-S_16_fp32", "16×16"),
        ("engines.py", [*SMALL, *ENGINES], "engines_cpu_HAT-S_16x16_fp32", "spandrel torch"),
        ("windows.py", ["--window", "4", "--side", "8", "--rounds", "1"], "windows_cpu_4_fp32", "plain formula"),
        ("training.py", [*SMALL, "--patch", "16", "--rounds", "1", "--case", "fp32"], "train_HAT-S_1x16_cpu", "fp32"),
        ("scaling.py", [*SMALL, "--min_meg", ".0005", "--max_meg", ".001"], "scaling_HAT-S_fp32_cpu", "slope"),
        ("tiles.py", ["--gt_size", "160", "--tile", "32", "--overlap", "16"], "tile_random_fp32_cpu", "random weights"),
        ("data_loading.py", ["--rounds", "1", "--samples", "1", "--iteration", "1e-6"], "data_cpu", "too slow"),
        ("degradation.py", ["--rounds", "1", "--samples", "2", "--batch", "2"], "degradation_2x400_cpu", "sharpening"),
        ("resize.py", ["--size", "48x60", "--rounds", "2"], "resize_48x60_cpu", "uint8, 1/4"),
    ],
)  # fmt: skip
def test_a_script_prints_and_writes_its_result(name, words, file, printed, tmp_path):
    done = script(name, *words, "--device", "cpu", "--threads", "1", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout and f"{file}.json" in done.stdout
    result = json.loads((tmp_path / f"{file}.json").read_text())
    assert {"python", "torch", "hat_arch"} <= set(result["environment"]["versions"])
    assert result["environment"]["threads"] == 1 and name in result["command"]
    pictures = [f"{file}.png"] if name in ("scaling.py", "tiles.py") else []
    pictures += ["engines_cpu.md"] if name == "engines.py" else []
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([f"{file}.json", *pictures])
    module = importlib.import_module(name.removesuffix(".py"))
    assert done.stdout.startswith(module.report(result)), "what is read back is what was measured"


@pytest.mark.parametrize(
    ("name", "pattern", "picture"),
    [
        ("inference", "cpu_*", False),
        ("training", "train_*", False),
        ("scaling", "scaling_*", True),
        ("tiles", "tile_*", True),
        ("data_loading", "data_*", False),
        ("resize", "resize_*", False),
    ],
)
def test_what_was_measured_earlier_is_shown(name, pattern, picture, tmp_path, capsys):
    module = importlib.import_module(name)
    files = [shutil.copy(path, tmp_path) for path in sorted(FOLDER.glob(f"{pattern}.json"))]
    args = module.parser().parse_args(["--show", *files])
    common.run(args, module.measure, module.report, getattr(module, "draw", None))
    out = capsys.readouterr().out
    assert files and all(file in out for file in files)
    assert len(list(tmp_path.glob("*.png"))) == picture
    args.show = [tmp_path / "other.json"]
    args.show[0].write_text('{"suite": "other"}')
    with pytest.raises(SystemExit, match=r"other.json: is no result"):
        common.run(args, module.measure, module.report)
    if name == "inference":
        seconds = json.loads((FOLDER / "cpu_HAT_256_bf16.json").read_text())["seconds"]
        ratios = [peer / ours for peer, ours in zip(seconds["peer"]["runs"], seconds["prepared"]["runs"])]
        assert f" {statistics.median(ratios):.2f} " in out


def test_without_spandrel_or_with_a_wrong_option_a_script_says_so_in_a_line(tmp_path):
    (tmp_path / "spandrel.py").touch()  # takes the place of the package
    hidden = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, str(FOLDER / "inference.py"), "--out", str(tmp_path)]
    done = subprocess.run(command, env=hidden, capture_output=True, text=True, timeout=300)
    assert done.returncode and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == "inference.py: spandrel is missing: pip install spandrel"
    device = torch.device("cpu")
    for module, words, named in (
        (scaling, ["--overlap", "128"], "--overlap 128"),
        (tiles, ["--overlap", "64"], "--overlap"),
        (tiles, ["--tile", "512"], "--tile 512"),
        (tiles, ["--weights", str(tmp_path / "none.pth")], "none.pth"),
    ):
        with pytest.raises(UserError, match=named):
            next(module.measure(module.parser().parse_args(words), device))


@pytest.fixture
def small(monkeypatch):
    """A small HAT, measured in this process."""
    monkeypatch.setitem(PRESETS, "HAT", {key: value for key, value in TINY_HAT.items() if key != "type"})
    monkeypatch.setattr(bench, "measure_apart", bench.measure)
    monkeypatch.setattr("hat_arch.utils.allocator.keep", lambda: True)


@pytest.mark.parametrize("spandrel", [True, False])
def test_the_quick_look(spandrel, small, monkeypatch, capsys):
    if not spandrel:
        monkeypatch.setitem(sys.modules, "spandrel", None)
    assert cli.main(["bench", "--size", "16", "--seconds", "0.001", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    for row in ("inference, fp32", "inference, bf16", "training step, fp32", "training step, bf16"):
        assert f"\n{row}" in out
    assert ("times as fast" in out) == spandrel and ("pip install spandrel" in out) == (not spandrel)


def test_the_quick_look_has_a_process_for_each_network():
    args = argparse.Namespace(network="HAT-S", size=16, seconds=0.001, plugin=[])
    seconds, mib = bench.measure_apart(bench.OURS, bench.TASKS[0], "fp32", args, "cpu")
    assert seconds > 0 and mib > 0


POOLED = """
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from widths import WIDTH

@ARCH_REGISTRY.register()
class PooledBenchNet(torch.nn.Module):
    def __init__(self, least=8):
        super().__init__()
        self.body, self.least = torch.nn.Conv2d(3, WIDTH, 3, 1, 1), least

    def forward(self, x):
        if min(x.shape[-2:]) < self.least:
            raise ValueError("too small a picture")
        return torch.nn.functional.pixel_shuffle(self.body(x), 2)
"""


def test_the_quick_look_and_the_complexity_of_a_network_of_the_users_own(tmp_path, capsys):
    (tmp_path / "widths.py").write_text("WIDTH = 12\n")
    (tmp_path / "pooled_arch.py").write_text(POOLED)
    (tmp_path / "mine.yml").write_text("scale: 2\nnetwork_g: {type: PooledBenchNet, least: 16}\n")
    own = ["--network", str(tmp_path / "mine.yml"), "--plugin", str(tmp_path / "pooled_arch.py")]
    quick = ["bench", *own, "--seconds", "0.001", "--precision", "fp32", "--device", "cpu", "--size"]
    assert cli.main([*quick, "16"]) == 0
    out = capsys.readouterr().out
    assert "mine.yml x2, LR 16x16" in out and "spandrel" not in out.splitlines()[1]
    assert cli.main([*quick, "10"]) == cli.USER_ERROR
    line = capsys.readouterr().err.splitlines()[-1]
    assert "PooledBenchNet fails in inference at 10x10: ValueError: too small a picture" in line
    assert cli.main(["paper", "complexity", *own]) == 0
    out = capsys.readouterr().out
    assert "×2" in out and "HAT-L" not in out
    multi_adds = 64 * 64 * 12 * 27 / 1e9
    assert f"{multi_adds:.2f}" in out
    assert cli.main(["paper", "complexity", *own, "--size", "9"]) == cli.USER_ERROR
    assert "PooledBenchNet fails at 9×9: ValueError: too small" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--size", "8"], ["--seconds", "0"], ["--size", "-1"], ["--network", "HATT"]])
def test_a_wrong_option_of_the_quick_look_is_one_line(words, capsys):
    assert cli.main(["bench", *words]) == cli.USER_ERROR
    message = capsys.readouterr().err
    assert " ".join(words) in message and message.count("\n") == 1
