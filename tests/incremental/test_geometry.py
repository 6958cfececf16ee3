"""Which places hang together: against a look at every single one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from convscope.incremental.geometry import OUTSIDE, Repeating, Sliding, fit


@st.composite
def slidings(draw: st.DrawFn) -> Sliding:
    n_in, kernel, stride = draw(st.integers(1, 20)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    dilation, before = draw(st.integers(1, 3)), draw(st.integers(-2, 5))
    border = draw(st.sampled_from([0.0, -np.inf, "reflect", "replicate", "circular"]))
    if isinstance(border, str):
        kernel, stride, dilation = 1, 1, 1  # such borders come as paddings of their own
        before = max(0, min(before, n_in - 1))
    after = draw(st.integers(0, 4)) if border != "reflect" else draw(st.integers(0, min(4, n_in - 1)))
    n_out = (n_in + before + after - (kernel - 1) * dilation - 1) // stride + 1
    assume(n_out >= 1)
    return Sliding(n_in, n_out, kernel, stride, before, dilation, border)


def sources(axis: Sliding, out: int) -> set[int]:
    """The inputs that an output is made of, one by one."""
    places = [out * axis.stride - axis.before + j * axis.dilation for j in range(axis.kernel)]
    if axis.border == "circular":
        return {p % axis.n_in for p in places}
    if axis.border == "replicate":
        return {min(max(p, 0), axis.n_in - 1) for p in places}
    if axis.border == "reflect":
        return {abs(p) if abs(p) < axis.n_in else 2 * (axis.n_in - 1) - abs(p) for p in places}
    return {p for p in places if 0 <= p < axis.n_in}


@given(slidings(), st.data())
def test_every_output_that_uses_a_changed_input_is_in_the_stretch(axis: Sliding, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, axis.n_in - 1))
    end = data.draw(st.integers(start, axis.n_in))
    (first,), (last,) = axis.changed(np.array([start]), np.array([end]))
    changed = [o for o in range(axis.n_out) if sources(axis, o) & set(range(start, end))]
    if not changed:
        return
    assert 0 <= first <= changed[0]
    assert changed[-1] < last <= axis.n_out
    if axis.dilation == 1 and axis.kernel >= axis.stride:  # no holes: not a place too many
        assert (first, last) == (changed[0], changed[-1] + 1)


@given(slidings(), st.data())
def test_what_is_needed_are_the_sources_of_all_outputs(axis: Sliding, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, axis.n_out - 1))
    size = data.draw(st.integers(1, axis.n_out - start))
    (first,), n = axis.needed(np.array([start]), size)
    places = axis.source(np.arange(first, first + n))
    for o in range(start, start + size):
        local = [(o - start) * axis.stride + j * axis.dilation for j in range(axis.kernel)]
        assert set(places[local].tolist()) - {OUTSIDE} == sources(axis, o)
    assert n == max(local) + 1


@given(st.integers(1, 9), st.integers(1, 4), st.data())
def test_repeated_places(n_in: int, factor: int, data: st.DataObject) -> None:
    axis = Repeating(n_in, factor)
    start = data.draw(st.integers(0, n_in - 1))
    end = data.draw(st.integers(start + 1, n_in))
    (first,), (last,) = axis.changed(np.array([start]), np.array([end]))
    assert [o for o in range(axis.n_out) if start <= o // factor < end] == list(range(first, last))
    assert axis.needed(np.array([first]), last - first) == (start, end - start)


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 20)), min_size=1), st.sampled_from([1, 2, 4]))
def test_fitted_stretches_are_of_one_size_and_cover(pairs: list[tuple[int, int]], step: int) -> None:
    stretches = np.array(pairs) // step * step
    start, size = fit(stretches[:, 0], stretches[:, 1], 20, step)
    full = stretches[:, 1] > stretches[:, 0]
    assert (start >= 0).all()
    assert (start + size <= 20).all()
    assert (start[full] <= stretches[full, 0]).all()
    assert (start[full] + size >= stretches[full, 1]).all()
    assert size == max(step, (stretches[:, 1] - stretches[:, 0]).max())
    assert (start % step == 0).all()
    assert size % step == 0


@pytest.mark.parametrize(
    ("axis", "is_trivial"),
    [
        (Sliding(5, 5), True),
        (Sliding(5, 5, kernel=3, before=1), False),
        (Sliding(5, 3, stride=2), False),
        (Sliding(5, 4), False),
    ],
)
def test_what_leaves_every_place_where_it_is(axis: Sliding, is_trivial: bool) -> None:
    assert axis.is_trivial == is_trivial
