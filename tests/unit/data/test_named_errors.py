"""Data sets of BasicSR and of plugins name the image that they cannot use."""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import pytest
from basicsr.utils import FileClient
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import DataLoader, Dataset

from hat_arch.data.images import DataError
from hat_arch.data.lmdb_store import write_store
from hat_arch.data.named_errors import NamingDataset, build_dataset, remembering
from hat_arch.data.sampling import ItemError


@pytest.fixture(autouse=True)
def remembers(monkeypatch):
    monkeypatch.setattr(FileClient, "get", remembering(FileClient.get))


@pytest.fixture
def section(tmp_path):
    """Options of a data set of three pairs in folders."""
    rng = np.random.default_rng(0)
    for folder, side in (("gt", 64), ("lq", 16)):
        (tmp_path / folder).mkdir()
        for n in range(3):
            cv2.imwrite(str(tmp_path / folder / f"{n}.png"), rng.integers(0, 256, (side, side, 3), np.uint8))

    def section(kind, phase="train", **changes):
        roots = {"dataroot_gt": str(tmp_path / "gt"), "dataroot_lq": str(tmp_path / "lq")}
        augment = {"gt_size": 32, "use_hflip": False, "use_rot": False}
        fixed = {"name": "some", "type": kind, "phase": phase, "scale": 4, "io_backend": {"type": "disk"}}
        return {**fixed, **roots, **augment, **changes}

    return section


def break_by(how, file):
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "text": b"x", "torn": file.read_bytes()[:500]}[how])


@pytest.mark.parametrize("how", ["missing", "empty", "text", "torn"])
@pytest.mark.parametrize(
    ("kind", "folder"),
    [("PairedImageDataset", "gt"), ("PairedImageDataset", "lq"), ("SingleImageDataset", "lq"), ("FFHQDataset", "gt")],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_a_broken_image_is_named(section, tmp_path, kind, folder, how, workers):
    changes = {}
    if kind == "FFHQDataset":
        if how == "missing":
            pytest.skip("it takes another image instead")
        changes = {"mean": [0.5] * 3, "std": [0.5] * 3}
    dataset = build_dataset(section(kind, **changes))
    if kind == "FFHQDataset":
        dataset.dataset.paths = [str(tmp_path / f"gt/{n}.png") for n in range(3)]
    file = tmp_path / folder / "1.png"
    break_by(how, file)
    with pytest.raises(ItemError) as caught:
        list(DataLoader(dataset, num_workers=workers))
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)


def test_a_key_that_a_store_lacks_is_named(section, tmp_path):
    image = np.zeros((64, 64, 3), np.uint8)
    write_store(tmp_path / "gt.lmdb", [("a", image)])
    write_store(tmp_path / "lq.lmdb", [("a", image[:16, :16])])
    roots = {f"dataroot_{which}": str(tmp_path / f"{which}.lmdb") for which in ("gt", "lq")}
    dataset = build_dataset(section("PairedImageDataset", **roots, io_backend={"type": "lmdb"}))
    assert dataset[0]["gt"].shape == (3, 32, 32)
    dataset.paths[0]["lq_path"] = "b"
    with pytest.raises(ItemError, match=r"lq\.lmdb: 'b'"):
        dataset[0]


def test_images_without_a_partner_are_named_before_anything_runs(section, tmp_path):
    (tmp_path / "gt/1.png").unlink()
    with pytest.raises(DataError, match=r"lq/1\.png"):
        build_dataset(section("PairedImageDataset"))


def test_sizes_that_do_not_fit_are_said_with_the_file(section, tmp_path):
    cv2.imwrite(str(tmp_path / "lq/1.png"), np.zeros((9, 16, 3), np.uint8))
    with pytest.raises(ItemError, match=r"lq/1\.png: ValueError: .*Scale mismatches"):
        list(DataLoader(build_dataset(section("PairedImageDataset"))))


class Buggy(Dataset):
    def __init__(self, opt):
        self.opt = opt

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return index.nothing


def test_errors_of_the_class_itself_keep_their_traceback(section, monkeypatch):
    monkeypatch.setitem(DATASET_REGISTRY._obj_map, "Buggy", Buggy)
    dataset = build_dataset(section("Buggy"))
    assert isinstance(dataset, NamingDataset) and dataset.opt["name"] == "some" and len(dataset) == 1
    with pytest.raises(AttributeError, match="nothing"):
        dataset[0]


def test_a_healthy_set_is_what_basicsr_reads(section):
    kind = partial(section, "PairedImageDataset", phase="val")
    ours, theirs = build_dataset(kind()), DATASET_REGISTRY.get("PairedImageDataset")(kind())
    assert len(ours) == len(theirs) == 3
    for one, other in zip(DataLoader(ours), DataLoader(theirs)):
        assert (one["gt"] == other["gt"]).all() and one["gt_path"] == other["gt_path"]
