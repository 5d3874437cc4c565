"""LR made on the fly is the LR that `basicsr data downsample` writes; ImageNet's is the official recipe's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.utils.matlab_functions import imresize

from hat_arch.data.folders import downsample, meta_info, modcrop
from hat_arch.data.prepare import pack
from hat_arch.data.sampling import ItemError

SIZES = [(50, 66), (48, 49), (64, 48)]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    (root / "hr/sub").mkdir(parents=True)
    rng = np.random.default_rng(1)
    for n, size in enumerate(SIZES):
        name = f"hr/im{n}.png" if n else "hr/sub/im0.png"
        cv2.imwrite(str(root / name), rng.integers(0, 256, (*size, 3), np.uint8))
    modcrop(root / "hr", root / "gt", 4)
    downsample(root / "gt", {4: root / "lq"})
    for which in ("hr", "gt", "lq"):  # the stores' keys keep the order of im1, im2, sub/im0
        pack(root / which, root / f"{which}.lmdb")
    meta_info(root / "hr", root / "meta.txt")
    return root


def make(kind: str, root: Path | str, lmdb: bool = True, **changes: Any) -> Any:
    opt = {
        "name": "x",
        "type": kind,
        "phase": "train",
        "scale": 4,
        "gt_size": 24,
        "use_hflip": True,
        "use_rot": True,
        "dataroot_gt": str(root),
        "io_backend": {"type": "lmdb" if lmdb else "disk"},
        "seed": 5,
    }
    return build_dataset({**opt, **changes})


@pytest.mark.parametrize("phase", ["train", "val"])
def test_on_the_fly_is_what_files_would_give(photographs, phase):
    fly = make("BicubicLRDataset", photographs / "hr.lmdb", phase=phase)
    files = make("SeededPairedDataset", photographs / "gt.lmdb", phase=phase, dataroot_lq=f"{photographs}/lq.lmdb")
    for position in range(60 if phase == "train" else 3):
        a, b = fly[position], files[position]
        assert torch.equal(a["gt"], b["gt"]) and torch.equal(a["lq"], b["lq"])


def test_a_folder_with_folders_and_a_meta_info_file_give_the_same(photographs):
    folder = make("BicubicLRDataset", photographs / "hr", lmdb=False)
    listed = make("BicubicLRDataset", photographs / "hr", lmdb=False, meta_info_file=str(photographs / "meta.txt"))
    assert len(folder) == 3 and folder.paths == listed.paths
    assert all(torch.equal(folder[n]["lq"], listed[n]["lq"]) for n in range(9))


def test_too_small_images_are_named(photographs):
    dataset = make("BicubicLRDataset", photographs / "hr.lmdb", gt_size=52)
    with pytest.raises(ItemError, match=r"hr\.lmdb: 'im1': is smaller than gt_size 52"):
        dataset[0]
    with pytest.raises(ItemError, match="smaller than 64x64"):
        make("BicubicLRDataset", photographs / "hr.lmdb", scale=64, gt_size=64)[0]


@pytest.mark.parametrize("gt_size", [24, 56])
def test_imagenet_is_the_official_recipe(photographs, gt_size):
    """Modcrop, enlarge sides below gt_size, reduce the whole, then crop: written out with BasicSR's own functions."""
    options = {"gt_size": gt_size, "use_hflip": False, "use_rot": False}
    dataset = make("ImageNetPairedDataset", photographs / "hr", lmdb=False, **options)
    for position in range(9):
        sample = dataset[position]
        image = cv2.imread(sample["gt_path"]).astype(np.float32) / 255
        height, width = (side - side % 4 for side in image.shape[:2])
        image = cv2.resize(image[:height, :width], (max(width, gt_size), max(height, gt_size)))
        small = imresize(image, 0.25)[..., ::-1]
        gt, lq = (sample[key].numpy().transpose(1, 2, 0) for key in ("gt", "lq"))
        windows = np.lib.stride_tricks.sliding_window_view(image[..., ::-1], gt.shape)[::4, ::4, 0]
        places = np.argwhere(np.abs(windows - gt).max((2, 3, 4)) < 1e-6)
        assert len(places) == 1
        y, x = places[0]
        np.testing.assert_allclose(lq, small[y : y + gt_size // 4, x : x + gt_size // 4], atol=2e-6)


def test_imagenet_names_what_it_cannot_use(tmp_path):
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(ItemError, match=r"dot\.png: is 1x1, smaller than 4x4"):
        make("ImageNetPairedDataset", tmp_path, lmdb=False)[0]
