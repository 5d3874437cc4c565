"""Pairs degraded on the fly: independent of workers, the same in every validation, as the command writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.utils import bgr2ycbcr
from torch.utils.data import DataLoader

from hat_arch.data.degrade import degrade
from hat_arch.data.prepare import pack
from hat_arch.data.sampling import ItemError
from hat_arch.data.stand_ins import picture
from hat_arch.degradations import RecipeError

SPECS = ["noise:25", "jpeg:10-40", "photo", "realesrgan", "bsrgan"]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("photographs")
    (root / "hr/sub").mkdir(parents=True)
    for n, name in enumerate(("a", "b", "sub/c")):
        cv2.imwrite(str(root / f"hr/{name}.png"), np.roll(picture(66 + n, 81), 7 * n, 1))
    (root / "grey").mkdir()
    cv2.imwrite(str(root / "grey/a.png"), picture(48, 48)[..., 0])
    pack(root / "hr", root / "hr.lmdb")
    return root


def make(root: Path | str, **changes: Any) -> Any:
    opt = {
        "name": "x",
        "type": "DegradedImageDataset",
        "phase": "train",
        "scale": 2,
        "gt_size": 48,
        "use_hflip": True,
        "use_rot": True,
        "dataroot_gt": str(root),
        "io_backend": {"type": "lmdb" if str(root).endswith(".lmdb") else "disk"},
        "recipe": "photo",
        "seed": 5,
    }
    return build_dataset({**opt, **changes})


@pytest.mark.parametrize("recipe", SPECS)
@pytest.mark.parametrize("color", ["rgb", "y"])
@pytest.mark.parametrize("scale", [1, 2])
def test_patches_have_their_size(photographs, recipe, color, scale):
    dataset = make(photographs / "hr", recipe=recipe, color=color, scale=scale, use_channel_permutation=True)
    channels = 1 if color == "y" else 3
    for position in range(9):
        item = dataset[position]
        assert item["gt"].shape == (channels, 48, 48) and item["lq"].shape == (channels, 48 // scale, 48 // scale)
        assert item["gt"].dtype == item["lq"].dtype == torch.float32


def test_patches_and_their_partners_are_of_the_same_place(photographs):
    dataset = make(photographs / "hr", recipe="noise:0", scale=1)
    assert all(torch.equal(item["gt"], item["lq"]) for item in map(dataset.__getitem__, range(12)))
    dataset = make(photographs / "hr", recipe="jpeg:100", scale=1, color="y")
    for item in map(dataset.__getitem__, range(12)):
        off, moved = ((gt - item["lq"]).abs().mean() for gt in (item["gt"], item["gt"].roll(1, 2)))
        assert off < moved / 5


def test_patches_lie_anywhere_within_jpegs_blocks(photographs):
    """The step over the border of JPEG's blocks is found in each of the eight columns."""
    dataset = make(photographs / "hr", recipe="jpeg:5", scale=1, use_hflip=False, use_rot=False)
    columns = set()
    for position in range(0, 150):
        steps = dataset[position]["lq"].diff(dim=2).abs().mean((0, 1))
        columns.add(int(torch.stack([steps[n::8].mean() for n in range(8)]).argmax()))
    assert columns == set(range(8))


def test_an_image_of_the_patchs_size_will_do(photographs):
    item = make(photographs / "hr", gt_size=66, recipe="jpeg:30", scale=1)[0]
    assert item["lq"].shape == (3, 66, 66)


@pytest.mark.parametrize("recipe", ["photo", "noise:0-50"])
def test_items_depend_on_seed_draw_and_index_alone(photographs, recipe):
    dataset, positions = make(photographs / "hr.lmdb", recipe=recipe), [7, 0, 3, 11, 4, 5]
    alone = {position: make(photographs / "hr.lmdb", recipe=recipe)[position]["lq"] for position in positions}
    for workers in (0, 2):
        loader = DataLoader(dataset, batch_size=2, sampler=positions, num_workers=workers)
        together = torch.cat([batch["lq"] for batch in loader])
        assert all(torch.equal(lq, alone[position]) for lq, position in zip(together, positions))
    assert not torch.equal(alone[0], alone[3]), "another epoch, another patch"
    assert not torch.equal(alone[0], make(photographs / "hr.lmdb", recipe=recipe, seed=6)[0]["lq"])


@pytest.mark.parametrize("root", ["hr", "hr.lmdb"])
def test_validation_is_always_the_same_and_as_the_command_writes_it(photographs, root, tmp_path):
    degrade(photographs / "hr", tmp_path / "lq", "realesrgan", 2, seed=5)
    dataset = make(photographs / root, recipe="realesrgan", phase="val")
    for index in range(3):
        item = dataset[index]
        assert torch.equal(item["lq"], dataset[index]["lq"])
        name = Path(item["gt_path"]).stem
        file = cv2.imread(str(next((tmp_path / "lq").rglob(f"{name}.png"))))
        lq = (item["lq"] * 255).round().byte().permute(1, 2, 0).numpy()[..., ::-1]
        np.testing.assert_array_equal(lq, file)
        assert item["gt"].shape == (3, 2 * lq.shape[0], 2 * lq.shape[1])


def test_y_is_matlabs_on_8_bits_and_grey_files_are_as_they_are(photographs):
    item = make(photographs / "hr", color="y", recipe="jpeg:30", scale=1, phase="val")[0]
    expected = bgr2ycbcr(cv2.imread(item["gt_path"]), y_only=True)
    np.testing.assert_array_equal((item["gt"][0].numpy() * 255).round(), expected)
    data = cv2.imencode(".jpg", expected, [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    np.testing.assert_array_equal((item["lq"][0].numpy() * 255).round(), cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))
    grey = make(photographs / "grey", color="y", recipe="noise:15", scale=1, phase="val")[0]
    np.testing.assert_array_equal((grey["gt"][0].numpy() * 255).round(), picture(48, 48)[..., 0])
    coloured = make(photographs / "grey", recipe="noise:15", scale=1, phase="val")[0]
    assert coloured["gt"].shape == (3, 48, 48)


def test_mean_and_std_are_of_both(photographs):
    plain = make(photographs / "hr", phase="val")[0]
    normal = make(photographs / "hr", phase="val", mean=[0.5, 0.4, 0.3], std=[0.5, 1.0, 2.0])[0]
    for key in ("gt", "lq"):
        expected = (plain[key] - torch.tensor([0.5, 0.4, 0.3])[:, None, None]) / torch.tensor([0.5, 1, 2])[
            :, None, None
        ]
        torch.testing.assert_close(normal[key], expected)


def test_what_cannot_work_is_named(photographs):
    with pytest.raises(RecipeError, match="did you mean 'photo'"):
        make(photographs / "hr", recipe="fhoto")
    with pytest.raises(ItemError, match=r"a\.png: is smaller than gt_size 80"):
        make(photographs / "hr", gt_size=80)[0]
