"""Suites ``scaling`` and ``tile``."""

from __future__ import annotations

import itertools
import json
import math

import cv2
import numpy as np
import pytest
import torch

from hat_arch.archs.hat_arch import HAT
from hat_arch.bench import measure, scaling, tile
from hat_arch.data.images import DataError

pytestmark = pytest.mark.usefixtures("here")


@pytest.fixture
def photographs(tmp_path):
    """Two images of 70×90, one in colour, one grey."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("a", (70, 90, 3)), ("b", (70, 90))):
        image = cv2.GaussianBlur(rng.integers(0, 256, shape, np.uint8), (0, 0), 2)
        cv2.imwrite(str(folder / f"{name}.png"), cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX))
    return folder


# scaling


def test_sizes_double():
    shapes = scaling.sizes(0.0625, 4)
    assert shapes[:3] == [(256, 256), (256, 512), (512, 512)] and shapes[-1] == (2048, 2048)
    pixels = [math.prod(shape) for shape in shapes]
    assert all(b == 2 * a for a, b in itertools.pairwise(pixels))
    assert scaling.sizes(0.0625, 0.25)[-1] == (512, 512)


@pytest.mark.parametrize("power", [1, 1.5])
def test_slope_is_the_power(power):
    points = [{"size": [side, 2 * side], "seconds": {"median": 3e-6 * (2 * side**2) ** power}} for side in (16, 32, 64)]
    assert scaling.slope(points) == pytest.approx(power)


def test_memory_growth_leaves_out_the_output():
    points = [{"extra_mib": 50 + output, "output_mib": output} for output in (3, 12, 48)]
    assert scaling.memory_growth(points) == 1
    points[-1]["extra_mib"] += 50
    assert scaling.memory_growth(points) == 2
    assert scaling.memory_growth([{"extra_mib": None, "output_mib": 3}]) is None
    assert scaling.memory_growth([{"extra_mib": 2, "output_mib": 3}, {"extra_mib": 9, "output_mib": 3}]) is None


@pytest.mark.parametrize("memory", [True, False])
def test_scaling_by_the_command(memory, tmp_path, tiny, run_cli, capsys):
    if memory and not measure.STATUS.exists():
        pytest.skip("memory on a CPU is measured on Linux only")
    words = ["--min_megapixels", "0.0009765625", "--max_megapixels", "0.00390625", "--tile", "16", "--overlap", "8"]
    words += ["--runs", "2", "--groups", "1", "--device", "cpu"] + ([] if memory else ["--no_memory"])
    assert run_cli("scaling", *words, "--out", str(tmp_path / "s.json")) == 0
    result = json.loads((tmp_path / "s.json").read_text())
    assert [point["size"] for point in result["points"]] == [[32, 32], [32, 64], [64, 64]]
    assert all(len(point["seconds"]["runs"]) == 2 for point in result["points"])
    assert result["points"][-1]["output_mib"] == 4 * 3 * 128 * 128 / 2**20
    assert result["slope"] == pytest.approx(scaling.slope(result["points"]))
    assert all((point["extra_mib"] is not None) == memory for point in result["points"])
    printed = capsys.readouterr().out
    assert "64×64" in printed and f"{result['slope']:.3f}" in printed and result["command"] in printed
    assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--max_megapixels", "0.1"], "--max_megapixels 0.1: must be at least 0.125"),
        (["--tile", "0"], "--tile 0"),
        (["--tile", "32", "--overlap", "32"], "--overlap 32: must be 0 to 31"),
        (["--groups", "0"], "--groups 0"),
        (["--runs", "-1"], "--runs -1"),
    ],
)
def test_scaling_refuses(words, named, tmp_path, run_cli, capsys):
    assert run_cli("scaling", *words, "--out", str(tmp_path / "s.json")) == 2
    assert capsys.readouterr().err.startswith(named)


# tile


def test_worst_step_sees_a_border_wherever_it_is():
    torch.manual_seed(0)
    whole = torch.rand(1, 3, 40, 60)
    assert tile.worst_step(whole, whole) == 1
    for dim, position in ((-2, 7), (-1, 33)):
        tiled = whole.clone()
        tiled.narrow(dim, position, tiled.shape[dim] - position).add_(0.5)  # one step; the mean of others is 1/3
        assert tile.worst_step(tiled, whole) == pytest.approx(1.6, abs=0.2)
    flat = torch.zeros(1, 3, 8, 8)
    assert tile.worst_step(flat, flat) == 1


def test_tile_by_the_command(tmp_path, tiny, photographs, run_cli, capsys):
    words = ["--images", str(photographs), "--gt_size", "64", "--tile", "16", "24", "--overlap", "0", "8"]
    assert run_cli("tile", *words, "--device", "cpu", "--out", str(tmp_path / "t.json")) == 0
    result = json.loads((tmp_path / "t.json").read_text())
    assert result["inputs"] == {"a.png": [32, 32], "b.png": [32, 32]}
    assert [(case["tile"], case["overlap"]) for case in result["cases"]] == [(16, 0), (16, 8), (24, 0), (24, 8)]
    for case in result["cases"]:
        mse = [image["mse_to_whole"] for image in case["images"].values()]
        assert case["psnr_to_whole"] == pytest.approx(-10 * math.log10(sum(mse) / 2))
        assert case["worst_step"] == max(image["worst_step"] for image in case["images"].values()) >= 1
    out, err = capsys.readouterr()
    assert tile.RANDOM in out and tile.RANDOM in err
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG")


def test_tile_with_weights(tiny, photographs, monkeypatch, tmp_path):
    """A tile as large as the image changes nothing; with weights the report has PSNR-Y."""
    torch.manual_seed(0)
    monkeypatch.setattr(tile, "load_network", lambda path: HAT(**tiny))
    settings = tile.TileSettings(tmp_path / "w.pth", images=photographs, gt_size=64, tiles=(16, 32), overlaps=(0,))
    result = tile.run(settings)
    small, large = result["cases"]
    assert large["psnr_to_whole"] is None and large["worst_step"] == 1 and large["psnr_y_loss"] == 0
    assert small["psnr_to_whole"] < 100 and small["psnr_y_loss"] != 0
    whole = result["whole_psnr_y"]["a.png"] - result["cases"][0]["images"]["a.png"]["psnr_y"]
    other = result["whole_psnr_y"]["b.png"] - result["cases"][0]["images"]["b.png"]["psnr_y"]
    assert small["psnr_y_loss"] == pytest.approx((whole + other) / 2)
    printed = tile.report(result)
    assert "equal" in printed and "PSNR-Y" in printed and tile.RANDOM not in printed
    assert tile.default_path(result).name == "tile_w_fp32_cpu.json"
    tile.draw(result)


def test_whole_is_the_network_on_matlab_bicubic(tiny, photographs, monkeypatch):
    """PSNR-Y of the whole image is BasicSR's, on the colours in its order."""
    from basicsr.metrics import calculate_psnr
    from basicsr.utils.matlab_functions import imresize

    class Nearest(HAT):
        def forward(self, x):
            return x.repeat_interleave(2, -1).repeat_interleave(2, -2)

    monkeypatch.setattr(tile, "HAT", Nearest)
    settings = tile.TileSettings(images=photographs, gt_size=64, tiles=(16,), overlaps=(0,))
    result = tile.run(settings, tiny)
    assert result["cases"][0]["psnr_to_whole"] is None
    gt = cv2.imread(str(photographs / "a.png"))[3:67, 13:77]
    lq = (imresize(gt.astype(np.float32) / 255, 0.5) * 255).round().clip(0, 255).astype(np.uint8)
    enlarged = lq.repeat(2, 0).repeat(2, 1)
    expected = calculate_psnr(enlarged, gt, crop_border=2, test_y_channel=True)
    assert result["whole_psnr_y"]["a.png"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--overlap", "64"], "--overlap: must be 0 to 63"),
        (["--tile", "0"], "--tile 0"),
        (["--gt_size", "0"], "--gt_size 0"),
        (["--tile", "512"], "--tile 512: no input is larger"),
    ],
)
def test_tile_refuses(words, named, tmp_path, tiny, run_cli, capsys):
    assert run_cli("tile", *words, "--device", "cpu", "--out", str(tmp_path / "t.json")) == 2
    assert named in capsys.readouterr().err


def test_tile_names_a_damaged_image(tmp_path, tiny, photographs, run_cli):
    whole = (photographs / "b.png").read_bytes()
    (photographs / "b.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"b\.png: is damaged"):
        run_cli("tile", "--images", str(photographs), "--out", str(tmp_path / "t.json"))
