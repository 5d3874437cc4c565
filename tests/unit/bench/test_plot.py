"""What the pictures draw."""

from __future__ import annotations

import pytest

from hat_arch.bench import plot


def test_speedups_are_over_runs_side_by_side():
    seconds = {"peer": {"runs": [2.0, 4.0, 6.0]}, "ours": {"runs": [1.0, 1.0, 6.0]}}
    assert plot.speedups(seconds, "peer") == {"ours": (2, 1, 4)}


def test_bars_hold_values_spreads_and_marks():
    _, (axes,) = plot.figure("title")
    plot.bars(axes, {"a": (2, 1, 4), "b": (1234.5, 1234.5, 1234.5)}, "label", {"a": 3, "b": None})
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b"]
    assert [patch.get_width() for patch in axes.patches] == [2, 1234.5]
    assert [text.get_text() for text in axes.texts] == ["2", "1,234"]
    assert len(axes.containers) == 2, "bars, and one range"
    marks = [line for line in axes.lines if line.get_color() == plot.BAR]
    assert [list(line.get_xdata()) for line in marks] == [[3, 3]]
    assert axes.get_xlim()[1] > 1234.5 and axes.get_ylim()[0] > axes.get_ylim()[1], "the first is on top"


def test_picture_is_written_whole(tmp_path):
    figure, _ = plot.figure("title")
    plot.save(figure, tmp_path / "p.png")
    assert [path.name for path in tmp_path.iterdir()] == ["p.png"]
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(Exception, match="cannot be written"):
        plot.save(figure, tmp_path / "p.png" / "q.png")
