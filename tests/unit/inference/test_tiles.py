"""Where tiles lie and how they are weighted, for any size."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hat_arch.inference.tiles import Span, plan, weights

PLANS = {
    "size": st.integers(1, 700),
    "tile": st.integers(1, 300),
    "overlap": st.integers(0, 200),
    "multiple": st.sampled_from([1, 2, 8, 16]),
}


@given(**PLANS)
def test_tiles_cover_the_side_equally_on_the_grid(size, tile, overlap, multiple):
    spans = plan(size, tile, overlap, multiple)
    if len(spans) == 1:
        assert spans == [Span(0, size)] and size <= max(multiple, -(-tile // multiple) * multiple)
        return
    starts, stops = zip(*spans)
    assert len({stop - start for start, stop in spans}) == 1
    assert starts[0] == 0 and size <= stops[-1] < size + multiple
    assert all(position % multiple == 0 for position in (*starts, *stops))
    assert stops[0] <= max(tile, multiple)
    asked = min(-(-overlap // multiple) * multiple, max(1, tile // multiple) // 2 * multiple)
    shared = [before.stop - after.start for before, after in pairwise(spans)]
    assert min(shared) >= asked
    assert max(shared) - min(shared) <= multiple
    assert all(start < size for start in starts)


@given(**PLANS)
def test_no_plan_with_as_many_tiles_has_smaller_ones_and_none_with_fewer_fits(size, tile, overlap, multiple):
    spans = plan(size, tile, overlap, multiple)
    if len(spans) == 1:
        return
    units, side, count = -(-size // multiple), spans[0].stop // multiple, len(spans)
    shared = min(-(-overlap // multiple), max(1, tile // multiple) // 2)
    assert count * (side - 1) - (count - 1) * shared < units  # covered by
    assert (count - 1) * max(1, tile // multiple) - (count - 2) * shared < units


@pytest.mark.parametrize("blend", [True, False])
@given(**PLANS, scale=st.integers(1, 4))
def test_weights_sum_to_one_everywhere(blend, size, tile, overlap, multiple, scale):
    spans = plan(size, tile, overlap, multiple)
    total = torch.zeros(spans[-1].stop * scale)
    for span, weight in zip(spans, weights(spans, scale, blend)):
        assert weight.shape == ((span.stop - span.start) * scale,)
        assert weight.min() >= -1e-6 and weight.max() <= 1
        if not blend:
            assert set(weight.tolist()) <= {0.0, 1.0}
        total[span.start * scale : span.stop * scale] += weight
    torch.testing.assert_close(total, torch.ones_like(total), rtol=0, atol=1e-6)


def test_weights_pass_smoothly_and_leave_out_what_lacks_context():
    spans = plan(100, 60, 20)
    assert spans == [Span(0, 60), Span(40, 100)]
    first, second = weights(spans, 2, blend=True)
    assert first[:90].eq(1).all() and first[110:].eq(0).all()
    assert second[:10].eq(0).all() and second[30:].eq(1).all()
    torch.testing.assert_close(first, second.flip(0))
    steps = -first[80:120].diff()
    assert steps.min() >= 0 and steps.max() < 0.08
    first, second = weights(spans, 2, blend=False)
    assert first.tolist() == [1] * 100 + [0] * 20 and second.tolist() == [0] * 20 + [1] * 100
