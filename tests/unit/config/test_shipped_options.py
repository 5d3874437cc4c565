"""Option files by name: what `basicsr options` lists and copies, and what `-opt NAME` finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from hat_arch import cli
from hat_arch.config import reading, shipped_options
from hat_arch.utils.errors import UserError

FILE = "train_HAT_SRx4.yml"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "name", ["train_HAT_SRx4", FILE, "options/train_HAT_SRx4.yml", "ablation_HAT_cab_weight_0.1_SRx2"]
)
def test_found_by_name_where_there_is_no_such_file(name):
    found = shipped_options.find(name)
    assert found.is_file() and found == shipped_options.named(name)
    assert reading.read(Path(name)) == reading.read(found)


def test_a_file_that_is_there_comes_first():
    Path(FILE).write_text("name: mine\n")
    assert reading.read(shipped_options.find(FILE))[0] == {"name": "mine"}


def test_an_unknown_name_has_near_ones(capsys):
    assert shipped_options.find("none.yml") == Path("none.yml")
    with pytest.raises(UserError, match=r"train_HAT_SRX4: .*train_HAT_SRx4"):
        shipped_options.named("train_HAT_SRX4")
    assert cli.main(["train", "-opt", "train_HAT_SRX4"]) == 2
    error = capsys.readouterr().err
    assert "did you mean train_HAT_SRx4" in error and error.count("\n") == 1


def test_training_says_which_file_it_has_found(capsys):
    assert cli.main(["train", "-opt", "train_HAT_SRx4"]) == 2  # there are no data
    said = capsys.readouterr()
    assert said.out == f"option file: {shipped_options.named(FILE)}\n" and "docs/data.md" in said.err
    assert not any(Path.cwd().iterdir())


def test_list_has_a_line_for_each_file(capsys):
    assert cli.main(["options"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == list(shipped_options.PURPOSES)
    words = {line.split()[0]: line.split()[1:] for line in lines if line.startswith(" ")}
    assert words.keys() == shipped_options.files().keys()
    assert words["train_RCAN_SRx3"] == ["x3", "RCAN", "DF2K,", "500,000", "iterations"]
    assert words["test_HAT_SRx4_no_gt"] == ["x4", "HAT", "mine"]


@pytest.mark.parametrize(
    ("name", "purpose"),
    [
        ("train_HAT_SRx4", "Train from scratch"),
        ("train_HAT-L_SRx2_ImageNet", "Pre-train on ImageNet"),
        ("train_HAT_SRx4_finetune_from_ImageNet", "Fine-tune"),
        ("train_HAT_SRx4_finetune_from_SRx2", "Fine-tune"),
        ("test_HAT_SRx4_ImageNet", "Test"),
        ("ablation_HAT_multi_task_SRx4_ImageNet", "Ablations"),
        ("test_EDSR_SRx2", "Other networks"),
        ("train_HAT_demo_SRx4_finetune", "Fine-tune"),
        ("train_hat_light_x4", "Models in the package"),
    ],
)
def test_purposes(name, purpose):
    assert shipped_options.summary(shipped_options.named(name)).purpose == purpose


def test_copy_does_not_overwrite_unless_forced(capsys):
    assert cli.main(["options", "copy", "train_HAT_SRx4"]) == 0
    content = shipped_options.named(FILE).read_bytes()
    assert Path(FILE).read_bytes() == content
    Path(FILE).write_text("mine")
    assert cli.main(["options", "copy", FILE]) == 2
    assert FILE in (error := capsys.readouterr().err) and "--force" in error and error.count("\n") == 1
    assert Path(FILE).read_text() == "mine"
    assert cli.main(["options", "copy", FILE, "--force"]) == 0
    assert Path(FILE).read_bytes() == content


def test_a_copy_of_another_name_is_another_run(capsys):
    assert cli.main(["options", "copy", "train_HAT_SRx4", "mine.yml"]) == 0
    assert capsys.readouterr().out == "mine.yml\n"
    copied, original = reading.read(Path("mine.yml"))[0], reading.read(shipped_options.named(FILE))[0]
    assert copied == {**original, "name": "mine"}
    for name in ("2024", "on", "a: b", "\\1"):
        assert cli.main(["options", "copy", "train_HAT_SRx4", f"{name}.yml"]) == 0
        assert reading.read(Path(f"{name}.yml"))[0]["name"] == name
    capsys.readouterr()
    assert cli.main(["options", "copy", "train_HAT_SRx4", "mine"]) == 2
    assert "mine: an option file's name is to end in .yml" in capsys.readouterr().err and not Path("mine").exists()
