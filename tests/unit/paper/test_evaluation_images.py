"""Images that networks are measured on: found by the usual names, read and reduced as the papers do."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from hat_arch.data.benchmark_sets import BENCHMARK_SETS
from hat_arch.degradations.resize import imresize
from hat_arch.paper.evaluation_images import find_images, read_hr, read_images


def write(folder: Path, names: object, side: int = 8) -> None:
    folder.mkdir(parents=True)
    for n, name in enumerate(names):  # type: ignore[call-overload]
        cv2.imwrite(str(folder / f"{name}.png"), np.full((side, side), n, np.uint8))


def test_hr_and_lr_are_the_papers(image: Path) -> None:
    gt, lr = read_hr(image, 4)
    whole = cv2.imread(str(image))
    np.testing.assert_array_equal(gt, whole[:40, :48])
    np.testing.assert_array_equal(lr, imresize(whole[:40, :48], 0.25, convention="uint8"))
    demonstration = Image.open(image).crop((0, 0, 48, 40)).resize((12, 10), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(read_hr(image, 4, "pil")[1][..., ::-1], np.asarray(demonstration))


def test_a_grey_image_has_three_equal_channels(tmp_path: Path) -> None:
    file = tmp_path / "grey.png"
    cv2.imwrite(str(file), np.arange(256, dtype=np.uint8).reshape(16, 16))
    gt, lr = read_hr(file, 4)
    assert gt.shape == (16, 16, 3)
    assert (lr == lr[..., :1]).all()


@pytest.mark.parametrize("benchmark", BENCHMARK_SETS, ids=lambda benchmark: benchmark.name)
def test_sets_are_found_by_all_their_names(benchmark: object, tmp_path: Path) -> None:
    for n, name in enumerate(sorted(benchmark.folder_names)):  # type: ignore[attr-defined]
        root = tmp_path / str(n)
        write(root / name.upper() / "original", map("{:03}".format, range(benchmark.images)))  # type: ignore[attr-defined]
        assert [files.name for files in find_images(root, benchmark.name, 4)][:2] == ["000", "001"]  # type: ignore[attr-defined]


def test_cropped_images_and_their_lr_come_first(tmp_path: Path) -> None:
    for part, side in (("HR", 9), ("GTmod4", 8), ("LRbicx4", 2)):
        write(tmp_path / "Set5" / part, "abcde", side)
    found = find_images(tmp_path, "Set5", 4)
    assert {files.gt.parent.name for files in found} == {"GTmod4"}
    assert [image.shape for image in read_images(found[0], 4)] == [(8, 8, 3), (2, 2, 3)]
    assert {(files.gt.parent.name, files.lr) for files in find_images(tmp_path, "Set5", 2)} == {("HR", None)}
