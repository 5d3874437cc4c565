"""``basicsr data degrade``: each file by itself, the hierarchy kept, and the contact sheet."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from hat_arch.data.degrade import degrade
from hat_arch.data.images import DataError, ImageError
from hat_arch.data.stand_ins import picture
from hat_arch.degradations import recipe_named
from hat_arch.degradations.contact_sheet import draw_contact_sheet
from hat_arch.degradations.recipe import Step


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for n, name in enumerate(("a", "sub/b", "sub/deep/c")):
        file = tmp_path / f"src/{name}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), np.roll(picture(41, 50 + n), 5 * n, 1))
    cv2.imwrite(str(tmp_path / "src/grey.png"), picture(32, 32)[..., 0])
    return tmp_path / "src"


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}


@pytest.mark.parametrize("spec", ["photo", "realesrgan", "bsrgan", "noise:25", "jpeg:10-40"])
def test_a_file_is_degraded_in_the_same_way_whatever_is_beside_it(spec, source, tmp_path):
    assert degrade(source, tmp_path / "all", spec, 2, seed=3).written == 4
    made = files(tmp_path / "all")
    assert made.keys() == files(source).keys(), "folders in folders are kept"
    (source / "a.png").unlink()
    degrade(source, tmp_path / "fewer", spec, 2, seed=3)
    fewer = files(tmp_path / "fewer")
    assert fewer == {name: data for name, data in made.items() if name != "a.png"}
    degrade(source / "grey.png", tmp_path / "one.png", spec, 2, seed=3)
    degrade(source / "grey.png", tmp_path / "folder", spec, 2, seed=3)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "folder/grey.png").read_bytes() == made["grey.png"]
    degrade(source, tmp_path / "other", spec, 2, seed=4)
    other = files(tmp_path / "other")
    assert any(other[name] != fewer[name] for name in fewer)


def test_sizes_are_the_cropped_images_divided_by_the_scale_and_grey_stays_grey(source, tmp_path):
    degrade(source, tmp_path / "out", "realesrgan", 4)
    sizes = {
        name: cv2.imdecode(np.frombuffer(data, np.uint8), -1).shape for name, data in files(tmp_path / "out").items()
    }
    assert sizes == {"a.png": (10, 12, 3), "sub/b.png": (10, 12, 3), "sub/deep/c.png": (10, 13, 3), "grey.png": (8, 8)}


def test_noise_is_clipped_and_rounded_into_the_file(source, tmp_path):
    degrade(source / "grey.png", tmp_path / "a.png", "noise:100", 1)
    pixels = cv2.imread(str(tmp_path / "a.png"), -1)
    assert pixels.dtype == np.uint8 and (pixels == 0).any() and (pixels == 255).any()


def test_it_can_be_repeated_and_nothing_else_is_overwritten(source, tmp_path):
    degrade(source, tmp_path / "out", "photo", 2)
    again = degrade(source, tmp_path / "out", "photo", 2)
    assert (again.written, again.there_already) == (0, 4)
    with pytest.raises(DataError, match="seed 0"):
        degrade(source, tmp_path / "out", "photo", 2, seed=1)
    assert degrade(source, tmp_path / "out", "photo", 2, seed=1, overwrite=True).written == 4
    assert degrade(source / "a.png", tmp_path / "a.png", "photo", 2).written == 1
    assert degrade(source / "a.png", tmp_path / "a.png", "photo", 2).there_already == 1
    with pytest.raises(DataError, match="--overwrite"):
        degrade(source / "a.png", tmp_path / "a.png", "bicubic", 1)
    assert degrade(source / "a.png", tmp_path / "a.png", "bicubic", 1, overwrite=True).written == 1


def test_what_cannot_be_used_is_named(source, tmp_path):
    (source / "bad.png").write_bytes(b"no image")
    outcome = degrade(source, tmp_path / "out", "photo", 2, contact_sheet=tmp_path / "sheet.png")
    assert outcome.written == 4 and len(outcome.bad) == 1 and "bad.png" in outcome.bad[0]
    assert (tmp_path / "sheet.png").exists()
    with pytest.raises(ImageError, match=r"grey\.png: is 32x32, smaller than 40x40"):
        degrade(source / "grey.png", tmp_path / "o.png", "photo", 40)
    with pytest.raises(DataError, match="the image itself"):
        degrade(source / "a.png", source / "a.png", "photo", 1, overwrite=True)
    with pytest.raises(DataError, match="no such"):
        degrade(source / "gone", tmp_path / "o", "photo", 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_contact_sheet_shows_every_step(channels, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    titles, shown = [], []
    monkeypatch.setattr(Axes, "set_title", lambda self, text, **_: titles.append(" ".join(text.split())))
    monkeypatch.setattr(Axes, "imshow", lambda self, image, **_: shown.append(image.shape))
    gt = picture(400, 480).transpose(2, 0, 1)[:channels].astype(np.float32) / 255
    import torch

    steps = list(recipe_named("realesrgan", 2).steps(torch.from_numpy(gt), np.random.default_rng(0)))
    draw_contact_sheet(steps, "a $ b", tmp_path / "sheet.png")
    assert len(titles) == len(steps) and (tmp_path / "sheet.png").stat().st_size > 1000
    for number, (title, shape, step) in enumerate(zip(titles, shown, steps), 1):
        assert title.startswith(f"{number}. {step.label}") and title.endswith("x".join(map(str, step.image.shape[1:])))
        share = step.image.shape[2] / 240 * 96
        assert shape[2] == 3 and abs(shape[1] - share) <= 1 and abs(shape[0] - step.image.shape[1] * 96 / 240) <= 1


def test_a_step_is_shown_in_whatever_range_it_is(tmp_path):
    import torch

    draw_contact_sheet([Step("far", torch.full((1, 1, 1), 7.0))], "x", tmp_path / "a.png")
    assert (tmp_path / "a.png").exists()
