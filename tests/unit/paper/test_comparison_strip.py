"""``basicsr paper figure strip``."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.metrics import calculate_psnr, calculate_ssim
from tiny import TINY_HAT

from hat_arch import cli
from hat_arch.compat.registration import build
from hat_arch.data.images import DataError
from hat_arch.degradations.resize import imresize
from hat_arch.paper import comparison_strip
from hat_arch.paper.evaluation_images import read_hr
from hat_arch.paper.trained_networks import NetworkError

BOX = (10, 6, 24, 20)


@pytest.fixture
def pair(image):
    """GT and LR."""
    return read_hr(image, 4)


def test_patches_are_those_of_the_whole_upscaled_image(pair, make):
    gt, lr = pair
    net = make("tiny", TINY_HAT)
    found = comparison_strip.patches(gt, lr, BOX, [net])
    x, y, w, h = BOX
    part = np.s_[y : y + h, x : x + w]
    assert [p.name for p in found] == ["LR", "bicubic", "tiny", "GT"]
    np.testing.assert_array_equal(found[-1].image, gt[part])
    np.testing.assert_array_equal(found[1].image, imresize(lr, 4)[part])
    np.testing.assert_array_equal(found[0].image, np.kron(lr, np.ones((4, 4, 1), np.uint8))[part])
    with torch.no_grad():
        sr = net.network(torch.from_numpy(lr[..., ::-1].transpose(2, 0, 1) / np.float32(255))[None])
    sr = (sr[0].clamp(0, 1) * 255).round().numpy().transpose(1, 2, 0)[..., ::-1].astype(np.uint8)
    np.testing.assert_allclose(found[2].image, sr[part].astype(int), atol=1)
    for p in found[1:3]:
        assert p.psnr == calculate_psnr(p.image, gt[part], crop_border=0, test_y_channel=True)
        assert p.ssim == calculate_ssim(p.image, gt[part], crop_border=0, test_y_channel=True)
    assert found[0].psnr is found[-1].ssim is None


def test_a_patch_too_small_for_ssim_is_refused(pair):
    with pytest.raises(DataError, match="10x20 is too small; SSIM needs 11x11"):
        comparison_strip.patches(*pair, (0, 0, 10, 20), [])


def test_the_best_is_bold(pair, make, tmp_path, monkeypatch):
    found = comparison_strip.patches(*pair, BOX, [make("a", TINY_HAT), make("b", TINY_HAT, 1)])
    drawn = []
    monkeypatch.setattr(comparison_strip, "save", lambda fig, file: drawn.append(fig))
    comparison_strip.draw_strip("picture", pair[0], BOX, found, tmp_path / "x.png")
    captions = {ax.get_xlabel().split("\n")[0]: ax.get_xlabel() for ax in drawn[0].axes}
    assert list(captions) == ["picture", "LR", "bicubic", "a", "b", "GT"]
    best = max((p for p in found if p.psnr), key=lambda p: p.psnr)
    assert [name for name, text in captions.items() if rf"\mathbf{{{best.psnr:.2f}}}" in text] == [best.name]
    assert sum(text.count("mathbf") for text in captions.values()) == 2
    assert all(f"{p.psnr:.2f}" in captions[p.name] for p in found if p.psnr)


def test_labels_are_no_formulas(pair, make, tmp_path):
    found = comparison_strip.patches(*pair, BOX, [make("$x^{$", TINY_HAT), make("日本", TINY_HAT)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        comparison_strip.draw_strip("$5_and$7{", pair[0], BOX, found, tmp_path / "x.png")
    assert cv2.imread(str(tmp_path / "x.png")) is not None


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_output_that_is_not_finite_gets_no_score(value, pair, make):
    network = make("mine", TINY_HAT)
    network.network.conv_last.bias.fill_(value)
    with pytest.raises(NetworkError, match=r"mine: .*not finite"):
        comparison_strip.patches(*pair, BOX, [network])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("not enough memory:\nyou tried"), "mine: not enough memory; take a smaller image$"),
        (ValueError("wrong"), "mine: the network fails: ValueError: wrong$"),
    ],
)
def test_a_network_that_fails_is_named(error, message, pair, make):
    def fail(*_):
        raise error

    network = make("mine", TINY_HAT)
    network.network.forward = fail
    with pytest.raises(NetworkError, match=message):
        comparison_strip.patches(*pair, BOX, [network])


@pytest.mark.parametrize("archs", [0, 4])
def test_strip_command(archs, image, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yml").write_text(yaml.safe_dump({"name": "t", "network_g": TINY_HAT}))
    weights = tmp_path / "experiments/t/models/net_g_latest.pth"
    weights.parent.mkdir(parents=True)
    torch.save({"params": build(TINY_HAT).state_dict()}, weights)
    arguments = [a for n in range(archs) for a in ("--arch", f"n{n}=tiny.yml")]
    assert cli.main(["paper", "figure", "strip", str(image), "--at", "10,6,24,20", *arguments]) == 0
    file = capsys.readouterr().out.splitlines()[-1]
    assert file == f"results/paper/{'_'.join(['strip_picture_10_6_24_20_x4', *(f'n{n}' for n in range(archs))])}.png"
    assert cv2.imread(file) is not None


def test_an_lr_image_of_ones_own(pair, make, image, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["data", "degrade", str(image), "lq.png", "--recipe", "photo", "--scale", "4"]) == 0
    gt, lq = pair[0], cv2.imread("lq.png")
    assert cli.main(["paper", "figure", "strip", str(image), "--lr", "lq.png", "--at", "10,6,24,20"]) == 0
    bicubic = comparison_strip.patches(gt, lq, BOX, [])[1]
    *_, scores, file = capsys.readouterr().out.splitlines()
    assert f"{bicubic.psnr:.2f}" in scores and file == "results/paper/strip_lq_10_6_24_20_x4.png"


def test_at_scale_1_the_input_is_in_the_place_of_bicubic(pair, make):
    gt = pair[0]
    noisy = (gt.astype(int) + np.random.default_rng(0).integers(-20, 21, gt.shape)).clip(0, 255).astype(np.uint8)
    x1 = make("x1", {**TINY_HAT, "upscale": 1, "upsampler": ""})
    found = comparison_strip.patches(gt, noisy, BOX, [x1])
    x, y, w, h = BOX
    assert [p.name for p in found] == ["input", "x1", "GT"]
    assert found[0].psnr == calculate_psnr(noisy[y : y + h, x : x + w], found[2].image, 0, test_y_channel=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["strip", "IMAGE", "--at", "0,0,20,20", "--scale", "1"], "--scale 1: needs --lr"),
        (
            ["strip", "IMAGE", "--at", "0,0,20,20", "--lr", "IMAGE"],
            "IMAGE: 49x41 pixels; at scale 4, IMAGE has LR of 12x10",
        ),
        (["strip", "IMAGE", "--at", "40,0,20,20"], "--at: 20x20 pixels at 40,0 do not lie inside"),
        (["strip", "none.png", "--at", "0,0,20,20"], "none.png: No such file"),
        (["strip", "IMAGE", "--at", "0,0,20,20", "--arch", "HAT"], "--arch HAT: no weights"),
        (["tradeoff", "--dataset", "Set6"], "--dataset Set6: unknown; the papers have Set5, Set14"),
        (["strip", "IMAGE", "--at", "0,0,20,20", "--out", "IMAGE"], "--out IMAGE: is the image that is read"),
        (
            ["strip", "IMAGE", "--at", "0,0,20,20", "--out", "IMAGE/x.png"],
            "--out IMAGE/x.png: cannot be written",
        ),
    ],
)
def test_mistakes_get_a_line(arguments, message, image, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = [a.replace("IMAGE", str(image)) for a in arguments]
    assert cli.main(["paper", "figure", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.replace(str(image), "IMAGE").startswith(f"basicsr: {message}")
    assert error.count("\n") == 1
    assert [*tmp_path.iterdir()] == [image]


def test_malformed_coordinates_are_named(image, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["paper", "figure", "strip", str(image), "--at", "1,2,x,4"])
    assert stopped.value.code == 2
    assert "--at: 1,2,x,4: must be X,Y,W,H in pixels" in capsys.readouterr().err
