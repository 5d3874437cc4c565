"""The option files that come with the project."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from tiny import ROOT

from hat_arch import config

OPTIONS = ROOT / "options"
FILES = sorted(OPTIONS.glob("*.yml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_option_file_passes_its_own_check(file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    absent: list[Path] = []
    # without memory and random numbers for the weights; SwinIR computes with numbers while it is built
    with nullcontext() if "SwinIR" in file.stem else torch.device("meta"):
        opt = config.load(file, is_train=not file.stem.startswith("test"), absent=absent)
    assert opt["name"] == file.stem
    if found := re.search(r"SRx(\d)", file.stem):
        assert opt["scale"] == int(found[1])
    assert absent and {path.parts[0] for path in absent} <= {"datasets", "experiments"}


def test_readme_lists_every_file():
    listed = (OPTIONS / "README.md").read_text(encoding="utf-8")
    for file in (*OPTIONS.glob("train_*.yml"), *OPTIONS.glob("test_*.yml")):
        pattern = re.sub(r"_[\w-]+?_SRx\d", "_NET_SRxS", file.stem, count=1)
        names = {file.stem, pattern, pattern.replace("SRxS", f"SRx{file.stem.partition('SRx')[2][0]}", 1)}
        assert any(f"`{name}.yml`" in listed for name in names), file.stem


def test_missing_data_says_which_folder_and_how_to_start_without(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(config.ConfigError) as error:
        config.load(OPTIONS / "train_HAT_SRx4.yml", is_train=True)
    text = str(error.value)
    assert "datasets.train.dataroot_gt: no LMDB store 'datasets/DF2K/DF2K_HR_sub.lmdb'" in text
    assert str(tmp_path) in text and "datasets/README.md" in text and "make demo" in text
    assert list(tmp_path.iterdir()) == []
