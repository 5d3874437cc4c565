"""The option files that come with the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from hat_arch import HAT, config

OPTIONS = Path(__file__).parents[1] / "options"
HAT_ARGUMENTS = {
    "img_size": 64,
    "window_size": 16,
    "compress_ratio": 3,
    "squeeze_factor": 30,
    "conv_scale": 0.01,
    "overlap_ratio": 0.5,
    "depths": [6] * 6,
    "embed_dim": 180,
    "num_heads": [6] * 6,
    "mlp_ratio": 2,
}


@pytest.fixture
def stand_in(tmp_path, monkeypatch, demo_data):
    """Empty-handed folders under all names that the option files use."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/demo").symlink_to(demo_data)
    for options in OPTIONS.glob("t*.yml"):
        raw, _ = config.read(options)
        for dataset in raw["datasets"].values():
            for key in ("dataroot_gt", "dataroot_lq"):
                folder = Path(dataset[key])
                if not folder.exists():
                    folder.mkdir(parents=True)
                    for file in ("data.mdb", "meta_info.txt") if folder.suffix == ".lmdb" else ("image.png",):
                        (folder / file).touch()
    import torch

    Path("experiments/pretrained_models").mkdir(parents=True)
    net = HAT(upscale=4, in_chans=3, **HAT_ARGUMENTS)
    torch.save({"params_ema": net.state_dict()}, "experiments/pretrained_models/HAT_SRx4.pth")


@pytest.mark.parametrize("file", sorted(OPTIONS.glob("t*.yml")), ids=lambda file: file.stem)
def test_every_option_file_passes_its_own_check(file, stand_in):
    opt = config.load(file, is_train=file.stem.startswith("train"))
    assert opt["name"] == file.stem
    assert opt["scale"] == int(file.stem.partition("SRx")[2][0])


@pytest.mark.parametrize("scale", [2, 4])
def test_training_recipe_is_the_papers(scale, stand_in):
    opt = config.load(OPTIONS / f"train_HAT_SRx{scale}.yml", is_train=True)
    train, data, net = opt["train"], opt["datasets"]["train"], opt["network_g"]
    assert {key: net[key] for key in HAT_ARGUMENTS} == HAT_ARGUMENTS
    assert train["total_iter"] == 500_000
    assert train["scheduler"]["milestones"] == [250_000, 400_000, 450_000, 475_000]
    assert (train["scheduler"]["gamma"], train["ema_decay"], train["precision"]) == (0.5, 0.999, "fp32")
    assert train["optim_g"] == {"type": "Adam", "lr": 2e-4, "weight_decay": 0, "betas": [0.9, 0.99]}
    assert train["pixel_opt"] == {"type": "L1Loss", "loss_weight": 1.0, "reduction": "mean"}
    assert (data["gt_size"], data["batch_size_per_gpu"]) == (64 * scale, 4)
    assert data["use_hflip"] and data["use_rot"]
    assert data["type"] == "SeededPairedDataset" and data["io_backend"] == {"type": "lmdb"}
    for metric in opt["val"]["metrics"].values():
        assert metric["crop_border"] == scale and metric["test_y_channel"]


def test_missing_data_says_which_folder_and_how_to_start_without(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(config.ConfigError) as error:
        config.load(OPTIONS / "train_HAT_SRx4.yml", is_train=True)
    text = str(error.value)
    assert "datasets.train.dataroot_gt: no LMDB store 'datasets/DF2K/DF2K_HR_sub.lmdb'" in text
    assert str(tmp_path) in text and "datasets/README.md" in text and "make demo" in text
    assert list(tmp_path.iterdir()) == []
