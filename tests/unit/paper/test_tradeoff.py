"""``basicsr paper figure tradeoff``."""

from __future__ import annotations

from dataclasses import replace

import cv2
import pytest
from tiny import TINY_HAT

from hat_arch import cli
from hat_arch.paper import networks, tradeoff
from hat_arch.paper.published import look_up


def test_points_are_the_papers_numbers():
    found = {(p.name, p.pretrained): p for p in tradeoff.points("Urban100", 4)}
    table = look_up("main_table/x4")
    for (name, pretrained), point in found.items():
        assert point.psnr == table[f"{name}_dagger" if pretrained else name][3][0]
        assert point.milliseconds is None
    assert found["HAT", False].multi_adds == pytest.approx(103.88, abs=0.005)
    assert found["HAT", True].parameters == found["HAT", False].parameters
    assert found["SAN", False].parameters == 15.9
    assert found["SAN", False].multi_adds is None
    assert ("NLSN", False) not in found  # its parameters are in no source
    assert ("HAT-L", False) not in found


def test_latency_is_measured_once_for_each_network(monkeypatch):
    measured = []
    monkeypatch.setattr(tradeoff, "latency", lambda options: measured.append(options) or 1000.0)
    found = tradeoff.points("Set5", 4, with_latency=True)
    names = ("EDSR", "RCAN", "RRDBNet", "SwinIR", "HAT-S", "HAT", "HAT-L")
    assert measured == [networks.network_options(name) for name in names]
    assert all((point.milliseconds is None) == (point.multi_adds is None) for point in found)


def test_latency_is_a_time():
    assert 0 < tradeoff.latency(TINY_HAT) < 10_000


@pytest.mark.parametrize("dataset", ["Urban100", "Set5"])
def test_names_do_not_overlap(dataset, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(tradeoff, "save", lambda fig, file: drawn.append(fig))
    times = {"HAT": 1500, "HAT-S": 750}
    found = [replace(point, milliseconds=times.get(point.name)) for point in tradeoff.points(dataset, 4)]
    tradeoff.draw_tradeoff(found, dataset, 4, tmp_path / "x.png")
    (fig,) = drawn
    fig.draw_without_rendering()
    assert len(fig.axes) == 3
    assert {t.get_text() for t in fig.axes[0].texts} == {p.name + "†" * p.pretrained for p in found}
    for ax in fig.axes:
        boxes = [t.get_window_extent() for t in ax.texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
        assert all(ax.bbox.xmin < b.xmin and b.xmax < ax.bbox.xmax for b in boxes)


def test_tradeoff_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["paper", "figure", "tradeoff", "--out", "t.png"]) == 0
    assert capsys.readouterr().out == "t.png\n"
    assert cv2.imread("t.png") is not None
