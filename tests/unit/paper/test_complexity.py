"""Counts of parameters and multi-adds: against a closed form, published counts, and what is printed."""

from __future__ import annotations

import csv

import pytest

from hat_arch import cli
from hat_arch.archs import window_attention
from hat_arch.paper import complexity
from hat_arch.paper.networks import HAT, NETWORKS, STUDIES, network_options
from hat_arch.paper.published import look_up

TINY = {**HAT, "depths": [2], "num_heads": [3], "embed_dim": 36, "squeeze_factor": 6, "img_size": 32}


def closed_form(o: dict, size: int) -> int:
    """Multi-adds of HAT, or SwinIR, written out."""
    c, w, s, t = o["embed_dim"], o["window_size"], o["upscale"], size**2
    hidden = int(c * o["mlp_ratio"])
    token = 3 * c * c + c * c + 2 * c * hidden  # q, k, v; output; MLP
    is_hat = o["type"] == "HAT"
    cab = 0
    if is_hat and o.get("use_cab", True):
        cab = 2 * 9 * c * (c // o["compress_ratio"]) * t
        if o.get("use_channel_attention", True):
            cab += 2 * c * (c // o["squeeze_factor"])  # of one pooled pixel
    hab = t * (token + 2 * w * w * c) + cab
    ocab = 0
    if is_hat and o.get("use_ocab", True):
        ocab = t * (token + 2 * (w + int(w * o["overlap_ratio"])) ** 2 * c)
    groups = sum(depth * hab + ocab + 9 * c * c * t for depth in o["depths"])
    ends = t * (27 * c + 9 * c * c + 9 * c * 64 + 27 * 64 * s * s)
    shuffles = [t] if s == 3 else [t * 4**step for step in range({2: 1, 4: 2}[s])]  # pixels of each convolution
    return groups + ends + sum(9 * 64 * (9 if s == 3 else 4) * 64 * pixels for pixels in shuffles)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    "changes", [c for study in STUDIES.values() for c in study.variants.values()], ids=lambda c: str(c) if c else "HAT"
)
def test_every_variant_equals_the_closed_form(changes, scale):
    options = {**TINY, **changes, "upscale": scale}
    assert complexity.count(options, 32).multi_adds == closed_form(options, 32)


def test_heads_are_not_counted_with_their_padding():
    """The number of heads changes no product's size, though it changes to what width the heads are filled up."""
    counts = {complexity.count({**TINY, "num_heads": [heads]}, 32).multi_adds for heads in (1, 2, 3, 4, 6, 9)}
    assert len(counts) == 1
    assert window_attention.HEAD_DIM_MULTIPLE == 8  # as it was


def test_an_image_that_does_not_fill_windows_costs_what_it_is_filled_up_to():
    assert complexity.count(TINY, 17) == complexity.count(TINY, 32)


@pytest.mark.parametrize(
    ("name", "parameters", "multi_adds"),
    [("HAT-S", 9.62, 54.62), ("HAT", 20.77, 103.88), ("HAT-L", 40.85, 202.99), ("SwinIR", 11.90, 53.56)],
)
def test_stated_values(name, parameters, multi_adds):
    cost = complexity.count(NETWORKS[name])
    assert (round(cost.parameters / 1e6, 2), round(cost.multi_adds / 1e9, 2)) == (parameters, multi_adds)


@pytest.mark.parametrize(
    ("name", "scale"), [("HAT", 4), ("HAT-S", 4), ("HAT-L", 4), ("SwinIR", 4), ("RCAN", 4), ("HAT-S", 2), ("HAT-S", 3)]
)
def test_parameters_equal_the_published_counts(name, scale):
    published = look_up(f"complexity/exact_params/x{scale}/{name}")
    assert complexity.count(network_options(name, scale)).parameters == published


def test_every_printed_number_has_its_row():
    for name, scale in (*complexity.PRINTED, ("EDSR", 4), ("RCAN", 4)):
        group = [name] if name in NETWORKS else ["window"]
        (row,) = [r for r in complexity.costs(group, [scale]) if r.name == name]
        assert row.cost is not None
        assert row.printed_parameters == pytest.approx(row.cost.parameters / 1e6, abs=0.1)
        if (name, scale) in complexity.PRINTED:
            assert row.printed_multi_adds == pytest.approx(row.cost.multi_adds / 1e9, abs=1.5)


def test_printed_multi_adds_stand_only_beside_their_own_size():
    (row,) = complexity.costs(["SwinIR"], [4], size=32)
    assert row.printed_multi_adds is None
    assert row.printed_parameters == 11.9


def test_a_network_that_a_scale_does_not_have_is_left_empty(capsys):
    assert cli.main(["paper", "complexity", "--networks", "RRDBNet", "--scale", "3", "4"]) == 0
    out = capsys.readouterr().out
    assert "does not make: RRDBNet ×3." in out
    assert "73.43" in out


def test_files_hold_what_is_shown(tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    assert cli.main(["paper", "complexity", "--networks", "SwinIR", "HAT-S", "--scale", "4", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    lines = list(csv.DictReader((out / "complexity.csv").read_text().splitlines()))
    text = (out / "complexity.md").read_text()
    assert [line["name"] for line in lines] == ["SwinIR", "HAT-S"]
    for line in lines:
        assert int(line["multi_adds"]) == closed_form(NETWORKS[line["name"]], 64)
        number = f"{int(line['multi_adds']) / 1e9:.2f}"
        assert number in shown.split() and number in text.split()
    assert "`basicsr paper complexity --size 64 --scale 4 --networks SwinIR HAT-S`" in text
    assert sorted(p.name for p in out.iterdir()) == ["complexity.csv", "complexity.md"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--networks", "HATT"], "--networks HATT: unknown"),
        (["--size", "20000"], "--size 20000: must be 16384 at most"),
    ],
)
def test_mistakes_get_a_line(arguments, message, capsys):
    assert cli.main(["paper", "complexity", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"basicsr: {message}")


def test_the_footnote_explains_hat(capsys):
    notes = complexity.footnotes(complexity.costs(["HAT"], [4]))
    assert complexity.FOOTNOTE in notes
    assert complexity.FOOTNOTE not in complexity.footnotes(complexity.costs(["SwinIR"], [4]))
