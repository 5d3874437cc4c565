"""``basicsr paper table``: what it measures, what it says of what is missing or broken, and that it goes on."""

from __future__ import annotations

import csv
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils import bgr2ycbcr, tensor2img
from basicsr.utils.registry import ARCH_REGISTRY
from filelock import FileLock

from hat_arch import HAT, calculate_psnrb
from hat_arch.cli import main
from hat_arch.compat.registration import build
from hat_arch.degradations.resize import imresize
from hat_arch.paper import evaluation
from hat_arch.paper.networks import network_options
from hat_arch.paper.tables import TABLES
from hat_arch.weights import named

SIZES = {"baby": (41, 50), "bird": (37, 44), "butterfly": (40, 36), "head": (36, 40), "woman": (50, 38)}
GREY = "head"
PLUGIN = """
import os, pathlib, time, torch
from basicsr.utils.registry import ARCH_REGISTRY

@ARCH_REGISTRY.register()
class Repeat(torch.nn.Module):
    def __init__(self, upscale, offset=0.0):
        super().__init__()
        self.upscale, self.offset = upscale, torch.nn.Parameter(torch.tensor(offset))

    def forward(self, x):
        with pathlib.Path("calls.txt").open("a") as calls:
            calls.write("1")
        time.sleep(float(os.environ.get("SECONDS_EACH", 0)))
        assert x.shape[-1] != int(os.environ.get("FAIL_AT_WIDTH", 0)), "a shape\\nthat it does not like"
        return x.repeat_interleave(self.upscale, -1).repeat_interleave(self.upscale, -2) + self.offset
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a Set5 of small images (one is grey), a plugin, its weights, its option file, and no models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ARCH_REGISTRY, "_obj_map", dict(ARCH_REGISTRY._obj_map))  # a plugin of its own each time
    monkeypatch.setattr(named, "INSIDE", tmp_path)
    monkeypatch.setattr(named, "IN_CLONE", tmp_path)
    folder = tmp_path / "datasets/Set5/HR"
    folder.mkdir(parents=True)
    for n, (name, (height, width)) in enumerate(SIZES.items()):
        rough = np.random.default_rng(n).integers(0, 256, (6, 6) if name == GREY else (6, 6, 3), np.uint8)
        smooth = cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{name}.png"), smooth)
    (tmp_path / "repeat_net.py").write_text(PLUGIN)
    torch.save({"params_ema": {"offset": torch.tensor(0.01)}}, tmp_path / "repeat.pth")
    options = {"name": "repeat", "scale": 4, "network_g": {"type": "Repeat", "upscale": 4}}
    (tmp_path / "repeat.yml").write_text(yaml.safe_dump({**options, "path": {"pretrain_network_g": "repeat.pth"}}))
    return tmp_path


REPEAT = "basicsr: mend or replace what is named, and repeat; what was measured is kept"
OWN = ("--plugin", "repeat_net.py", "--network", "mine=repeat.yml")


@pytest.fixture
def table(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command; exit code, output, errors (without the progress bar's)."""

    def run(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["paper", "table", *map(str, args)])
        out, err = capsys.readouterr()
        return code, out, "\n".join(line for line in err.splitlines() if line.startswith("basicsr:"))

    return run


def cells(name: str = "main") -> dict[tuple[int, str, str, str], float]:
    with Path(f"results/paper/{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {(int(r["scale"]), r["row"], r["set"], r["metric"]): float(r["ours"]) for r in rows if r["ours"]}


def images() -> dict[str, Path]:
    return {path.stem: path for path in Path("datasets/Set5/HR").iterdir()}


def expected(scale: int, enlarge: Callable[[np.ndarray], np.ndarray]) -> dict[str, float]:
    """PSNR and SSIM by BasicSR's functions on what BasicSR reads: grey images as three equal channels."""
    scores = []
    for path in images().values():
        gt = cv2.imread(str(path), cv2.IMREAD_COLOR)
        height, width = (side // scale * scale for side in gt.shape[:2])
        gt = gt[:height, :width]
        lr = imresize(np.ascontiguousarray(gt), 1 / scale, convention="uint8")
        sr, how = enlarge(lr), {"crop_border": scale, "test_y_channel": True}
        scores.append((calculate_psnr(sr, gt, **how), calculate_ssim(sr, gt, **how)))
    return dict(zip(("psnr", "ssim"), np.mean(scores, axis=0)))


def test_bicubic_equals_basicsrs_metrics_at_every_scale(table: Any) -> None:
    code, out, err = table("main")
    assert (code, err) == (0, "")
    found = cells()
    assert {key[:3] for key in found} == {(scale, "Bicubic", "Set5") for scale in (2, 3, 4)}
    for scale in (2, 3, 4):
        for metric, value in expected(scale, lambda lr, scale=scale: imresize(lr, scale)).items():
            assert found[scale, "Bicubic", "Set5", metric] == pytest.approx(value, abs=1e-6)
    assert "33.04 / 0.9056" in out and "datasets/urban100: no such folder" in out
    with Path("results/paper/main_images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["image"] for row in rows if row["scale"] == "3") == sorted(SIZES)


def test_without_images_there_is_the_papers_side(table: Any, place: Path) -> None:
    (place / "datasets").rename(place / "elsewhere")
    code, out, err = table("window")
    assert (code, err) == (0, "") and "32.97 / 0.9049" in out and "ours" not in out
    assert "Set5 ×4: datasets/Set5: no such folder" in Path("results/paper/window.md").read_text()
    assert "ablation_HAT_window_8_no_cab_no_ocab_SRx4/models/net_g_latest.pth" in out


def test_released_weights_fill_their_row(table: Any) -> None:
    torch.manual_seed(0)
    net = build(network_options("HAT-S", 4)).eval()
    weights = Path("experiments/pretrained_models/HAT-S_SRx4.pth")
    _, out, _ = table("main", "--scale", 4, "--only", "HAT-S", "Set5")
    [line] = [line for line in out.splitlines() if "HAT-S ×4: weights " in line]
    assert str(weights) in line and line.endswith("; to have them: basicsr models get HAT-S_SRx4")
    weights.parent.mkdir(parents=True)
    torch.save({"params_ema": net.state_dict()}, weights)
    code, out, _ = table("main", "--scale", 4, "--only", "HAT-S", "Set5")
    assert code == 0 and "HAT ×4" not in out

    @torch.no_grad()
    def enlarge(lr: np.ndarray) -> np.ndarray:
        rgb = torch.from_numpy(lr[..., ::-1].copy()).permute(2, 0, 1)[None] / 255
        return tensor2img(net(rgb))

    found = cells()
    for metric, value in expected(4, enlarge).items():
        assert found[4, "HAT-S", "Set5", metric] == pytest.approx(value, abs=2e-3)
    line = next(line for line in out.splitlines() if "difference" in line)
    assert (
        f"{found[4, 'HAT-S', 'Set5', 'psnr'] - 32.92:+.2f} / {found[4, 'HAT-S', 'Set5', 'ssim'] - 0.9047:+.4f}" in line
    )

    weights.write_bytes(weights.read_bytes()[:1000])
    code, out, err = table("main", "--scale", 4, "--only", "HAT-S", "Set5")
    assert code == 1 and err.splitlines()[1:] == [REPEAT] and f"{weights}: is cut off" in err
    assert not cells()


def test_a_plugin_network_is_measured_like_any_other(table: Any) -> None:
    code, out, err = table("main", "--scale", 4, *OWN)
    assert (code, err) == (0, "") and "mine" in out

    def enlarge(lr: np.ndarray) -> np.ndarray:  # 0.01 of 255 is 2.55, rounded to 3
        return np.minimum(lr.repeat(4, 0).repeat(4, 1).astype(int) + 3, 255).astype(np.uint8)

    for metric, value in expected(4, enlarge).items():
        assert cells()[4, "mine", "Set5", metric] == pytest.approx(value, abs=1e-6)
    assert cells()[4, "mine", "Set5", "psnr"] != cells()[4, "Bicubic", "Set5", "psnr"]


def test_the_model_in_the_package_has_its_row_by_the_path_of_all(place, table, model_inside):
    assert table("main", "--scale", 4, "--only", "HAT-light", "mine", "--network", "mine=hat-light-x4")[0] == 0
    found = cells()
    assert {row for _, row, _, _ in found} == {"HAT-light", "mine"}
    assert found[4, "HAT-light", "Set5", "psnr"] == found[4, "mine", "Set5", "psnr"] > 20
    lines = [line for line in Path("results/paper/main.md").read_text().splitlines() if "HAT-light" in line]
    assert lines and not any("paper" in line for line in lines[:1])
    _, _, err = table("main", "--network", "mine=hat-light-x5")
    assert "hat-light-x5" in err and "basicsr models" in err


def test_weights_of_a_hat_tell_their_network_and_scale(table: Any) -> None:
    net = HAT(upscale=3, window_size=4, img_size=64, depths=[1], embed_dim=12, num_heads=[2], squeeze_factor=4)
    torch.save({"params": net.state_dict()}, "tiny.pth")
    assert table("main", "--network", "tiny=tiny.pth")[0] == 0
    assert {key[:2] for key in cells()} == {(2, "Bicubic"), (3, "Bicubic"), (3, "tiny"), (4, "Bicubic")}


def test_what_was_measured_is_not_measured_again_until_something_changes(table: Any) -> None:
    calls = Path("calls.txt")
    command = ("main", "--scale", 4, *OWN)
    assert table(*command)[0] == 0
    before = Path("results/paper/main.csv").read_text()
    assert calls.read_text() == "1" * 5
    assert table(*command)[0] == 0 and calls.read_text() == "1" * 5
    assert Path("results/paper/main.csv").read_text() == before

    image = images()["bird"]
    cv2.imwrite(str(image), cv2.imread(str(image)) // 2)
    assert table(*command)[0] == 0 and len(calls.read_text()) == 6
    torch.save({"params_ema": {"offset": torch.tensor(0.02)}}, "repeat.pth")
    assert table(*command)[0] == 0 and len(calls.read_text()) == 11
    assert table(*command, "--tile", 8)[0] == 0 and len(calls.read_text()) > 16
    assert Path("results/paper/main.csv").read_text() != before


SCORES = ("{}", "[1, 2]", '{"psnr": 30.0}', '{"psnr": null, "ssim": 1}', '{"psnr": "x", "ssim": 1}', '{"psnr"')


def test_scores_that_are_none_are_measured_again(table: Any) -> None:
    command = ("main", "--scale", 4, *OWN)
    table(*command)
    before = Path("results/paper/main.csv").read_text()
    for n, scores in enumerate(SCORES):
        damaged = next(path for path in Path("results/paper/cache").glob("*.json") if '"mine"' in path.read_text())
        damaged.write_text(f'{{"row": "mine", "scores": {scores}')
        if scores.endswith(("}", "]")):
            damaged.write_text(damaged.read_text() + "}")
        assert table(*command)[0] == 0 and len(Path("calls.txt").read_text()) == 6 + n
        assert Path("results/paper/main.csv").read_text() == before


def test_two_at_once_do_not_meet(table: Any) -> None:
    Path("results/paper/cache").mkdir(parents=True)
    with FileLock("results/paper/cache/lock"):
        code, _, err = table("main", "--scale", 4)
    assert code == 2 and "another basicsr paper table is at work there; wait for it, or name another --out" in err
    assert table("main", "--scale", 4)[0] == 0


def test_a_network_is_known_by_the_code_of_all_its_parts(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(place)
    (place / "part_of_it.py").write_text("import torch\nclass Part(torch.nn.Conv2d):\n    pass\n")
    (place / "whole_of_it.py").write_text("import part_of_it\ndef make():\n    return part_of_it.Part(1, 1, 1)\n")
    network = torch.nn.Sequential(importlib.import_module("whole_of_it").make())
    found = [evaluation._sources(network, plugins) for plugins in ([], ["whole_of_it"], ["whole_of_it.py"])]
    assert [len(sources) for sources in found] == [1, 2, 2] and found[1] == found[2]
    (place / "part_of_it.py").write_text("changed")
    assert len(set(evaluation._sources(network, ["whole_of_it"])) & set(found[1])) == 1


def test_a_network_without_a_scale_has_that_of_its_option_file(table: Any, place: Path) -> None:
    (place / "fixed_net.py").write_text(PLUGIN.replace("Repeat", "Fixed").replace("self, upscale,", "self, up=4,")
                                        .replace("= upscale,", "= up,"))  # fmt: skip
    options = {
        "name": "fixed",
        "scale": 4,
        "network_g": {"type": "Fixed"},
        "path": {"pretrain_network_g": "repeat.pth"},
    }
    (place / "fixed.yml").write_text(yaml.safe_dump(options))
    own = ("--plugin", "fixed_net.py", "--network", "fixed=fixed.yml")
    assert table("main", "--scale", 4, *OWN, *own)[0] == 0
    assert cells()[4, "fixed", "Set5", "psnr"] == cells()[4, "mine", "Set5", "psnr"]


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_what_was_stopped_goes_on(table: Any, place: Path, sign: int) -> None:
    command = [sys.executable, "-m", "hat_arch", "paper", "table", "main", "--scale", "4", *OWN]
    environment = {**os.environ, "SECONDS_EACH": "0.7", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True)
    calls, deadline = place / "calls.txt", time.monotonic() + 120
    while not calls.exists() or len(calls.read_text()) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(sign)
    err = process.communicate(timeout=60)[1]
    assert process.returncode == (-sign if sign == signal.SIGKILL else 130)
    assert sign == signal.SIGKILL or err.splitlines()[-1] == "basicsr: stopped; the same command goes on from there"
    assert not (place / "results/paper/main.csv").exists()
    for file in (place / "results/paper/cache").glob("*.json"):
        json.loads(file.read_text())

    assert table("main", "--scale", 4, *OWN)[0] == 0
    assert len(calls.read_text()) == 6  # the third image was begun twice
    stopped = (place / "results/paper/main.csv").read_text()
    assert table("main", "--scale", 4, *OWN, "--out", "anew")[0] == 0
    assert (place / "anew/main.csv").read_text() == stopped


def broken(kind: str) -> str:
    """Breaks the data; what the message must say."""
    image = images()["bird"]
    lr = Path("datasets/Set5/LRbicx4")
    if kind == "cut off":
        image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
        return f"Set5/bird ×4: {image}: is damaged"
    if kind == "16 bits":
        cv2.imwrite(str(image), cv2.imread(str(image)).astype(np.uint16))
        return f"Set5/bird ×4: {image}: has more than 8 bits a channel"
    if kind == "too few":
        image.unlink()
        return "datasets/Set5/HR: has 4 images; Set5 has 5"
    if kind == "too small":
        cv2.imwrite(str(image), np.zeros((12, 40, 3), np.uint8))
        return "Set5/bird ×4: 12x40 pixels are too few; PSNR and SSIM need 19x19"
    lr.mkdir()
    for name, path in images().items():
        height, width = (side // 4 for side in cv2.imread(str(path)).shape[:2])
        cv2.imwrite(str(lr / f"{name}.png"), np.zeros((height, width + (kind == "size" and name == "bird")), np.uint8))
    if kind == "size":
        return f"{lr}/bird.png: is 9x12, and {image} needs 9x11 at x4; make it again with: basicsr data downsample"
    (lr / "bird.png").unlink()
    return "datasets/Set5/HR/bird: has no partner in datasets/Set5/LRbicx4"


@pytest.mark.parametrize("kind", ["cut off", "16 bits", "too few", "too small", "size", "partner"])
def test_images_that_cannot_be_used_are_named_and_their_cell_is_empty(table: Any, kind: str) -> None:
    message = broken(kind)
    code, _, err = table("main", "--scale", 4, *OWN)
    assert code == 1 and message in err and err.splitlines()[1:] == [REPEAT]
    assert not cells() and message.split(":")[0] in Path("results/paper/main.html").read_text()


def test_a_network_that_fails_is_named_and_the_rest_goes_on(table: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL_AT_WIDTH", "11")
    code, _, err = table("main", "--scale", 4, *OWN)
    assert code == 1 and err.splitlines()[1:] == [REPEAT]
    assert "mine ×4 Set5/bird: the network fails: AssertionError: a shape that it does not like" in err
    assert {key[1] for key in cells()} == {"Bicubic"}
    torch.save({"params_ema": {"offset": torch.tensor(float("nan"))}}, "repeat.pth")
    assert "not finite" in table("main", "--scale", 4, *OWN)[2]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["mian"], "paper table mian: unknown; there are main, window"),
        (["window", "--scale", "2"], "--scale 2: table window has 4"),
        (["main", "--only", "HATT"], "--only HATT: neither row nor set; there are Bicubic, EDSR"),
        (["main", "--data", "nowhere"], "nowhere: no such folder"),
        (["main", "--weights", "nowhere"], "nowhere: no such folder"),
        (["main", "--network", "repeat.yml"], "--network repeat.yml: must be LABEL=FILE"),
        (["main", "--network", "a=none.pth"], "--network a=none.pth: none.pth: no such file"),
        (
            ["main", "--network", "a=repeat.pth"],
            "holds no HAT: it has no conv_first.weight; another network needs its option file",
        ),
        (["main", *OWN, "--scale", "2"], "--network mine: enlarges by 4; the scales are [2]"),
        (["main", *OWN[:2], "--network", "HAT=repeat.yml"], "--network HAT: there is a row of that name"),
        (["main", "--out", "repeat.yml"], "repeat.yml"),
    ],
)
def test_mistakes_are_one_line(table: Any, args: list[str], message: str) -> None:
    code, _, err = table(*args)
    assert code == 2 and message in err and len(err.splitlines()) == 1


def test_realworld_measures_what_there_is(table: Any, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    for part, side in (("GT", 400), ("LRx4", 100)):
        folder = place / "datasets/RealSR-Canon" / part
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "a.png"), np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8))
    code, out, _ = table("realworld", "--data", "datasets")
    assert code == 0 and "LPIPS needs pyiqa: pip install 'hat-arch[paper]'" in out
    assert {key[3] for key in cells("realworld")} == {"psnr", "niqe"}
    assert "datasets/AIM2019-val: no such folder" in out and "26.68 / 0.342" in out


@pytest.fixture
def degraded(place: Path) -> dict[str, np.ndarray]:
    """The images of a Classic5, one of them grey, and of a McMaster, with names."""
    images = {}
    for n in range(5):
        shape = (40, 35 + n) if n == 2 else (40, 35 + n, 3)
        images[f"{n}"] = cv2.GaussianBlur(np.random.default_rng(n).integers(0, 256, shape, np.uint8), (0, 0), 2)
    for set_name, count in (("Classic5", 5), ("McMaster", 18)):
        folder = place / "datasets" / set_name / "HR"
        folder.mkdir(parents=True)
        for n in range(count):
            cv2.imwrite(str(folder / f"{n}.png"), images[str(n % 5)])
    return images


def test_jpeg_is_measured_on_grey_images_by_all_metrics(table: Any, degraded: dict[str, np.ndarray]) -> None:
    weights = Path("experiments/train_HAT_jpeg_gray_q20/models/net_g_latest.pth")
    weights.parent.mkdir(parents=True)
    torch.manual_seed(0)
    options = {**TABLES["jpeg"].rows[-1].options(1), "depths": [1], "num_heads": [4]}
    tiny = HAT(**{key: value for key, value in options.items() if key != "type"}).eval()
    torch.save({"params_ema": tiny.state_dict()}, "mine.pth")
    code, out, err = table("jpeg", "--scale", 10, 20, "--network", "mine=mine.pth")
    assert (code, err) == (0, "") and "30.27 / 0.8249 / 29.95" in out and str(weights) in out
    found = cells("jpeg")
    assert {key[:3] for key in found} == {(q, row, "Classic5") for q in (10, 20) for row in ("Input", "mine")}
    for quality in (10, 20):
        scores: dict[str, list[dict[str, float]]] = {"Input": [], "mine": []}
        for image in degraded.values():
            gt = image if image.ndim == 2 else bgr2ycbcr(image, y_only=True)
            file = cv2.imencode(".jpg", gt, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            lq = cv2.imdecode(file, cv2.IMREAD_GRAYSCALE)
            with torch.no_grad():
                sr = tiny(torch.from_numpy(lq / np.float32(255)).expand(1, 3, -1, -1)).mean(1)[0].numpy()
            for row, made in (("Input", lq), ("mine", (sr.clip(0, 1) * 255).round().astype(np.uint8))):
                values = [f(made, gt, crop_border=0) for f in (calculate_psnr, calculate_ssim, calculate_psnrb)]
                scores[row].append(dict(zip(("psnr", "ssim", "psnrb"), values)))
        for row, each in scores.items():
            for metric in ("psnr", "ssim", "psnrb"):
                mean = np.mean([one[metric] for one in each])
                assert found[quality, row, "Classic5", metric] == pytest.approx(mean, abs=2e-3), (row, metric)


def test_denoising_is_measured_on_all_colours_of_noise_that_does_not_change(table: Any, degraded: Any) -> None:
    code, out, err = table("color_denoise", "--scale", 25)
    assert (code, err) == (0, "") and "33.20" in out and "HAT-light σ = 25: weights" in out
    scores = []
    for n in range(18):
        gt = degraded[str(n % 5)]
        gt = cv2.cvtColor(gt, cv2.COLOR_GRAY2BGR) if gt.ndim == 2 else gt
        np.random.seed(0)
        noisy = gt[..., ::-1] / np.float32(255) + np.random.normal(0, 25 / 255, gt.shape)
        scores.append(calculate_psnr((noisy.clip(0, 1) * 255).round()[..., ::-1], gt, crop_border=0))
    assert cells("color_denoise") == {(25, "Input", "McMaster", "psnr_rgb"): pytest.approx(np.mean(scores), abs=1e-3)}


def test_a_network_for_grey_images_or_of_another_scale_is_refused_by_name(table: Any, degraded: Any) -> None:
    tiny = {"depths": [1], "num_heads": [2], "embed_dim": 12, "squeeze_factor": 4, "window_size": 4}
    torch.save({"params": HAT(**tiny, upscale=1, upsampler="", in_chans=1).state_dict()}, "grey.pth")
    torch.save({"params": HAT(**tiny, upscale=4).state_dict()}, "four.pth")
    code, _, err = table("color_denoise", "--scale", 25, "--network", "mine=grey.pth")
    assert code == 1 and "mine σ = 25 McMaster/0" in err and len(err.splitlines()) == 2
    code, _, err = table("jpeg", "--network", "mine=four.pth")
    assert code == 2 and "--network mine: enlarges by 4; table jpeg takes x1" in err


def test_the_bicubic_row_of_every_table_exists(table: Any) -> None:
    for name, one in TABLES.items():
        assert table(name, "--only", one.baseline)[0] == 0
        assert bool(cells(name)) == (name != "realworld" and not one.recipe)
    assert table("ocab", "--only", "Bicubic")[0] == 0 and evaluation.BASELINE_COST > 0
