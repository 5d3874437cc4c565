"""Tables: only verified numbers are the papers', and every format shows all of them."""

from __future__ import annotations

import argparse
import csv
import html
import importlib
import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from basicsr.utils.registry import ARCH_REGISTRY
from tiny import ROOT

from hat_arch.cli.paper import attribution as attribution_verb
from hat_arch.cli.paper import table as table_verb
from hat_arch.cli.paper.options import ARCH
from hat_arch.paper import attribution, evaluation, networks, published, table_formats, tables

UNVERIFIED, VERIFIED = 987.65, 123.45
Path = tuple[str, ...]


def numbers(node: Any, path: Path = (), known: bool = False) -> Iterator[tuple[Path, Any, bool]]:
    """Containers of numbers in tables.yml: container, key, and whether it is verified."""
    if isinstance(node, dict):
        known = node["verified"] is True if "verified" in node else known
        items: Any = node.items()
    elif isinstance(node, list):
        items = enumerate(node)
    else:
        return
    for key, value in items:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield (*path, str(key)), (node, key), known and "unverified" not in path
        else:
            yield from numbers(value, (*path, str(key)), known)


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`tables` with every number of tables.yml replaced: by `VERIFIED`, or `UNVERIFIED`."""
    import yaml

    tree = yaml.safe_load(published.FILE.read_text(encoding="utf-8"))
    for _, (node, key), known in list(numbers(tree)):
        node[key] = VERIFIED if known else UNVERIFIED
    with monkeypatch.context() as context:
        context.setattr(published, "paper_data", lambda: tree)
        published.verified.cache_clear()
        yield importlib.reload(tables)
    published.verified.cache_clear()
    importlib.reload(tables)


def every_format(table: Any, results: evaluation.Results) -> dict[str, str]:
    files = table_formats.files(table, results, table.scales)
    return {"terminal": table_formats.text(table, results, table.scales), **files}


def test_no_unverified_number_is_printed_as_the_papers(marked: Any) -> None:
    for name, table in marked.TABLES.items():
        for file, content in every_format(table, evaluation.Results()).items():
            assert "987.6" not in content, file
            if name not in ("overlap", "cab_weight", "cab_size", "channel_attention"):
                assert ("123.4" in content) == (not file.endswith("_images.csv")), file


def test_unverified_numbers_are_known_by_their_place() -> None:
    unverified = {"/".join(path) for path, _, known in numbers(published.paper_data()) if not known}
    for path in (
        "ablations/cab_weight_alpha/values/0.01",
        "ablations/overlap_ratio_gamma/values/0.5",
        "ablations/cab_size_beta/rows/1/psnr",
        "ablations/channel_attention/with_CA/psnr",
        "ablations/depth_width/rows/SwinIR-L1/psnr",
        "ablations/ocab_cab/params_multi_adds/both/params_M",
    ):
        assert path in unverified and published.look_up(path) is None
    assert published.look_up("ablations/depth_width/rows/HAT/psnr") == 27.97
    assert published.look_up("ablations/channel_attention/gain_dB/value") == 0.05
    assert published.look_up("main_table/x4/HAT")[0] == [33.04, 0.9056]
    assert published.look_up("main_table/x4/no such") is None


def test_a_section_is_as_verified_as_the_nearest_word_says() -> None:
    inner = {
        "kept": 1,
        "unverified": 2,
        "section": {"verified": False, "dropped": 3, "deeper": {"verified": True, "kept": 4}},
    }
    expected = {"kept": 1, "section": {"deeper": {"kept": 4}}}
    assert published._verified({"verified": True, **inner}, False) == expected
    assert published._verified({"verified": "partial", **inner}, True) == {"section": expected["section"]}


def test_the_main_table_is_the_papers_to_the_last_digit() -> None:
    table = tables.TABLES["main"]
    markdown = table_formats.markdown(table, evaluation.Results(), (4,))
    lines = [re.sub(" +", " ", line) for line in markdown.splitlines()]
    hat = "33.04 / 0.9056 | 29.23 / 0.7973 | 28.00 / 0.7517 | 27.97 / 0.8368 | 32.48 / 0.9292"
    assert f"| HAT | paper | {hat} |" in lines
    assert "| IPT† | paper | 32.64 / – | 29.01 / – | 27.82 / – | 27.26 / – | |" in lines
    for scale in table.scales:
        for key, cells in published.paper_data()["main_table"][f"x{scale}"].items():
            row = next(row for row in table.rows if row.label == key.replace("_dagger", "†"))
            paper = table.paper(row, scale)
            assert [[paper.get(s, {}).get(m) for m in ("psnr", "ssim")] for s in table.sets] == cells


@pytest.mark.parametrize(
    ("name", "row", "level", "cells"),
    [
        ("gray_denoise", "SwinIR", 25, {"Set12": {"psnr": 31.01}, "BSD68": {"psnr": 29.5}, "Urban100": {"psnr": 31.3}}),
        ("gray_denoise", "HAT", 50, {}),
        ("jpeg", "DRUNet", 40, {"LIVE1": {"psnr": 34.58, "ssim": 0.9312, "psnrb": 33.93}}),
        ("jpeg", "HAT-light", 10, {}),
    ],
)
def test_tables_of_restoration_have_a_cell_for_each_level(name: str, row: str, level: int, cells: Any) -> None:
    table = tables.TABLES[name]
    found = table.paper(next(one for one in table.rows if one.label == row), level)
    assert {one: found[one] for one in cells} == cells and bool(found) == bool(cells)
    assert table.protocol(level).title in (f"σ = {level}", f"q = {level}") and table.protocol(level).scale == 1


def test_what_the_text_says_of_hat_is_a_note_and_what_was_derived_is_not_printed() -> None:
    text = table_formats.markdown(tables.TABLES["gray_denoise"], evaluation.Results(), (50,))
    assert "+0.64 dB on Urban100" in text and "28.62" not in text
    assert re.search(r"\| HAT +\| paper +\|( +\|)+\n", text)


def results_of(table: Any, scale: int) -> evaluation.Results:
    """Ours, a little beside the paper's."""
    row = table.rows[-1]
    paper = {name: dict.fromkeys(table.metrics, 30.0) for name in table.sets} | table.paper(row, scale)
    ours = {name: {m: value - 0.0123 for m, value in scores.items()} for name, scores in paper.items()}
    return evaluation.Results(cells={(scale, row.label): ours, (scale, "mine_&_1"): ours})


@pytest.mark.parametrize("name", tables.TABLES)
def test_all_formats_tell_the_same(name: str) -> None:
    table = tables.TABLES[name]
    formats = every_format(table, results_of(table, table.scales[-1]))
    for row in csv.DictReader(io.StringIO(formats[f"{name}.csv"])):
        for kind in ("paper", "ours", "difference"):
            if row[kind]:
                number = table_formats.number(float(row[kind]), row["metric"], kind == "difference")
                for file in ("terminal", f"{name}.md", f"{name}.tex", f"{name}.html"):
                    assert number in re.split(r"[|/& \\<>\n]+", formats[file].replace("$-$", "-")), (file, row)
    assert r"mine\_\&\_1" in formats[f"{name}.tex"] and "mine_&amp;_1" in formats[f"{name}.html"]
    assert formats[f"{name}.tex"].isascii()
    assert not re.search("(src|href)=", formats[f"{name}.html"]) and "<table>" in formats[f"{name}.html"]
    if note := next(iter(table.notes), None):
        assert note in formats[f"{name}.md"] and html.escape(note, quote=False) in formats[f"{name}.html"]


def test_difference_is_of_what_both_have() -> None:
    ours = {"Set5": {"psnr": 33.0, "ssim": 0.9}, "Set14": {"psnr": 29.0}, "BSD100": {"psnr": 28.0}}
    paper = {"Set5": {"psnr": 33.5}, "Set14": {"ssim": 0.7}}
    assert table_formats.Comparison("a", paper, ours, True).difference == {"Set5": {"psnr": -0.5}}
    shown = [table_formats.number(value, "psnr", signed=True) for value in (0.004, -0.004, -0.006, 0.25)]
    assert shown == ["0.00", "0.00", "-0.01", "+0.25"]


def test_rows_name_networks_and_weights() -> None:
    row = next(row for row in tables.TABLES["main"].rows if row.label == "HAT†")
    assert [str(path) for path in row.weights(3)] == [
        "experiments/pretrained_models/HAT_SRx3_ImageNet-pretrain.pth",
        "experiments/train_HAT_SRx3_finetune_from_ImageNet/models/net_g_latest.pth",
    ]
    for table in tables.TABLES.values():
        for row in table.rows:
            for scale in table.scales:
                if row.network:
                    by = table.protocol(scale).scale
                    assert networks.scale_of(row.options(by)) == by and row.network["type"] in ARCH_REGISTRY
                assert row.network or not row.weights(scale), row.label
            for run in (run for runs in row.runs.values() for run in runs):
                assert [*(ROOT / "options").rglob(f"{run}.yml")], run


def test_the_parsers_literal_lists_are_those_of_the_library() -> None:
    verbs = argparse.ArgumentParser().add_subparsers()
    for module in (table_verb, attribution_verb):
        module.add_parser(verbs)
    texts = {verb: " ".join(parser.format_help().split()) for verb, parser in verbs.choices.items()}
    assert ", ".join(tables.TABLES) in texts["table"]
    assert ", ".join(networks.NETWORKS) in ARCH
    assert f"compute {attribution.QUICK} of the gradients" in texts["attribution"]
    assert verbs.choices["attribution"].get_default("steps") == attribution.STEPS
