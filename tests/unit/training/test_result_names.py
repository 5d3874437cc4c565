"""Images that share a name are saved under names of their own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from hat_arch.training.result_names import NamedApart, shared_names


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["d/a.png", "d/b.png"], {}),
        (["d/a.png", "d/a.bmp", "d/b.png"], {"d/a.png": "a.png.png", "d/a.bmp": "a.bmp.png"}),
        (["d/a.png", "d/e/a.png"], {"d/a.png": "a.png.png", "d/e/a.png": "e_a.png.png"}),
        (["x/a", "y/a"], {"x/a": "x_a.png", "y/a": "y_a.png"}),
    ],
)
def test_names(paths, names):
    assert shared_names(SimpleNamespace(paths=paths)) == names
    pairs = [{"gt_path": "gt", "lq_path": path} for path in paths]
    assert shared_names(SimpleNamespace(paths=pairs)) == names


def test_another_data_set_keeps_its_names():
    assert shared_names(SimpleNamespace()) == {}


def test_batches_have_both_paths():
    loader = type("Loader", (list,), {"dataset": None})([{"lq_path": ["d/a.png"], "lq": 1}])
    apart = NamedApart(loader, {"d/a.png": "a.png.png"})
    assert len(apart) == 1 and list(apart) == [{"lq_path": ["a.png.png"], "read_from": ["d/a.png"], "lq": 1}]
