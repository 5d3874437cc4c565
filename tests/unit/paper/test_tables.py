"""Tables: only verified numbers are the papers', and every format shows all of them."""

from __future__ import annotations

import csv
import importlib
import io
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from basicsr.utils.registry import ARCH_REGISTRY

from hat_arch.paper import ablation_report, evaluation, facts, networks, render, tables

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

    tree = yaml.safe_load(facts.FILE.read_text(encoding="utf-8"))
    for _, (node, key), known in list(numbers(tree)):
        node[key] = VERIFIED if known else UNVERIFIED
    with monkeypatch.context() as context:
        context.setattr(facts, "facts", lambda: tree)
        facts.published.cache_clear()
        yield importlib.reload(tables)
    facts.published.cache_clear()
    importlib.reload(tables)


def every_format(table: Any, results: evaluation.Results) -> dict[str, str]:
    found = render.blocks(table, results, table.scales)
    return {
        "terminal": render.text(table, found),
        "markdown": render.markdown(table, results, found),
        "csv": render.csv_cells(table, results, table.scales),
        "latex": render.latex(table, found),
        "html": render.html_page(table, results, found),
    }


def test_no_unverified_number_is_printed_as_the_papers(marked: Any) -> None:
    printed = {name: every_format(table, evaluation.Results()) for name, table in marked.TABLES.items()}
    for name, formats in printed.items():
        for kind, content in formats.items():
            assert "987.6" not in content, (name, kind)
            assert ("123.4" in content) == (name not in ("overlap", "cab_weight", "cab_size", "channel_attention") or
                                            (name == "channel_attention" and kind in ("markdown", "html")))  # fmt: skip


def test_unverified_numbers_are_known_by_their_place() -> None:
    unverified = {"/".join(path) for path, _, known in numbers(facts.facts()) if not known}
    for path in (
        "ablations/cab_weight_alpha/values/0.01",
        "ablations/overlap_ratio_gamma/values/0.5",
        "ablations/cab_size_beta/rows/1/psnr",
        "ablations/channel_attention/with_CA/psnr",
        "ablations/depth_width/rows/SwinIR-L1/psnr",
        "ablations/ocab_cab/params_multi_adds/both/params_M",
    ):
        assert path in unverified and facts.look_up(path) is None
    assert facts.look_up("ablations/depth_width/rows/HAT/psnr") == 27.97
    assert facts.look_up("ablations/channel_attention/gain_dB/value") == 0.05
    assert facts.look_up("main_table/x4/HAT")[0] == [33.04, 0.9056]
    assert facts.look_up("main_table/x4/no such") is None


def test_a_section_is_as_verified_as_the_nearest_word_says() -> None:
    inner = {
        "kept": 1,
        "unverified": 2,
        "section": {"verified": False, "dropped": 3, "deeper": {"verified": True, "kept": 4}},
    }
    expected = {"kept": 1, "section": {"deeper": {"kept": 4}}}
    assert facts._verified({"verified": True, **inner}, False) == expected
    assert facts._verified({"verified": "partial", **inner}, True) == {"section": expected["section"]}


def test_the_main_table_is_the_papers_to_the_last_digit() -> None:
    table = tables.TABLES["main"]
    lines = render.markdown(table, evaluation.Results(), render.blocks(table, evaluation.Results(), (4,))).splitlines()
    assert (
        "| HAT | paper | 33.04 / 0.9056 | 29.23 / 0.7973 | 28.00 / 0.7517 | 27.97 / 0.8368 | 32.48 / 0.9292 |" in lines
    )
    assert "| IPT† | paper | 32.64 / – | 29.01 / – | 27.82 / – | 27.26 / – | |" in lines
    for scale in table.scales:
        for key, cells in facts.facts()["main_table"][f"x{scale}"].items():
            row = next(row for row in table.rows if row.label == key.replace("_dagger", "†"))
            paper = table.paper(row, scale)
            assert [[paper.get(s, {}).get(m) for m in ("psnr", "ssim")] for s in table.sets] == cells


def results_of(table: Any, scale: int) -> evaluation.Results:
    """Ours, a little beside the paper's."""
    row = table.rows[-1]
    paper = {name: dict.fromkeys(table.metrics, 30.0) for name in table.sets} | table.paper(row, scale)
    ours = {name: {m: value - 0.0123 for m, value in scores.items()} for name, scores in paper.items()}
    return evaluation.Results(cells={(scale, row.label): ours, (scale, "mine_&_1"): ours})


class Cells(HTMLParser):
    """Texts of the rows of tables; complains of tags that are not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("meta", "html"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "html":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.mark.parametrize("name", tables.TABLES)
def test_all_formats_tell_the_same(name: str) -> None:
    table = tables.TABLES[name]
    formats = every_format(table, results_of(table, 4))
    by_csv = [
        [row["row"], *(render._number(float(row[kind]), row["metric"], kind == "difference") for kind in render.KINDS
                       if row[kind])]
        for row in csv.DictReader(io.StringIO(formats["csv"]))
    ]  # fmt: skip
    page = Cells()
    page.feed(formats["html"])
    assert not page.open and "http" not in re.sub("https?://[^<]*</li>", "", formats["html"])
    for shown, split in (
        (formats["markdown"], r"[|/ ]+"),
        (formats["latex"].replace("$-$", "-"), r"[& \\]+"),
        (" ".join(cell for row in page.rows for cell in row), " "),
    ):
        words = re.split(split, shown.replace("\n", " "))
        for label, *values in by_csv:
            assert set(values) <= set(words), (label, values)
    sets = len(render.blocks(table, results_of(table, 4), (4,))[0].sets)
    assert {len(row) for row in page.rows} == {2 + sets, 2 + sets * len(table.metrics)}
    assert r"mine\_\&\_1" in formats["latex"] and "mine_&amp;_1" in formats["html"]


def test_latex_has_as_many_cells_as_columns() -> None:
    for table in tables.TABLES.values():
        content = render.latex(table, render.blocks(table, results_of(table, 4), (4,)))
        assert content.isascii()
        for tabular in content.split(r"\begin{tabular}")[1:]:
            columns = len(re.match(r"\{(\w+)\}", tabular)[1])  # type: ignore[index]
            rows = [line for line in tabular.splitlines() if line.endswith(r"\\")]
            assert rows
            for line in rows:
                spans = [int(n) for n in re.findall(r"\\multicolumn\{(\d)\}", line)]
                assert len(re.findall(r"(?<!\\)&", line)) + 1 + sum(spans) - len(spans) == columns


def test_difference_is_of_what_both_have() -> None:
    ours = {"Set5": {"psnr": 33.0, "ssim": 0.9}, "Set14": {"psnr": 29.0}, "BSD100": {"psnr": 28.0}}
    paper = {"Set5": {"psnr": 33.5}, "Set14": {"ssim": 0.7}}
    assert render.difference(ours, paper) == {"Set5": {"psnr": -0.5}}
    assert [render._number(v, "psnr", True) for v in (0.004, -0.004, -0.006, 0.25)] == [
        "0.00",
        "0.00",
        "-0.01",
        "+0.25",
    ]


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
                    assert networks.scale_of(row.options(scale)) == scale and row.network["type"] in ARCH_REGISTRY
                assert row.network or not row.weights(scale), row.label


def test_studies_agree_with_their_reports() -> None:
    for name in ("window", "ocab_cab", "overlap", "cab_weight", "cab_size", "channel_attention"):
        table = tables.TABLES[name]
        papers = {row.label: table.paper(row, 4) for row in table.rows}
        assert {label: scores for label, scores in papers.items() if scores} == ablation_report.paper_scores(name)
