"""The ground truth of benchmarks is found in every layout that is published, and nothing else is taken for it."""

from __future__ import annotations

import numpy as np
import pytest

from hat_arch.data import prepare
from hat_arch.data.benchmark_folders import ground_truth, set_folder
from hat_arch.data.benchmark_sets import BENCHMARK_SETS
from hat_arch.data.images import DataError, encode

SET5 = BENCHMARK_SETS[0]
NAMES = ["baby", "bird", "butterfly", "head", "woman"]
GT, LR, LR4 = np.zeros((24, 228, 3), np.uint8), np.zeros((12, 114, 3), np.uint8), np.zeros((6, 57, 3), np.uint8)


def put(root, pattern, image, names=NAMES):
    """A file for each name; ``{}`` stands for it."""
    for name in names:
        file = root / pattern.format(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(image))


LAYOUTS = {
    "flat": ["{}.png"],
    "EDSR": ["HR/{}.png", "LR_bicubic/X4/{}x4.png"],
    "BasicSR": ["GTmod12/{}.png", "original/{}.png", "LRbicx4/{}.png"],
    "BasicSR, cropped alone": ["GTmod12/{}.png", "LRbicx4/{}.png"],
    "SelfExSR": ["image_SRF_4/{}_SRF_4_HR.png", "image_SRF_4/{}_SRF_4_LR.png", "image_SRF_4/{}_SRF_4_SRCNN.png"],
    "by scale": ["HR/x4/{}.png", "LR/x4/{}.png"],
    "scale first": ["x4/HR/{}.png", "x4/LR/{}.png"],
    "scale and HR": ["x4HR/{}.png", "x4LR/{}.png"],
    "marked": ["{}_HR_x4.png", "{}_LRBI_x4.png"],
    "the set again": ["HR/Set5/x4/{}_HR_x4.png", "LR/LRBI/Set5/x4/{}_LRBI_x4.png"],
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_published_layouts(layout, tmp_path):
    for pattern in layout:
        is_gt = not any(mark in pattern for mark in ("LR", "SRCNN"))
        put(tmp_path / "Set5", pattern, GT if is_gt else LR4)
    found = ground_truth(tmp_path / "Set5", SET5, 4)
    assert sorted(found.images.values()) == NAMES
    assert not any("LR" in file.name or "SRCNN" in file.name for file in found.images)
    outcome = prepare.benchmarks(tmp_path, tmp_path / "out", [4])["Set5"]
    assert (outcome.written, outcome.bad) == (10, [])
    assert sorted(path.stem for path in (tmp_path / "out/Set5/LRbicx4").glob("*.png")) == NAMES
    again = prepare.benchmarks(tmp_path, tmp_path / "out", [4])["Set5"]
    assert (again.written, again.there_already) == (0, 10)


def test_a_set_may_lie_below_hr(tmp_path):
    put(tmp_path / "HR/Set5", "x4/{}_HR_x4.png", GT)
    assert set_folder(tmp_path, SET5) == tmp_path / "HR/Set5"
    assert set_folder(tmp_path, BENCHMARK_SETS[1]) is None
    (tmp_path / "b100_hr").mkdir()
    assert set_folder(tmp_path, BENCHMARK_SETS[2]) == tmp_path / "b100_hr"


def test_whole_images_come_before_those_cropped_for_the_scale_and_for_others(tmp_path):
    taken = []
    for folder in ("GTmod12", "image_SRF_2", "GTmod4", "original"):
        put(tmp_path, folder + "/{}.png", GT)
        taken.append(ground_truth(tmp_path, SET5, 4).folder.name)
    assert taken == ["GTmod12", "image_SRF_2", "GTmod4", "original"]


@pytest.mark.parametrize(
    "patterns,image,names,complaint",
    [
        (["{}.png"], GT, NAMES[:4], "has 4 images; Set5 has 5"),
        (["{}.png", "{}x2.png"], GT, NAMES, "has 10 images; Set5 has 5"),
        (["image_SRF_4/{}_HR.png"], GT, NAMES[:2], "image_SRF_4: has 2 images; Set5 has 5"),
        (["HR/{}.png"], LR, NAMES, r"HR: holds an image of 12x114; those of Set5 are longer than 200 \(is this LR"),
        (["LRbicx4/{}.png"], GT, NAMES, "holds no ground truth; expected are the 5 images in it or in HR, "),
        (["image_SRF_2/{}.png"], GT, NAMES, "multiples of 2; for scale 3 put the whole images into .*HR"),
    ],
)
def test_what_is_not_the_set_is_refused_and_other_sets_are_made(patterns, image, names, complaint, tmp_path):
    for pattern in patterns:
        put(tmp_path / "Set5", pattern, image, names)
    with pytest.raises(DataError, match=complaint):
        ground_truth(tmp_path / "Set5", SET5, 3)
    put(tmp_path / "Set14", "HR/{}.png", GT, range(14))
    outcomes = prepare.benchmarks(tmp_path, tmp_path / "out", [3])
    assert len(outcomes["Set5"].bad) == 1 and not (tmp_path / "out/Set5").exists()
    assert outcomes["Set14"].written == 28
