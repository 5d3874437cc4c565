"""Validation of data sets without ground truth and of networks with one channel; what a test's table says."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.models import build_model
from basicsr.models.sr_model import SRModel
from basicsr.utils import bgr2ycbcr
from torch.utils.data import DataLoader

from hat_arch import config
from hat_arch.data.named_errors import build_dataset
from hat_arch.degradations.resize import imresize
from hat_arch.training import report
from hat_arch.training.hat_model import HATModel
from hat_arch.training.measuring import Scores, for_network
from hat_arch.training.results import results, table, write_results
from hat_arch.training.run import FollowsRun
from hat_arch.utils.errors import UserError


class Writer:
    """In place of TensorBoard's."""

    def __init__(self):
        self.images, self.scalars = {}, {}

    def add_image(self, title, image, iteration, dataformats):
        self.images[title] = image

    def add_scalar(self, tag, value, iteration):
        self.scalars[tag] = value

    def flush(self):
        pass


def model_and_loader(opt, tmp_path, is_train, cls=HATModel):
    opt.update(dist=False, rank=0, world_size=1, is_train=is_train)
    opt["path"].update(
        models=str(tmp_path), training_states=str(tmp_path), visualization=str(tmp_path), log=str(tmp_path)
    )
    phase = "val" if "val" in opt["datasets"] else "test_1"
    section = {**opt["datasets"][phase], "phase": phase.split("_")[0], "scale": opt["scale"]}
    model = build_model(opt) if cls is HATModel else cls(opt)
    return model, DataLoader(build_dataset(section))


@pytest.fixture
def load(options, write_options, tmp_path):
    def load(is_train=True, cls=HATModel):
        opt = config.load(write_options(options), is_train=is_train)
        return model_and_loader(opt, tmp_path, is_train, cls)

    return load


class OfBasicSR(FollowsRun, SRModel):
    pass


@pytest.mark.parametrize("cls", [HATModel, OfBasicSR])
def test_a_validation_set_without_ground_truth_is_shown_and_not_scored(load, options, cls, tmp_path):
    del options["datasets"]["val"]["dataroot_gt"]
    options["datasets"]["val"]["type"] = "SingleImageDataset"
    model, loader = load(cls=cls)
    model.gt = torch.rand(2, 3, 32, 32)  # of a training batch
    writer = Writer()
    model.validation(loader, 4, writer, save_img=True)
    assert not writer.scalars and not hasattr(model, "best_metric_results")
    assert sorted(file.name for file in tmp_path.rglob("*_4.png")) == ["coffee_4.png", "rocket_4.png"]
    if cls is HATModel:
        assert {image.shape for image in writer.images.values()} == {(96, 3 * 128, 3)}
    assert model.opt["val"]["metrics"]


@pytest.fixture
def grey(options, tmp_path):
    """Options of a network of one channel, and grey PNG files."""
    options["network_g"].update(in_chans=1)
    rng = np.random.default_rng(0)
    for folder, side in (("gt", 64), ("lq", 16)):
        (tmp_path / folder).mkdir()
        cv2.imwrite(str(tmp_path / folder / "a.png"), rng.integers(0, 256, (side, side), np.uint8))
    for section in options["datasets"].values():
        section.update(dataroot_gt=str(tmp_path / "gt"), dataroot_lq=str(tmp_path / "lq"), io_backend={"type": "disk"})
    return options


@pytest.mark.parametrize("cls", [HATModel, OfBasicSR])
@pytest.mark.parametrize("color", [None, "y"])
def test_networks_of_one_channel_train_and_validate(load, grey, color, cls):
    if color:
        for section in grey["datasets"].values():
            section["color"] = color
    if cls is OfBasicSR:
        del grey["train"]["precision"]
    model, loader = load(cls=cls)
    model.follow(type("Run", (), {"stop_signal": 0, "dry": True, "step_done": lambda *_: None})())
    model.feed_data(next(iter(loader)))
    model.optimize_parameters(1)
    writer = Writer()
    model.validation(loader, 1, writer, save_img=False)
    assert 0 < writer.scalars["metrics/demo_held_out/psnr"] < 40
    assert {image.shape for image in writer.images.values()} <= {(64, 4 * 64, 3)}


def test_the_death_of_a_process_that_reads_images_is_not_the_network_s(load, monkeypatch):
    model, loader = load()
    for message, told in (("DataLoader worker (pid 7) is killed by signal: Killed.", RuntimeError), ("?", UserError)):

        def fails(*_, message=message):
            raise RuntimeError(message)

        monkeypatch.setattr(type(model.net_g), "forward", fails)
        with pytest.raises(told, match=re.escape(message)):
            model.validation(loader, 1, None)


def test_a_network_of_one_channel_refuses_colours_by_naming_the_key():
    colours = {"lq": torch.rand(1, 3, 4, 4)}
    with pytest.raises(UserError, match="color: y"):
        for_network(colours, {"network_g": {"in_chans": 1}})
    assert for_network(colours, {"network_g": {"num_in_ch": 3}}) is colours


@pytest.mark.parametrize("cls", [HATModel, OfBasicSR])
def test_a_test_measures_bicubic_too_and_writes_a_table(load, options, tmp_path, capsys, cls, demo_data):
    for key in ("train", "logger"):
        del options[key]
    options["datasets"] = {"test_1": options["datasets"]["val"]}
    options["val"]["suffix"] = None
    options["published"] = {"demo_held_out": {"psnr": 33.04, "ssim": 0.9}}
    model, loader = load(is_train=False, cls=cls)
    model.validation(loader, "tiny", None, save_img=False)
    write_results({**model.opt, "num_gpu": 0}, model.measured)
    found = json.loads((tmp_path / "results.json").read_text())
    [dataset] = found["datasets"]
    assert dataset["images"] == 2 and dataset["seconds_per_image"] > 0
    for metric, function in (("psnr", calculate_psnr), ("ssim", calculate_ssim)):
        expected = []
        for file in (demo_data / "val_GT").iterdir():
            gt, lr = cv2.imread(str(file)), cv2.imread(str(demo_data / "val_LRx4" / file.name))
            expected.append(function(imresize(lr, 4), gt, crop_border=4, test_y_channel=True))
        assert dataset["metrics"][metric]["bicubic"] == pytest.approx(np.mean(expected), abs=1e-9)
        assert dataset["metrics"][metric]["ours"] == pytest.approx(model.metric_results[metric], abs=1e-9)
    assert dataset["metrics"]["psnr"]["published"] == 33.04
    assert dataset["metrics"]["psnr_rgb"]["published"] is None
    out = capsys.readouterr().out
    assert "33.04 / – / 0.9000" in out and "bicubic" in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_test_of_restoration_measures_the_input_beside_the_network(
    load, options, tmp_path, capsys, channels, demo_data
):
    for key in ("train", "logger"):
        del options[key]
    options["network_g"].update(upscale=1, upsampler="", in_chans=channels)
    options["scale"] = 1
    data = {"name": "noisy", "type": "DegradedImageDataset", "dataroot_gt": str(demo_data / "val_GT")}
    data |= {"recipe": {"type": "noise", "sigma": 25, "seed": 0}, "io_backend": {"type": "disk"}}
    options["datasets"] = {"test_1": data | ({"color": "y"} if channels == 1 else {})}
    metrics = {
        "psnr": {"type": "calculate_psnr", "crop_border": 0, "test_y_channel": False},
        "psnrb": {"type": "calculate_psnrb", "crop_border": 0, "test_y_channel": False},
    }
    options["val"].update(suffix=None, metrics=metrics)
    model, loader = load(is_train=False)
    model.validation(loader, "tiny", None, save_img=False)
    write_results({**model.opt, "num_gpu": 0}, model.measured)
    [found] = json.loads((tmp_path / "results.json").read_text())["datasets"]
    expected = []
    for file in (demo_data / "val_GT").iterdir():
        gt = cv2.imread(str(file))
        if channels == 1:
            gt = bgr2ycbcr(gt, y_only=True)[..., None]
        np.random.seed(0)
        noisy = gt[..., ::-1] / 255 + np.random.normal(0, 25 / 255, gt.shape)
        noisy = (noisy.clip(0, 1) * 255).round().astype(np.uint8)[..., ::-1]
        expected.append(calculate_psnr(noisy, gt, crop_border=0))
    assert 20 < np.mean(expected) < 22
    assert found["metrics"]["psnr"]["input"] == pytest.approx(np.mean(expected), abs=1e-3)
    assert set(found["metrics"]["psnrb"]) == {"input", "ours", "published"}
    assert "bicubic" not in capsys.readouterr().out and "| input" in (tmp_path / "results.md").read_text().replace(
        "  ", ""
    )


def test_a_table_leaves_out_what_nobody_measured():
    opt = {"name": "x", "network_g": {"type": "HAT"}, "path": {}, "val": {"metrics": {"psnr": {}}}, "num_gpu": 0}
    header, lines = table(results(opt, {"a": Scores(2, 1.0)}))
    assert header == ["data set", "images", "seconds per image"] and lines == [["a", "2", "0.5"]]
    header, lines = table(results(opt, {"a": Scores(2, 1.0), "b": Scores(1, 1.0, {"psnr": 30.0})}))
    assert header[2] == "ours" and [line[2] for line in lines] == ["–", "30.00"]


def test_the_report_has_psnr_of_luma_and_of_colours():
    rng = np.random.default_rng(0)
    gt = rng.integers(0, 256, (20, 20, 3), np.uint8)
    image = gt.copy()
    image[..., 0] //= 2  # red
    found = report.psnr(image, gt, 4)
    bgr = image[..., ::-1], gt[..., ::-1]
    assert found.y == calculate_psnr(*bgr, crop_border=4, test_y_channel=True) > found.rgb
    assert found.rgb == calculate_psnr(*bgr, crop_border=4) and str(found) == f"{found.y:.2f} / {found.rgb:.2f} dB"
