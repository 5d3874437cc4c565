from __future__ import annotations

import cv2
import numpy as np
import pytest
from basicsr.data import build_dataset
from basicsr.utils import FileClient
from basicsr.utils.matlab_functions import imresize
from torch.nn import functional as F

from hat_arch.data import prepare
from hat_arch.data.lmdb_store import write_store


def test_demo_set_is_what_basicsr_reads(demo_data):
    dataset = build_dataset(
        {
            "name": "demo",
            "type": "PairedImageDataset",
            "phase": "train",
            "scale": 4,
            "dataroot_gt": str(demo_data / "train_GT.lmdb"),
            "dataroot_lq": str(demo_data / "train_LRx4.lmdb"),
            "io_backend": {"type": "lmdb"},
            "gt_size": 192,
            "use_hflip": False,
            "use_rot": False,
        }
    )
    assert len(dataset) == 147  # as datasets/README.md says
    for index in (0, len(dataset) // 2, len(dataset) - 1):
        sample = dataset[index]
        assert sample["gt"].shape == (3, 192, 192) and sample["lq"].shape == (3, 48, 48)
        averaged = F.avg_pool2d(sample["gt"], 4)  # another way to reduce the same place
        assert (averaged - sample["lq"]).abs().mean() < 0.02
    names = {path["gt_path"].rpartition("_s")[0] for path in dataset.paths}
    assert names == set(prepare.TRAIN) and not names & set(prepare.HELD_OUT)


def test_lr_is_basicsrs_bicubic_rounded_once():
    gt, lq = prepare.pair(prepare.photograph("chelsea"))
    assert gt.shape == (300, 448, 3) and lq.shape == (75, 112, 3)
    expected = imresize(gt / 255.0, 0.25) * 255
    assert np.abs(lq - np.clip(expected, 0, 255)).max() <= 0.5 + 1e-9


def test_demo_set_is_never_overwritten_and_never_half_there(tmp_path, monkeypatch):
    folder = tmp_path / "demo"
    monkeypatch.setattr(prepare, "write_store", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        prepare.make_demo(folder)
    assert not folder.exists()
    monkeypatch.undo()
    prepare.make_demo(folder)
    with pytest.raises(FileExistsError):
        prepare.make_demo(folder)


def test_store_grows_and_returns_every_image(tmp_path):
    rng = np.random.default_rng(0)
    images = {f"ünï_{n}": rng.integers(0, 256, (512 + n, 600, 3), np.uint8) for n in range(90)}  # > 64 MiB of PNG
    store = tmp_path / "s.lmdb"
    assert write_store(store, images.items()) == 90
    client = FileClient("lmdb", db_paths=[str(store)], client_keys=["gt"])
    for key, image in images.items():
        data = client.client._client["gt"].begin().get(key.encode())
        assert np.array_equal(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), image)
    lines = (store / "meta_info.txt").read_text().splitlines()
    assert lines[1] == "ünï_1.png (513,600,3) 1"


def test_store_refuses_what_basicsr_could_not_read(tmp_path):
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(ValueError, match=r"must end in \.lmdb"):
        write_store(tmp_path / "s", [("a", image)])
    with pytest.raises(ValueError, match="may hold no dot"):
        write_store(tmp_path / "s.lmdb", [("a.png", image)])
    assert not (tmp_path / "s.lmdb").exists()
    write_store(tmp_path / "s.lmdb", [("a", image)])
    with pytest.raises(FileExistsError):
        write_store(tmp_path / "s.lmdb", [("b", image)])
