"""The book: it is built without a warning, what is generated in it is current, and all links lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import ROOT

import hat_arch
from hat_arch.config import schema

slugs = pytest.importorskip("pymdownx.slugs", reason="needs the extra docs")
SLUG = slugs.slugify(case="lower")
LINK = re.compile(r"\]\(<?([^)\s>]+)>?\)|<(?:img|a)[^>]* (?:src|href)=\"([^\"]+)\"")
CODE = re.compile(r"^ *(```|~~~).*?^ *\1|`[^`\n]*`", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("http://", "https://", "mailto:")
NOT_OURS = {"site", "build", "results", "tb_logger", "wandb"}


def documents() -> Iterator[Path]:
    """All Markdown files of the repository; not those of environments, caches and runs."""
    for folder, folders, files in os.walk(ROOT):
        there = Path(folder)
        hidden = {name for name in folders if name.startswith(".") and name != ".github"}
        unknown = {"datasets": {*folders}, "experiments": {*folders} - {"benchmarks", "models", "paper"}}
        of_runs = unknown.get(there.name, set()) if there.parent == ROOT else NOT_OURS if there == ROOT else set()
        folders[:] = sorted({*folders} - hidden - of_runs)
        yield from (there / file for file in sorted(files) if file.endswith(".md"))


@cache
def anchors(document: Path) -> set[str]:
    """What a link may name behind #."""
    text = document.read_text(encoding="utf-8")
    found = set(re.findall(r'<a (?:id|name)="([^"]+)"', text))
    headings = re.findall(r"^#{1,6} (.*?)#*$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.MULTILINE)
    return found | {SLUG(re.sub(r"\[(.*?)\]\(.*?\)|[`*]", r"\1", heading), "-") for heading in headings}


@pytest.mark.parametrize("document", [*documents()], ids=lambda file: file.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_anchors_that_are_there(document):
    dead = []
    for link in LINK.finditer(CODE.sub("", document.read_text(encoding="utf-8"))):
        target = link[1] or link[2]
        if target.startswith(ELSEWHERE):
            continue
        path, _, anchor = target.partition("#")
        file = (document.parent / path).resolve() if path else document
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)
    assert dead == []


def test_the_book_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    run = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert run.returncode == 0, run.stdout + run.stderr
    pages = {file: file.read_text(encoding="utf-8") for file in (tmp_path / "site").rglob("*.html")}
    assert len(pages) > 10
    for text in pages.values():
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]* src=\"?([^\" >]+)", text)
        loaded += re.findall(r"<link[^>]* rel=\"?(?:stylesheet|icon|preconnect|preload)[^>]*", text)
        assert not [one for one in loaded if "//" in one]
    assert (tmp_path / "site/upscale.ipynb").is_file() and (tmp_path / "site/search/search_index.json").is_file()
    assert list(
        (tmp_path / "site/repository").rglob("hat-light-x4/index.html")
    )  # a model's card, which a page links to


def test_the_python_on_the_page_about_engines_runs(tmp_path, monkeypatch, capsys):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    images = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["b", 3, "h", "w"]) for name in ("image", "sr")
    ]
    scales = onnx.numpy_helper.from_array(np.array([1, 1, 4, 4], np.float32), "scales")
    node = onnx.helper.make_node("Resize", ["image", "", "scales"], ["sr"], mode="nearest")
    graph = onnx.helper.make_graph([node], "nearest", images[:1], images[1:], [scales])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    onnx.helper.set_model_props(model, {"hat_arch": '{"scale": 4}'})
    onnx.save(model, "hat-light-x4.onnx")
    Image.new("RGB", (12, 8), "teal").save("photo.jpg")
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/engines.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(block, "docs/engines.md", "exec"), {})
    assert Image.open("large.png").size == (48, 32)
    assert '"scale": 4' in capsys.readouterr().out


def test_the_reference_is_current():
    import reference

    for file, text in reference.pages().items():
        assert file.read_text(encoding="utf-8") == text, "run: python docs/tools/reference.py"


def test_the_drawings_are_current():
    import drawings

    for file, text in drawings.pictures().items():
        assert file.read_text(encoding="utf-8") == text, "run: python docs/tools/drawings.py"


def test_names_in_the_drawings_and_in_how_it_works_are_the_codes():
    network = hat_arch.HAT(depths=(2,), num_heads=(2,), embed_dim=12, squeeze_factor=4, window_size=4)
    there = {part for name in network.state_dict() for part in name.split(".")} | {*dir(network)}
    drawn = "conv_first norm conv_after_body conv_before_upsample upsample conv_last residual_group blocks overlap_attn"
    drawn += " norm1 attn conv_block norm2 mlp qkv proj forward_features reconstruct"
    svg = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "docs").glob("how_*.svg"))
    assert {*drawn.split()} <= there and all(name in svg for name in drawn.split())
    text = (ROOT / "docs/how_it_works.md").read_text(encoding="utf-8")
    for path in re.findall(r"`((?:hat_arch|unit|integration)/[\w/]+\.py)`", text):
        assert (ROOT / ("" if path.startswith("hat_arch") else "tests") / path).is_file()


def test_every_key_of_the_schema_is_described_and_its_version_known():
    import options_page

    described = options_page.docstrings()
    for name, section, _ in options_page.SECTIONS:
        owners = [cls.__name__ for cls in section.__mro__]
        for key in section.model_fields:
            assert any((owner, key) in described for owner in owners), f"{name}: {key} has no docstring"
    sections = {name: section.model_fields.keys() for name, section, _ in options_page.SECTIONS}
    for version, ours in schema.SINCE.items():
        assert re.fullmatch(r"\d+\.\d+\.\d+", version) and all(keys <= sections[name] for name, keys in ours.items())


def test_keys_that_are_said_to_be_basicsrs_are_in_its_source():
    import basicsr
    import options_page

    source = "".join(file.read_text(encoding="utf-8") for file in Path(basicsr.__file__).parent.rglob("*.py"))
    passed_on = {"backend", "port"}  # to init_dist, by their names
    for name, section, _ in options_page.SECTIONS:
        for key in section.model_fields:
            if options_page.since(name, key) == "BasicSR" and key not in passed_on:
                assert re.search(rf"['\"]{key}['\"]", source), f"{name}: {key}"


def test_types_in_words():
    import options_page

    fields = {"a": schema.Train.model_fields["total_iter"], "b": schema.Val.model_fields["tile"]}
    assert options_page.type_of(fields["a"]) == "whole number from 1"
    assert options_page.type_of(fields["b"]) == "`whole`, `auto` or integer from 1"


def test_a_verb_in_the_command_reference():
    import argparse

    import commands_page

    parser = argparse.ArgumentParser(prog="basicsr")
    verbs = parser.add_subparsers(metavar="VERB")
    verb = verbs.add_parser("enlarge", help="make larger", description="Makes <b> larger.")
    verb.add_argument("image", metavar="IMAGE")
    verb.add_argument("--scale", type=int, default=4, choices=(2, 4), help="by how much")
    verb.add_argument("--secret", help=argparse.SUPPRESS)
    (text,) = commands_page.sections(parser, 1)
    assert text == (
        "## `basicsr enlarge`\n\nMakes \\<b\\> larger.\n\n```text\nbasicsr enlarge IMAGE [options]\n```\n\n"
        "- `IMAGE`\n- `--scale 2|4`: by how much; default: 4\n"
    )
