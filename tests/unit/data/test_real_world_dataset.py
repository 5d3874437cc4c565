"""Ground truth for real-world training: which images, how large, and what its random choices depend on."""

from __future__ import annotations

import cv2
import numpy as np
import official
import pytest
import torch

from hat_arch import RealESRGANDataset
from hat_arch.data.images import DataError
from hat_arch.data.lmdb_store import write_store
from hat_arch.utils.errors import UserError


def make(root, **more):
    data = official.degradations()["data"] | {"use_hflip": True, "use_rot": True, "phase": "train", "scale": 4}
    return RealESRGANDataset({**data, "io_backend": {"type": "disk"}, "dataroot_gt": str(root), **more})


def test_all_images_of_a_folder_without_a_list(demo_data, tmp_path):
    dataset = make(demo_data / "val_GT")
    assert len(dataset) == 2 and dataset[0]["gt"].shape == (3, 400, 400)
    with pytest.raises(DataError, match=str(tmp_path)):
        make(tmp_path)


def test_those_alone_that_a_list_names(demo_data, tmp_path):
    names = sorted(path.name for path in (demo_data / "val_GT").iterdir())
    listed = tmp_path / "list.txt"
    listed.write_text(f"{names[1]} (96,128,3)\n")
    dataset = make(demo_data / "val_GT", meta_info=str(listed))
    assert [dataset[n]["gt_path"] for n in range(len(dataset))] == [str(demo_data / "val_GT" / names[1])]
    listed.write_text("no.png\n")
    with pytest.raises(UserError, match=r"list\.txt:1: names 'no\.png'"):
        make(demo_data / "val_GT", meta_info=str(listed))


def test_an_lmdb_store(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    write_store(tmp_path / "gt.lmdb", [("a", image)])
    dataset = make(tmp_path / "gt.lmdb", io_backend={"type": "lmdb"}, crop_pad_size=64)
    gt = dataset[0]["gt"]
    assert gt.shape == (3, 64, 64) and torch.equal((gt * 255).round() / 255, gt)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_small_images_are_mirrored_and_the_side_is_a_multiple_of_the_scale(tmp_path, scale):
    image = np.random.default_rng(0).integers(0, 256, (40, 7, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    dataset = make(tmp_path, scale=scale, crop_pad_size=65, use_hflip=False, use_rot=False)
    gt = (dataset[0]["gt"] * 255).round().numpy().transpose(1, 2, 0)[..., ::-1]
    side = {2: 64, 3: 63, 4: 64}[scale]
    wanted = np.pad(image, ((0, side - 40), (0, side - 7), (0, 0)), "reflect")
    assert np.array_equal(gt, wanted)


def test_items_depend_on_seed_draw_and_index_alone(demo_data):
    first, other = (make(demo_data / "val_GT", seed=5, crop_pad_size=48) for _ in range(2))
    torch.rand(2)
    for position in (0, 1, 7):
        a, b = first[position], other[position]
        assert a.keys() == b.keys() == {"gt", "gt_path", "draw", "kernel1", "kernel2", "sinc_kernel"}
        assert all(torch.equal(a[name], b[name]) for name in a if name != "gt_path")
        assert a["draw"].tolist() == [5, *divmod(position, 2)]
        assert all(a[name].shape == (21, 21) and a[name].dtype == torch.float32 for name in ("kernel1", "sinc_kernel"))
    assert not torch.equal(first[0]["gt"], first[2]["gt"])
    assert not torch.equal(first[0]["gt"], make(demo_data / "val_GT", seed=6, crop_pad_size=48)[0]["gt"])


def test_a_damaged_image_is_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"a\.png: is damaged"):
        make(tmp_path)[0]
