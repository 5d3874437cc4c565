"""Comparison strips, trade-off plots, and the networks that ``--arch`` names."""

from __future__ import annotations

import json
import warnings

import cv2
import numpy as np
import pytest
import torch
import yaml
from basicsr.metrics import calculate_psnr, calculate_ssim
from matplotlib import pyplot as plt
from PIL import Image
from tiny import TINY_HAT

from hat_arch import cli
from hat_arch.compat.registration import build
from hat_arch.config import ConfigError
from hat_arch.data.images import DataError
from hat_arch.data.resize import imresize
from hat_arch.paper import figure, trained
from hat_arch.paper.facts import look_up
from hat_arch.paper.pair import load_pair
from hat_arch.paper.trained import Trained
from hat_arch.weights.files import WeightsError

BOX = (10, 6, 24, 20)
SWINIR = {**TINY_HAT, "type": "SwinIR", "depths": [2], "num_heads": [2], "upsampler": "pixelshuffle"}
del SWINIR["squeeze_factor"]


@pytest.fixture
def image(tmp_path):
    """An HR image of 49 × 41 pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)
    file = tmp_path / "picture.png"
    cv2.imwrite(str(file), cv2.resize(pixels, (49, 41), interpolation=cv2.INTER_CUBIC))
    return file


def make(label: str, options: dict, seed: int = 0) -> Trained:
    torch.manual_seed(seed)
    return Trained(label, build(options).eval().requires_grad_(False), options, "untrained")


def test_pair_is_the_papers(image):
    gt, lr = load_pair(image, 4, "matlab")
    whole = cv2.imread(str(image))
    np.testing.assert_array_equal(gt, whole[:40, :48])
    np.testing.assert_array_equal(lr, imresize(whole[:40, :48], 0.25))
    demonstration = Image.open(image).crop((0, 0, 48, 40)).resize((12, 10), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(load_pair(image, 4, "pil")[1][..., ::-1], np.asarray(demonstration))


def test_a_grey_image_has_three_equal_channels(tmp_path):
    file = tmp_path / "grey.png"
    cv2.imwrite(str(file), np.arange(256, dtype=np.uint8).reshape(16, 16))
    gt, lr = load_pair(file, 4, "matlab")
    assert gt.shape == (16, 16, 3)
    assert (lr == lr[..., :1]).all()


def test_patches_are_those_of_the_whole_upscaled_image(image):
    gt, lr = load_pair(image, 4, "matlab")
    net = make("tiny", TINY_HAT)
    found = figure.patches(gt, lr, BOX, [net])
    x, y, w, h = BOX
    part = np.s_[y : y + h, x : x + w]
    assert [p.name for p in found] == ["LR", "bicubic", "tiny", "GT"]
    np.testing.assert_array_equal(found[-1].image, gt[part])
    np.testing.assert_array_equal(found[1].image, imresize(lr, 4)[part])
    np.testing.assert_array_equal(found[0].image, np.kron(lr, np.ones((4, 4, 1), np.uint8))[part])
    with torch.no_grad():
        sr = net.network(torch.from_numpy(lr[..., ::-1].transpose(2, 0, 1) / np.float32(255))[None])
    sr = (sr[0].clamp(0, 1) * 255).round().numpy().transpose(1, 2, 0)[..., ::-1].astype(np.uint8)
    np.testing.assert_array_equal(found[2].image, sr[part])
    for p in found[1:3]:
        assert p.psnr == calculate_psnr(p.image, gt[part], crop_border=0, test_y_channel=True)
        assert p.ssim == calculate_ssim(p.image, gt[part], crop_border=0, test_y_channel=True)
    assert found[0].psnr is found[-1].ssim is None


def test_a_network_that_cannot_pad_is_padded():
    net = make("SwinIR", SWINIR)
    assert net(torch.rand(1, 3, 6, 9)).shape == (1, 3, 24, 36)


def test_a_patch_too_small_for_ssim_is_refused(image):
    gt, lr = load_pair(image, 4, "matlab")
    with pytest.raises(DataError, match="10x20 is too small; SSIM needs 11x11"):
        figure.patches(gt, lr, (0, 0, 10, 20), [])


def test_the_best_is_bold(image, tmp_path, monkeypatch):
    gt, lr = load_pair(image, 4, "matlab")
    found = figure.patches(gt, lr, BOX, [make("a", TINY_HAT), make("b", TINY_HAT, 1)])
    drawn = []
    monkeypatch.setattr(figure.report, "save", lambda fig, file: drawn.append(fig))
    figure.draw_strip("picture", gt, BOX, found, tmp_path / "x.png")
    captions = {ax.get_xlabel().split("\n")[0]: ax.get_xlabel() for ax in drawn[0].axes}
    plt.close(drawn[0])
    assert list(captions) == ["picture", "LR", "bicubic", "a", "b", "GT"]
    best = max((p for p in found if p.psnr), key=lambda p: p.psnr)
    bold = [name for name, text in captions.items() if rf"\mathbf{{{best.psnr:.2f}}}" in text]
    assert bold == [best.name]
    assert sum(text.count("mathbf") for text in captions.values()) == 2
    assert all(f"{p.psnr:.2f}" in captions[p.name] for p in found if p.psnr)


@pytest.mark.parametrize("archs", [0, 1, 4])
def test_strip_command(archs, image, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yml").write_text(yaml.safe_dump({"name": "t", "network_g": TINY_HAT}))
    weights = tmp_path / "experiments/t/models/net_g_latest.pth"
    weights.parent.mkdir(parents=True)
    torch.save({"params": build(TINY_HAT).state_dict()}, weights)
    arguments = [a for n in range(archs) for a in ("--arch", f"n{n}=tiny.yml")]
    assert cli.main(["paper", "figure", "strip", str(image), "--at", "10,6,24,20", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * archs + 3
    assert (
        lines[-1] == f"results/paper/{'_'.join(['strip_picture_10_6_24_20_x4', *(f'n{n}' for n in range(archs))])}.png"
    )
    assert cv2.imread(lines[-1]) is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["strip", "IMAGE", "--at", "40,0,20,20"], "--at: 20x20 pixels at 40,0 do not lie inside"),
        (["strip", "none.png", "--at", "0,0,20,20"], "none.png: No such file"),
        (["strip", "IMAGE", "--at", "0,0,20,20", "--arch", "HAT"], "--arch HAT: no weights"),
        (["tradeoff", "--dataset", "Set6"], "--dataset Set6: unknown; the papers have Set5, Set14"),
        (["tradeoff", "--benchmarks", "none"], "--benchmarks none: no such folder"),
        (["strip", "IMAGE", "--at", "0,0,20,20", "--out", "IMAGE"], "--out IMAGE: is the image that is read"),
        (
            ["strip", "IMAGE", "--at", "0,0,20,20", "--out", "IMAGE/x.png"],
            "--out IMAGE/x.png: cannot be written (Not a",
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
    assert "argument --at: 1,2,x,4: must be X,Y,W,H in pixels, such as 40,40,40,40" in capsys.readouterr().err


def test_points_are_the_papers_numbers():
    found = {(p.name, p.pretrained): p for p in figure.points("Urban100", 4, None)}
    table = look_up("main_table/x4")
    for (name, pretrained), point in found.items():
        assert point.psnr == table[f"{name}_dagger" if pretrained else name][3][0]
        assert point.milliseconds is None
    assert found["HAT", False].multi_adds == pytest.approx(103.88, abs=0.005)
    assert found["HAT", True].parameters == found["HAT", False].parameters
    assert found["SAN", False].parameters == 15.9
    assert found["SAN", False].multi_adds is None
    assert ("NLSN", False) not in found  # its parameters are in no source
    assert ("HAT-L", False) not in found


def benchmark(network: str, median: float, precision: str = "fp32", size: int = 64) -> str:
    seconds = {name: {"median": factor * median} for name, factor in (("peer", 0.5), ("plain", 2), ("prepared", 1))}
    result = {"suite": "infer", "network": network, "size": [size, size], "precision": precision,
              "config": {"upscale": 4}, "seconds": seconds, "environment": {"device_name": "a CPU"}}  # fmt: skip
    return json.dumps(result)


def test_latencies_are_those_of_one_setting(tmp_path):
    (tmp_path / "infer_a.json").write_text(benchmark("HAT", 1.5))
    (tmp_path / "data.json").write_text('{"suite": "data"}')
    assert figure.read_latencies(tmp_path, 4) is None
    (tmp_path / "infer_b.json").write_text(benchmark("HAT-S", 0.75))
    (tmp_path / "infer_c.json").write_text(benchmark("HAT-L", 9, "bf16"))
    (tmp_path / "infer_d.json").write_text(benchmark("HAT-L", 9, size=128))
    found = figure.read_latencies(tmp_path, 4)
    assert found == figure.Latencies("64×64, a CPU", {"HAT": 1500, "HAT-S": 750})
    assert figure.read_latencies(tmp_path, 2) is None
    times = {p.name: p.milliseconds for p in figure.points("Set5", 4, found) if p.milliseconds}
    assert times == {"HAT": 1500, "HAT-S": 750}
    for content in ('{"size": 3}', benchmark("HAT", 1).replace('{"peer"', '[{"peer"').replace("}}, ", "}}], ", 1)):
        (tmp_path / "infer_e.json").write_text(content)
        with pytest.raises(DataError, match=r"infer_e.json: is no result of a benchmark"):
            figure.read_latencies(tmp_path, 4)


@pytest.mark.parametrize("dataset", ["Urban100", "Set5"])
def test_names_in_the_tradeoff_do_not_overlap(dataset, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figure.report, "save", lambda fig, file: drawn.append(fig))
    latencies = figure.Latencies("64×64, a CPU", {"HAT": 1500, "HAT-S": 750})
    found = figure.points(dataset, 4, latencies)
    figure.draw_tradeoff(found, dataset, 4, latencies, tmp_path / "x.png")
    (fig,) = drawn
    fig.draw_without_rendering()
    assert len(fig.axes) == 3
    assert {t.get_text() for t in fig.axes[0].texts} == {p.name + "†" * p.pretrained for p in found}
    for ax in fig.axes:
        boxes = [t.get_window_extent() for t in ax.texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        assert all(ax.bbox.xmin < b.xmin and b.xmax < ax.bbox.xmax for b in boxes)
    plt.close(fig)


def test_tradeoff_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["paper", "figure", "tradeoff", "--out", "t.png"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("no latencies: experiments/benchmarks holds fewer than two networks")
    assert cv2.imread("t.png") is not None


@pytest.fixture
def two_sets(tmp_path):
    """A weights file whose averaged weights differ from the plain ones."""
    plain, averaged = make("a", TINY_HAT).network.state_dict(), make("b", TINY_HAT, 1).network.state_dict()
    file = tmp_path / "two.pth"
    torch.save({"params": plain, "params_ema": averaged}, file)
    return file, plain, averaged


def test_averaged_weights_are_preferred(two_sets, monkeypatch, tmp_path):
    file, plain, averaged = two_sets
    monkeypatch.setitem(trained.NETWORKS, "HAT", TINY_HAT)
    loaded = trained.load(f"HAT={file}", 4)
    assert torch.equal(loaded.network.conv_first.weight, averaged["conv_first.weight"])
    assert not any(p.requires_grad for p in loaded.network.parameters())
    options = {"network_g": TINY_HAT, "path": {"pretrain_network_g": str(file), "param_key_g": "params"}}
    (tmp_path / "o.yml").write_text(yaml.safe_dump(options))
    loaded = trained.load(str(tmp_path / "o.yml"), 4)
    assert torch.equal(loaded.network.conv_first.weight, plain["conv_first.weight"])
    assert loaded.label == "o"


def test_a_hat_is_known_by_its_weights_alone(two_sets, tmp_path):
    file, _, averaged = two_sets
    loaded = trained.load(str(file), 4)
    assert (loaded.label, loaded.scale, loaded.weights) == ("two", 4, str(file))
    network = build(TINY_HAT).eval()
    network.load_state_dict(averaged)
    image = torch.rand(1, 3, 9, 10)
    assert torch.allclose(loaded(image), network(image), rtol=0, atol=1e-6)
    torch.save({"params": {"weight": torch.ones(1)}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other.pth: holds no HAT: .* another network needs its option file"):
        trained.load(str(tmp_path / "other.pth"), 4)


def test_a_network_may_have_a_label_of_its_own(two_sets, tmp_path):
    folder = tmp_path / "lr=1e-4"
    folder.mkdir()
    file = two_sets[0].rename(folder / "w.pth")
    assert trained.load(f"mine={file}", 4).label == "mine"
    assert trained.load(str(file), 4).label == "w"


def test_the_scale_of_an_option_file_serves_where_the_network_has_none(tmp_path):
    network = {"type": "MSRResNet", "num_feat": 4, "num_block": 1}
    for options, scale in ((network, 3), ({**network, "upscale": 2}, 2)):
        (tmp_path / "o.yml").write_text(yaml.safe_dump({"name": "o", "scale": 3, "network_g": options}))
        assert trained.load(str(tmp_path / "o.yml"), 4, untrained=True).scale == scale


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_get_no_score(value, image):
    gt, lr = load_pair(image, 4, "matlab")
    made = make("mine", TINY_HAT)
    made.network.conv_last.bias.fill_(value)
    with pytest.raises(DataError, match="mine: its output is not finite; untrained may be damaged"):
        figure.patches(gt, lr, BOX, [made])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("not enough memory:\nyou tried"), "mine: .*not enough memory: you tried; take a smaller image$"),
        (ValueError("wrong"), "mine: the network fails: ValueError: wrong$"),
    ],
)
def test_a_network_that_fails_is_named(error, message, image):
    def fail(*_):
        raise error

    gt, lr = load_pair(image, 4, "matlab")
    made = make("mine", TINY_HAT)
    made.network.forward = fail
    with pytest.raises(DataError, match=message):
        figure.patches(gt, lr, BOX, [made])


def test_labels_are_no_formulas(image, tmp_path):
    gt, lr = load_pair(image, 4, "matlab")
    found = figure.patches(gt, lr, BOX, [make("$x^{$", TINY_HAT), make("日本", TINY_HAT)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.draw_strip("$5_and$7{", gt, BOX, found, tmp_path / "x.png")
    assert cv2.imread(str(tmp_path / "x.png")) is not None


def test_weights_of_another_network_are_refused(two_sets, monkeypatch):
    file = two_sets[0]
    monkeypatch.setitem(trained.NETWORKS, "HAT", {**TINY_HAT, "embed_dim": 24})
    with pytest.raises(WeightsError, match=r"two.pth: does not fit HAT: .* of another shape"):
        trained.load(f"HAT={file}", 4)
    file.write_bytes(b"x" * 99)
    with pytest.raises(WeightsError, match=r"two.pth: cannot be read as weights"):
        trained.load(f"HAT={file}", 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "a"}, "network_g must name a network of the registry"),
        ({"name": "a", "network_g": {"type": "Nix"}}, "network_g must name a network of the registry"),
        ({"name": "a", "network_g": {"type": ["HAT"]}}, "network_g must name a network of the registry"),
        ({"name": "a", "network_g": TINY_HAT, "path": "x"}, "o.yml: path: pretrain_network_g and param_key_g must be"),
        ({"name": "a", "network_g": TINY_HAT, "path": {"param_key_g": [1]}}, "o.yml: path: pretrain_network_g and"),
        ({"name": "a", "network_g": {**TINY_HAT, "depth": 1}}, "o.yml: a: cannot be built: .*depth"),
        ({"name": "a", "network_g": TINY_HAT}, r"a: no file 'experiments/a/models/net_g_latest.pth'"),
    ],
)
def test_option_files_that_do_not_work(options, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "o.yml").write_text(yaml.safe_dump(options))
    with pytest.raises(ConfigError, match=message):
        trained.load("o.yml", 4)
