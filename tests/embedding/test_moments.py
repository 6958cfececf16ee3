"""Moments and principal components: against NumPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from convscope.embedding.moments import Components, Moments, moments_of
from convscope.errors import ParameterError


@given(cuts=st.lists(st.integers(1, 39), max_size=6), seed=st.integers(0, 1000), far=st.sampled_from([0.0, 1e4]))
def test_parts_add_up_to_the_whole(cuts: list[int], seed: int, far: float) -> None:
    points = np.random.default_rng(seed).normal(size=(40, 5)) + far
    parts = [part for part in np.split(points, sorted(set(cuts))) if len(part)]
    found = moments_of(parts)
    centered = points - points.mean(axis=0)
    assert found.n == 40
    np.testing.assert_allclose(found.mean, points.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.tril(found.scatter), np.tril(centered.T @ centered), atol=1e-6)


def test_the_order_of_parts_does_not_matter() -> None:
    a, b = (Moments.of(np.random.default_rng(i).normal(size=(9, 4))) for i in (1, 2))
    np.testing.assert_allclose(np.tril((a + b).scatter), np.tril((b + a).scatter), atol=1e-12)


@pytest.mark.parametrize("block", [3, 1000, 5000])
def test_equal_to_a_full_decomposition(block: int) -> None:
    rng = np.random.default_rng(0)
    points = (rng.normal(size=(3000, 30)) * np.linspace(5, 0.1, 30) + 50).astype(np.float32)
    blocks = (points[first : first + block] for first in range(0, len(points), block))
    found = Components.of(moments_of(blocks))
    oracle = PCA(svd_solver="full").fit(points.astype(np.float64))
    np.testing.assert_allclose(found.ratios, oracle.explained_variance_ratio_, atol=1e-9)
    np.testing.assert_allclose(found.variances, oracle.explained_variance_, rtol=1e-9)
    signs = np.sign((found.axes * oracle.components_).sum(axis=1))
    np.testing.assert_allclose(found.axes, oracle.components_ * signs[:, None], atol=1e-6)
    assert (found.axes[np.arange(30), np.abs(found.axes).argmax(axis=1)] > 0).all()


def test_coordinates_far_from_the_origin() -> None:
    points = np.random.default_rng(0).normal(size=(300, 20)) * 0.01 + 1e4
    components = Components.of(moments_of([points]))
    expected = (points - points.mean(axis=0)) @ components.axes[:3].T
    np.testing.assert_allclose(components.transform(points, 3), expected, atol=1e-7)


def test_no_vectors_or_one() -> None:
    with pytest.raises(ParameterError, match="0 vector"):
        moments_of([])
    with pytest.raises(ParameterError, match="1 vector"):
        Components.of(moments_of([np.ones((1, 3))]))
