"""What the documents tell to type can be typed: their commands are parsed, their Python and YAML are run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.utils.registry import ARCH_REGISTRY
from PIL import Image
from tiny import ROOT

from hat_arch import HAT, cli, config
from hat_arch.archs.presets import PRESETS
from hat_arch.compat import plugins
from hat_arch.config import reading, shipped_options

BOOK = sorted(ROOT.glob("docs/**/*.md"))
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md")), *sorted(ROOT.glob("*/*/README.md")), *BOOK]
BLOCKS = [
    (document.relative_to(ROOT).as_posix(), kind, text)
    for document in DOCUMENTS
    for kind, text in re.findall(r"^```(\w*)\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S)
]
COMMANDS = [
    (document, command.strip())
    for document, kind, text in BLOCKS
    if kind != "text"  # which shows what is printed
    for line in text.replace("\\\n", " ").splitlines()
    for command in re.findall(r"(?:^|\| |-m )(?:basicsr|hat_arch) (.*)", line)
]
MINE = ("README.md", "docs/upscale.md", "docs/networks.md")
PYTHON = [(document, text) for document, kind, text in BLOCKS if kind == "python" and document in MINE]
YAML = [text for document, kind, text in BLOCKS if (document, kind) == ("docs/networks.md", "yaml")]
CHANGES = [text for document, kind, text in BLOCKS if (document, kind) == ("docs/own_pictures.md", "yaml")]


def python_of(document, word):
    """The one block of a document that has a word."""
    (block,) = [text for name, text in PYTHON if name == document and word in text]
    return block


@pytest.mark.parametrize(
    ("document", "command"), COMMANDS, ids=[f"{document}: {words}" for document, words in COMMANDS]
)
def test_commands_are_what_the_program_takes(document, command):
    words = shlex.split(command, comments=True)
    args = cli.build_parser().parse_args(words)
    if getattr(args, "opt", None) and args.opt.startswith("options/"):
        assert (ROOT / args.opt).is_file()


def test_files_named_by_the_help_are_there_after_any_install(capsys):
    for words in ([], ["data", "check"], ["train"]):
        with pytest.raises(SystemExit):
            cli.main([*words, "--help"])
        assert "make " not in capsys.readouterr().out
    assert shipped_options.named("train_HAT_demo_SRx4").is_file()


def test_each_python_block_has_its_test():
    assert len(PYTHON) == 4 and len(YAML) == len(CHANGES) == 1
    elsewhere = {document for document, kind, _ in BLOCKS if kind == "python"} - set(MINE)
    assert not any(document.endswith("README.md") for document in elsewhere)


def test_the_readme_is_the_first_two_minutes():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count("\n") <= 150 and "make demo " in text and "make test " in text
    assert {path.name for path in ROOT.glob("docs/*.md")} <= set(re.findall(r"docs/(\w+\.md)", text)) | {"index.md"}


def test_the_readmes_figures_are_those_of_the_cards():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if row.startswith("| [hat-light")]
    assert len(rows) == 6
    for row in rows:
        card = ROOT / re.findall(r"\(([\w/.-]+\.md)\)", row)[0]
        results = card.read_text(encoding="utf-8").partition("<!-- results -->")[2].partition("<!-- /results -->")[0]
        model, other = re.findall(r"(\d\d\.\d\d)", row)
        of_held_out = {"degraded": "held_out_degraded", "quality 10)": "held_out_q10", "held-out": "held_out"}
        name = next((name for words, name in of_held_out.items() if words in row), "Set5")
        (line,) = [line for line in results.splitlines() if line.startswith(f"| {name} ")]
        cells = [cell.split(" / ")[0].strip() for cell in line.strip("|").split("|")[2:]]
        assert (cells[-1], cells[0]) == (model, other)


def test_the_books_network_of_your_own_is_a_plugin(tmp_path):
    (tmp_path / "my_arch.py").write_text(python_of("docs/networks.md", "ARCH_REGISTRY"))
    plugins.load_local([str(tmp_path / "my_arch.py")])
    assert isinstance(ARCH_REGISTRY.get("MyNet")(), torch.nn.Module)


def test_the_books_yaml_is_a_network(tmp_path):
    for number, block in enumerate(YAML):
        file = tmp_path / f"{number}.yml"
        file.write_text(f"scale: 4\n{block}")
        assert config.read_network(file)[0]["type"]


def test_the_books_changes_of_an_option_file_are_taken(tmp_path):
    """The walk from photographs to a model: its lines, in a copy of the option file that it names."""

    def change(options, changes):
        for key, value in changes.items():
            if isinstance(value, dict):
                change(options[key], value)
            else:
                options[key] = value

    (tmp_path / "changes.yml").write_text(CHANGES[0])
    changes = reading.read(tmp_path / "changes.yml")[0]
    absent: list[Path] = []
    options = config.load(
        "train_hat_light_photo_x4", True, absent=absent, change=lambda options: change(options, changes)
    )
    assert {str(path) for path in absent} == {changes["datasets"][phase]["dataroot_gt"] for phase in ("train", "val")}
    assert options["val"]["val_first"] and options["train"]["total_iter"] == changes["train"]["total_iter"]


@pytest.mark.parametrize(("document", "word"), [("docs/upscale.md", "photo.jpg"), ("README.md", "photo.jpg")])
def test_the_books_upscaler_runs(document, word, tmp_path, monkeypatch, model_inside):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((10, 12, 4), 90, np.uint8), "RGBA").save("photo.png")
    Path("photo.png").rename("photo.jpg")  # Pillow looks at the content
    names: dict[str, Any] = {}
    exec(compile(python_of(document, word), document, "exec"), names)
    assert (names["large"].size, names["large"].mode) == ((48, 40), "RGB")
    if document == "README.md":
        return
    assert (names["array"].shape, names["array"].dtype) == ((96, 128, 3), np.uint8)
    assert names["tensor"].shape == (1, 3, 96, 128)


NOTEBOOKS = sorted(ROOT.glob("docs/*.ipynb"))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda file: file.name)
def test_notebooks_run(notebook, tmp_path, monkeypatch, model_inside, capsys):
    """Their cells, one after the other in one namespace, as Jupyter runs them."""
    monkeypatch.chdir(tmp_path)
    content = json.loads(notebook.read_text(encoding="utf-8"))
    cells = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert content["nbformat"] == 4 and len(cells) > 3
    names: dict[str, Any] = {}
    for cell in cells:
        assert not cell["outputs"], "is committed without outputs"
        exec(compile("".join(cell["source"]), f"{notebook.name}, {cell['id']}", "exec"), names)
    assert names["large"].size == names["photo"].size and names["tensor"].shape == (1, 3, 96, 128)
    assert (names["array"] == np.asarray(names["large"])).all()
    detail = [np.asarray(view.crop(names["box"]), float) for view in names["views"]]
    assert all(1 < abs(one - detail[2]).mean() < 20 for one in detail[:2])  # like the original, and not it
    assert "parameters" in capsys.readouterr().out


def test_the_books_hat_in_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"params_ema": HAT(**PRESETS["HAT"]).state_dict()}, "HAT_SRx4.pth")
    names = {"lr": torch.rand(1, 3, 5, 7)}
    with torch.no_grad():
        exec(compile(python_of("docs/networks.md", "HAT_SRx4.pth"), "docs/networks.md", "exec"), names)
    assert names["sr"].shape == (1, 3, 20, 28)
