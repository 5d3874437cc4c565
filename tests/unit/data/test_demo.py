"""The demo data set: what BasicSR reads of it, how its LR is made, and that it is there whole or not at all."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from basicsr.data import build_dataset
from basicsr.utils.matlab_functions import imresize
from torch.nn import functional as F

from hat_arch.data import demo
from hat_arch.data.images import DataError


def test_demo_set_is_what_basicsr_reads(demo_data, tmp_path):
    stores = tmp_path / "stores"  # LMDB opens a store once in a process, and another test may hold demo_data's
    shutil.copytree(demo_data, stores)
    options = {"name": "demo", "type": "PairedImageDataset", "phase": "train", "scale": 4, "gt_size": 192}
    roots = {"dataroot_gt": f"{stores}/train_GT.lmdb", "dataroot_lq": f"{stores}/train_LRx4.lmdb"}
    same = {"io_backend": {"type": "lmdb"}, "use_hflip": False, "use_rot": False}
    dataset = build_dataset({**options, **roots, **same})
    assert len(dataset) == 147  # as docs/data.md says
    for index in (0, len(dataset) // 2, len(dataset) - 1):
        sample = dataset[index]
        assert sample["gt"].shape == (3, 192, 192) and sample["lq"].shape == (3, 48, 48)
        averaged = F.avg_pool2d(sample["gt"], 4)  # another way to reduce the same place
        assert (averaged - sample["lq"]).abs().mean() < 0.02
    names = {path["gt_path"].rpartition("_s")[0] for path in dataset.paths}
    assert names == set(demo.TRAIN) and not names & set(demo.HELD_OUT)


def test_lr_is_basicsrs_bicubic_rounded_once():
    gt, lq = demo.gt_and_lr(demo.photograph("chelsea")).values()
    assert gt.shape == (300, 448, 3) and lq.shape == (75, 112, 3)
    expected = imresize(gt / 255.0, 0.25) * 255
    assert np.abs(lq - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-4


def test_demo_set_is_never_overwritten_and_never_half_there(tmp_path, monkeypatch):
    folder = tmp_path / "demo"
    with monkeypatch.context() as patch, pytest.raises(OSError, match="disk full"):
        patch.setattr(demo, "write_store", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
        demo.make_demo(folder)
    assert not folder.exists()
    folder.mkdir()
    with pytest.raises(DataError, match=r"demo: exists"):
        demo.make_demo(folder)
    assert not list(folder.iterdir())
