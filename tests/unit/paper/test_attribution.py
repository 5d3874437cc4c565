"""Local Attribution Maps: the path, the objective, gradients, indices, and ``basicsr paper attribution``."""

from __future__ import annotations

import json
import re
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.metrics import calculate_psnr, calculate_ssim
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tiny import TINY_HAT
from torch import nn

from hat_arch import cli
from hat_arch.compat.registration import build
from hat_arch.data.images import DataError
from hat_arch.paper import attribution, attribution_figure, trained_networks
from hat_arch.paper.attribution import (
    Window,
    attribute,
    blur_path,
    contribution_area,
    diffusion_index,
    gini,
    objective,
    spread,
)
from hat_arch.paper.attribution_figure import explain
from hat_arch.paper.evaluation_images import read_hr
from hat_arch.paper.published import look_up

MAPS = hnp.arrays(np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.floats(0, 1, width=16))


def picture(height: int = 16, width: int = 20, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(3, height, width, dtype=dtype, generator=torch.Generator().manual_seed(3))


def tiny(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    net = build(TINY_HAT).eval().requires_grad_(False).to(dtype)
    names = [name for name, _ in net.named_parameters()]
    for name in sorted(names, key=lambda name: (names.index(drawn_with(name)), drawn_with(name) != name)):
        p = net.get_parameter(name)
        p.add_(torch.randn_like(p), alpha=0.1)
    return net


def drawn_with(name: str) -> str:
    """The weight after which one is drawn: for the first normalization of an OCAB, the last of its projections."""
    prefix, norm, _ = name.partition(".overlap_attn.norm1.")
    return f"{prefix}.overlap_attn.proj.bias" if norm else name


def convolutions(layers: int) -> nn.Module:
    """A ×2 network whose output pixel (i, j) sees the LR pixels up to ``layers`` from (i // 2, j // 2)."""
    torch.manual_seed(1)
    convs = [nn.Conv2d(3 if i == 0 else 4, 4 if i < layers - 1 else 12, 3, 1, 1) for i in range(layers)]
    parts = [part for conv in convs for part in (conv, nn.Tanh())]
    return nn.Sequential(*parts[:-1], nn.PixelShuffle(2)).double().requires_grad_(False)


def test_settings_are_those_of_the_authors():
    printed = look_up("evaluation_protocol/lam_settings/path")
    sigma, fold, side = re.search(r"sigma=([\d.]+), fold=(\d+), l=(\d+)", printed).groups()
    assert (float(sigma), int(fold), int(side)) == (attribution.SIGMA, attribution.STEPS, attribution.KERNEL)


@pytest.mark.parametrize("steps", [1, 50])
def test_path_is_opencvs_blur(steps):
    image = picture(9, 11)
    path = blur_path(image, steps).numpy()
    r = np.arange(9) - 4
    for images, sigma in zip(path, np.linspace(1.2, 0, steps + 1)):
        kernel = np.exp(-(r[:, None] ** 2 + r**2) / (2 * (sigma + 1e-5) ** 2))
        expected = cv2.filter2D(image.permute(1, 2, 0).numpy(), -1, kernel / kernel.sum())
        np.testing.assert_allclose(images.transpose(1, 2, 0), expected, atol=1e-6)  # sigma in float32
    np.testing.assert_array_equal(path[-1], image.numpy())


def test_too_small_an_image_is_refused():
    assert blur_path(picture(5, 5)).shape == (51, 3, 5, 5)
    with pytest.raises(DataError, match="4x20 is too small"):
        blur_path(picture(4, 20))


def test_objective_is_the_sum_of_gradient_lengths():
    sr = picture(12, 14)
    image, total = sr.numpy(), 0.0
    for channel in image:
        for y in range(3, 8):
            for x in range(6, 11):
                total += np.hypot(channel[y + 1, x] - channel[y, x], channel[y, x + 1] - channel[y, x])
    assert objective(sr[None], Window(6, 3, 5)).item() == pytest.approx(total, rel=1e-12)


def test_objective_of_a_flat_part_has_a_gradient():
    sr = picture(8, 8)
    sr[:, :4] = 0.5
    sr.requires_grad_()
    (gradient,) = torch.autograd.grad(objective(sr[None], Window(0, 0, 7)).sum(), sr)
    assert gradient.isfinite().all()
    assert not gradient[:, :3].any()
    assert gradient[:, 5:].any()


def test_gradients_equal_finite_differences():
    net, lr, window = tiny(), picture(8, 12), Window(12, 8, 8)
    found = attribute(net, lr, window, steps=1).values
    difference = lr - blur_path(lr, 1)[0]
    step = 1e-5
    for c, y, x in [(0, 3, 4), (1, 2, 5), (2, 7, 11), (0, 0, 0)]:
        moved = lr.repeat(2, 1, 1, 1)
        moved[0, c, y, x] += step
        moved[1, c, y, x] -= step
        up, down = objective(net(moved), window).tolist()
        expected = (up - down) / (2 * step) * difference[c, y, x].item()
        assert found[c, y, x].item() == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_attributions_converge_to_what_the_objective_gains():
    net, lr, window = tiny(), picture(8, 8), Window(8, 8, 12)
    errors = []
    for steps in (5, 20, 80):
        found = attribute(net, lr, window, steps, batch=20)
        errors.append(abs(found.values.sum().item() - found.gain))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.02 * abs(found.gain)


def test_every_step_counts_as_in_the_authors_code():
    net, lr, window = tiny(), picture(8, 8), Window(4, 4, 8)
    path = blur_path(lr, 20)
    expected = torch.zeros_like(lr)
    for before, after in pairwise(path):
        image = after[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(objective(net(image), window).sum(), image)
        expected += gradient[0] * (after - before)
    gain = (objective(net(path[-1:]), window) - objective(net(path[:1]), window)).item()
    for batch in (1, 8, 99):
        found = attribute(net, lr, window, 20, batch)
        torch.testing.assert_close(found.values, expected, rtol=1e-9, atol=1e-12)
        assert found.gain == pytest.approx(gain)
        assert (found.map.min() >= 0, found.map.max()) == (True, 1)


def test_steps_that_change_nothing_cost_nothing():
    lr = picture(8, 8, torch.float32)
    found = attribute(tiny(torch.float32), lr, Window(4, 4, 8), 50)
    assert 40 < found.gradients < 50  # a blur of less than 0.1 pixels does not change float32


@pytest.mark.parametrize("seed", range(2))
def test_the_quick_way_is_near_every_step(seed):
    net, window = tiny(), Window(4, 4, 8)
    lr = torch.rand(3, 8, 10, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    exact = attribute(net, lr, window, batch=50)
    quick = attribute(net, lr, window, batch=50, gradients=attribution.QUICK)
    assert 10 < quick.gradients <= attribution.QUICK < exact.gradients
    assert np.abs(quick.map - exact.map).max() < 0.02
    assert quick.gain == pytest.approx(exact.gain)
    every = attribute(net, lr, window, batch=50, gradients=50)
    torch.testing.assert_close(every.values, exact.values)


@given(hnp.arrays(np.float64, st.integers(2, 60), elements=st.floats(1e-6, 1)), st.integers(2, 20))
def test_the_quick_ways_places_begin_and_end_with_the_path(lengths, count):
    found = spread(lengths.cumsum(), count)
    assert found[0] == 0 and found[-1] == len(lengths) - 1
    assert found == sorted(set(found)) and len(found) <= count


@pytest.mark.parametrize("layers", [1, 3])
def test_receptive_field_bounds_the_map(layers):
    lr, window = picture(20, 20), Window(16, 20, 4)  # with the neighbours, SR 16…20 and 20…24, LR 8…10 and 10…12
    used = attribute(convolutions(layers), lr, window, steps=4).map > 0
    rows, columns = np.flatnonzero(used.any(1)), np.flatnonzero(used.any(0))
    assert (rows[0], rows[-1]) == (10 - layers, 12 + layers)
    assert (columns[0], columns[-1]) == (8 - layers, 10 + layers)


def test_nothing_to_attribute_is_an_error():
    flat = torch.full((3, 16, 16), 0.5, dtype=torch.float64)
    with pytest.raises(DataError, match="the window is flat"):
        attribute(convolutions(1), flat, Window(8, 8, 8), steps=2)
    with pytest.raises(DataError, match="not finite"):
        attribute(lambda x: x * float("nan"), picture(), Window(4, 4, 4), steps=2)


@given(MAPS)
def test_gini_is_half_the_relative_mean_difference(values):
    x = values.ravel() + 1e-7
    expected = np.abs(x[:, None] - x).mean() / (2 * x.mean())
    assert gini(values) == pytest.approx(expected, abs=1e-9)
    assert diffusion_index(values) == pytest.approx(100 * (1 - expected), abs=1e-7)


@settings(max_examples=60)
@given(MAPS, st.floats(0.05, 0.95))
def test_contribution_area_is_the_smallest(values, share):
    area = contribution_area(values, share)
    total = values.sum()
    assert values[area].sum() >= share * total * (1 - 1e-9)
    if area.any():
        assert values[area].sum() - values[area].min() < share * total * (1 + 1e-9)
        assert values[area].min() >= values[~area].max(initial=0)
    assert not area[values == 0].any()


@pytest.fixture
def option_file(tmp_path):
    """Options of a tiny HAT with weights."""
    weights = tmp_path / "tiny.pth"
    torch.save({"params": tiny(torch.float32).state_dict()}, weights)
    file = tmp_path / "tiny.yml"
    file.write_text(
        yaml.safe_dump({"name": "tiny", "network_g": TINY_HAT, "path": {"pretrain_network_g": str(weights)}})
    )
    return file


def command(image, *arguments):
    return ["paper", "attribution", str(image), "--at", "16,12", "--steps", "3", *map(str, arguments)]


def test_command_writes_picture_and_numbers(image, option_file, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(command(image, "--arch", option_file, "--arch", f"again={option_file}")) == 0
    out = capsys.readouterr().out
    base = tmp_path / "results/paper/attribution_picture_16_12_x4_tiny_again"
    content = json.loads(base.with_suffix(".json").read_text())
    assert [n["network"] for n in content["networks"]] == ["tiny", "again"]
    first, second = ({k: v for k, v in n.items() if k not in ("network", "seconds")} for n in content["networks"])
    assert first == second
    assert f"{first['diffusion_index']:.2f}" in out
    assert (content["lr_size"], content["quick"], first["gradients"]) == ([10, 12], False, 3)
    assert cv2.imread(str(base.with_suffix(".png"))).shape[1] > 700
    assert sorted(p.name for p in base.parent.iterdir()) == [base.name + s for s in (".json", ".png")]


@pytest.mark.parametrize(
    ("arguments", "gradients", "words"),
    [([], range(40, 51), "each of 50 steps, as the authors"), (["--quick"], range(10, 18), "quick: .*approximate")],
)
def test_the_authors_protocol_is_the_default_and_the_quick_way_is_named(
    arguments, gradients, words, image, option_file, tmp_path, monkeypatch, capsys
):
    drawn, out = [], tmp_path / "map.png"
    monkeypatch.setattr(attribution_figure, "save", lambda figure, file: drawn.append(figure))
    command = ["paper", "attribution", image, "--at", "16,12", "--arch", option_file, "--out", out, *arguments]
    assert cli.main([*map(str, command)]) == 0
    assert json.loads(out.with_suffix(".json").read_text())["networks"][0]["gradients"] in gradients
    assert re.search(words, capsys.readouterr().out) and re.search(words, drawn[0].get_supxlabel())


def test_psnr_and_ssim_are_those_of_all_channels_to_the_border(image, option_file):
    gt, lr = read_hr(image, 4, "pil")
    found = explain(trained_networks.load(str(option_file)), gt, lr, Window(8, 8, 8), steps=1)
    assert (found.psnr, found.ssim) == tuple(m(found.sr, gt, crop_border=0) for m in (calculate_psnr, calculate_ssim))


def test_a_part_gives_what_the_cut_image_gives(image, option_file, tmp_path):
    part = tmp_path / "part.png"
    cv2.imwrite(str(part), cv2.imread(str(image))[4:36, 8:40])
    found = []
    for file, at, crop in ((image, "20,12", ["--crop", "8,4,32,32"]), (part, "12,8", [])):
        out = tmp_path / f"{file.stem}_map.png"
        assert cli.main(["paper", "attribution", str(file), "--at", at, "--steps", "2", "--arch", str(option_file),
                         "--out", str(out), *crop]) == 0  # fmt: skip
        found.append(json.loads(out.with_suffix(".json").read_text())["networks"][0]["diffusion_index"])
    assert found[0] == found[1]


def test_untrained_networks_only_if_asked_for(image, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(trained_networks.NETWORKS, "HAT", TINY_HAT)
    out = tmp_path / "map.png"
    assert cli.main(command(image, "--arch", "HAT", "--out", out)) == 2
    assert "--arch HAT: no weights" in capsys.readouterr().err
    assert not out.exists()
    assert cli.main(command(image, "--arch", "HAT", "--untrained", "--out", out)) == 0
    assert "mean nothing" in capsys.readouterr().err
    assert json.loads(out.with_suffix(".json").read_text())["networks"][0]["weights"] == "untrained"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--arch is missing"),
        (["--arch", "HUT"], "--arch HUT: unknown network 'HUT'"),
        (["--arch", "HUT=x.pth"], "--arch HUT=x.pth: x.pth: no such file"),
        (["--arch", "HAT=none.pth"], "--arch HAT=none.pth: none.pth: no such file"),
        (["--arch", "none.safetensors"], "--arch none.safetensors: none.safetensors: no such file"),
        (["--arch", "FILE", "--arch", "FILE"], "--arch: two are called 'tiny'"),
        (["--arch", "FILE", "--scale", "2"], "--arch tiny: enlarges by 4, not by --scale 2"),
        (["--arch", "FILE", "--window", "40"], "--at: 40x40 pixels at 16,12 do not lie inside"),
        (["--arch", "FILE", "--crop", "0,0,99,9"], "--crop: 99x9 pixels at 0,0 do not lie inside"),
        (["--arch", "FILE", "--crop", "16,20,16,16"], "--at: 4x4 pixels at 16,12 do not lie inside"),
        (["--arch", "FILE", "--crop", "16,12,18,16"], "tiny: an LR image of 4x4 is too small"),
        (["--arch", "FILE", "--out", "map.jpg"], "--out map.jpg: must end in .png"),
    ],
)
def test_mistakes_get_a_line(arguments, message, image, option_file, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    arguments = [option_file if a == "FILE" else a for a in arguments]
    assert cli.main(command(image, *(["--window", "4"] if "--crop" in arguments else []), *arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"basicsr: {message}")
    assert error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_counts_are_at_least_1(image, capsys):
    with pytest.raises(SystemExit):
        cli.main(command(image, "--batch", "0"))
    assert "--batch: 0: must be a whole number, at least 1" in capsys.readouterr().err


def test_nothing_is_lost_when_the_picture_cannot_be_drawn(image, option_file, tmp_path, monkeypatch):
    out = tmp_path / "map.png"
    monkeypatch.setattr(attribution_figure, "draw", lambda *_: (_ for _ in ()).throw(OSError(28, "full", str(out))))
    assert cli.main(command(image, "--arch", option_file, "--out", out)) == 2
    assert json.loads(out.with_suffix(".json").read_text())["networks"]


def test_a_damaged_image_is_named(image, option_file, capsys):
    image.write_bytes(image.read_bytes()[:-40])
    assert cli.main(command(image, "--arch", option_file)) == 2
    assert f"basicsr: {image}: is damaged" in capsys.readouterr().err
