"""Neighbors of other labels are marked, many are cut, and the caption says which scores are nearer."""

from __future__ import annotations

import dataclasses
from typing import get_args

import numpy as np
import pytest

from convscope.checks import HIGHER_IS_NEARER, Metric
from convscope.embedding.nearest import nearest
from convscope.render import figure, neighbor_rows
from convscope.store import Block

from .results import neighbors


def test_only_a_known_other_label_is_wrong() -> None:
    assert [[one.is_wrong for one in row] for row in neighbor_rows(neighbors())] == [[False, True], [False, False]]
    assert not any(one.is_wrong for row in neighbor_rows(neighbors(())) for one in row)


@pytest.mark.parametrize("n", [None, range(30)])
def test_a_picture_of_many_neighbors_is_bounded_and_says_so(n: range | None) -> None:
    rng = np.random.default_rng(0)
    many = dataclasses.replace(
        neighbors(()),
        indices=rng.integers(0, 3, (40, 500)),
        scores=rng.random((40, 500)),
        query_names=tuple(f"q{i}" for i in range(40)),
        thumbnails=neighbors().thumbnails[:1],  # as of those that are kept
    )
    drawn = figure(many, n=n)
    assert max(drawn.get_size_inches()) < 25
    caption = " ".join(drawn.get_supxlabel().split())
    assert "The nearest 12 of 500 neighbors are shown." in caption
    assert ("first 8 of 40 queries" if n is None else "first 12 of 30 queries") in caption
    assert len(drawn.axes[0].texts) == 2 * (8 if n is None else 12) * 13


@pytest.mark.parametrize("metric", get_args(Metric))
def test_the_caption_says_which_scores_are_nearer(metric: Metric) -> None:
    """As the search itself orders them: the nearest comes first."""
    points, query = np.array([[3, 1], [1, 2], [-1, 0.5]], np.float32), np.array([[3, 1.5]], np.float32)
    indices, scores = nearest([Block(np.arange(3), points)], query, 3, metric)
    assert indices[0, 0] == 0
    is_higher = bool(scores[0, 0] > scores[0, 1] > scores[0, 2])
    assert is_higher is HIGHER_IS_NEARER[metric]
    caption = figure(dataclasses.replace(neighbors(), metric=metric)).get_supxlabel()
    assert f"Numbers: {metric}, {'higher' if is_higher else 'lower'} is nearer." in caption
    cosine = 10.5 / (10 * 11.25) ** 0.5
    assert scores[0, 0] == pytest.approx({"cosine": cosine, "euclidean": 0.5, "dot": 10.5}[metric])
