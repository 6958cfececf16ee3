"""What a repr says of images that are near one another."""

from __future__ import annotations

import dataclasses

import numpy as np
from tests.render.results import neighbors


def test_neighbors_show_what_is_near_each_query() -> None:
    lines = repr(neighbors()).splitlines()
    assert lines[0] == "Neighbors(2 queries, the 2 nearest in feature space by cosine)"
    assert lines[1:3] == ["  q0: n0 (0.900), n2 (0.500)", "  q1: n1 (0.800), n0 (0.100)"]
    assert lines[3].startswith("  neighbors() on tiny")


def test_many_neighbors_are_cut_and_names_stay_on_their_line() -> None:
    many = dataclasses.replace(
        neighbors(()),
        indices=np.zeros((9, 7), int),
        scores=np.ones((9, 7)),
        query_names=("a\n",) * 9,
        query_thumbnails=neighbors().query_thumbnails[:0],
    )
    lines = repr(many).splitlines()
    assert lines[1] == r"  a\n: n0 (1.000), n0 (1.000), n0 (1.000) and 4 more"
    assert lines[4] == "  and 6 more"
    assert len(lines) == 6
