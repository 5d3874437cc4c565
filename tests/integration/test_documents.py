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
from hat_arch.config import shipped_options

DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("*/README.md")), *sorted(ROOT.glob("*/*/README.md"))]
BLOCKS = [
    (document.relative_to(ROOT).as_posix(), kind, text)
    for document in DOCUMENTS
    for kind, text in re.findall(r"^```(\w*)\n(.*?)^```", document.read_text(encoding="utf-8"), re.M | re.S)
]
COMMANDS = [
    (document, command.strip())
    for document, _, text in BLOCKS
    for line in text.replace("\\\n", " ").splitlines()
    for command in re.findall(r"(?:^|-m )(?:basicsr|hat_arch) (.*)", line)
]
PYTHON = [text for document, kind, text in BLOCKS if (document, kind) == ("README.md", "python")]
YAML = [text for document, kind, text in BLOCKS if (document, kind) == ("README.md", "yaml")]


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
    assert len(PYTHON) == 3 and len(YAML) > 0


def test_the_readmes_network_of_your_own_is_a_plugin(tmp_path):
    (block,) = [text for text in PYTHON if "ARCH_REGISTRY" in text]
    (tmp_path / "my_arch.py").write_text(block)
    plugins.load_local([str(tmp_path / "my_arch.py")])
    assert isinstance(ARCH_REGISTRY.get("MyNet")(), torch.nn.Module)


def test_the_readmes_yaml_is_a_network(tmp_path):
    for number, block in enumerate(YAML):
        file = tmp_path / f"{number}.yml"
        file.write_text(f"scale: 4\n{block}")
        assert config.read_network(file)[0]["type"]


def test_the_readmes_upscaler_runs(tmp_path, monkeypatch, model_inside):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((10, 12, 4), 90, np.uint8), "RGBA").save("photo.png")
    Path("photo.png").rename("photo.jpg")  # Pillow looks at the content
    (block,) = [text for text in PYTHON if "photo.jpg" in text]
    names: dict[str, Any] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert (names["large"].size, names["large"].mode) == ((48, 40), "RGB")
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


def test_the_readmes_hat_in_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"params_ema": HAT(**PRESETS["HAT"]).state_dict()}, "HAT_SRx4.pth")
    (block,) = [text for text in PYTHON if "HAT_SRx4.pth" in text]
    names = {"lr": torch.rand(1, 3, 5, 7)}
    with torch.no_grad():
        exec(compile(block, "README.md", "exec"), names)
    assert names["sr"].shape == (1, 3, 20, 28)
