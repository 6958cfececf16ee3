"""What a map calls wrong: only what can be judged, and labels that stand alone among their neighbors."""

from __future__ import annotations

import numpy as np
import pytest

from convscope.embedding.label_checks import disagreement, verdicts


@pytest.mark.parametrize(
    ("labels", "predicted", "expected"),
    [
        (("cat", "dog", "cat"), ("cat", "cat", "dog"), [1, 0, 0]),
        # Folders that are no classes: nothing is wrong, as nothing can be right.
        (("holiday", "work"), ("tabby, tabby cat", "desk"), None),
        (("holiday", "holiday"), ("tabby", "tabby"), None),
        # One of the names of a class, in any case, with spaces around it.
        ((" Tabby Cat", "Tiger cat", "tabby"), ("tabby, tabby cat", "tiger cat", "tiger cat"), [1, 1, 0]),
        # Fewer than half of the labels are classes, and half of them are; the others are not judged.
        (("cat", "a", "b"), ("cat", "dog", "dog"), None),
        (("cat", "a", "cat"), ("cat", "dog", "dog"), [1, -1, 0]),
        # A class that is never predicted by a network of these labels is wrong each time.
        (("cat", "dog", "cow"), ("cat", "cat", "cat"), [1, 0, 0]),
        ((None, "cat", "cat"), ("cat", None, "cat"), [-1, -1, 1]),
        ((None, None), ("cat", "dog"), None),
        (("cat", "dog"), (None, None), None),
        # Two classes of one name: either is right.
        (("crane", "crane"), ("crane, bird", "crane, machine"), [1, 1]),
    ],
)
def test_predictions_are_judged_where_labels_are_classes(
    labels: tuple[str | None, ...], predicted: tuple[str | None, ...], expected: list[int] | None
) -> None:
    found = verdicts(labels, predicted)
    assert expected is None if found is None else found.tolist() == expected


def test_a_label_of_each_image_takes_no_time_for_all_pairs() -> None:
    names = tuple(f"image {i}" for i in range(50_000))
    assert verdicts(names, names[::-1]) is not None


def test_disagreement_is_the_share_of_labeled_neighbors_with_another_label() -> None:
    labels = ("a", "a", "b", None, "b")
    neighbors = np.array([[1, 2, 4], [0, 2, 3], [4, -1, -1], [0, 1, 2], [3, -1, 4]])
    found = disagreement(labels, neighbors)
    assert found is not None
    np.testing.assert_allclose(found, [2 / 3, 1 / 2, 0, np.nan, np.nan], rtol=1e-6)
    assert disagreement(labels, None) is None
    assert disagreement(("a", "a", None, None, None), neighbors) is None, "there is no other label"


def test_planted_wrong_labels_stand_alone_among_their_neighbors() -> None:
    rng = np.random.default_rng(0)
    true = np.repeat(np.arange(6), 100)
    points = np.eye(6)[true] * 10 + rng.normal(size=(600, 6)) * 0.3
    planted = rng.choice(600, 30, replace=False)
    given = true.copy()
    given[planted] = (true[planted] + 1) % 6
    distances = ((points[:, None] - points[None]) ** 2).sum(-1) + np.diag([np.inf] * 600)
    found = disagreement([f"class {c}" for c in given], np.argsort(distances, axis=1)[:, :8])
    assert found is not None
    assert set(np.flatnonzero(found > 0.5)) == set(planted)
