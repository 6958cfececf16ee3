"""Doubtful labels, images that lie apart, and undecided predictions, against plain loops over all pairs."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from convscope.embedding import Embeddings, linear_votes, nearest_others, suspect_ranking, suspects
from convscope.errors import ParameterError
from convscope.results import Result

from .conftest import make_embeddings

N, K = 120, 7


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Predicted(Embeddings):
    """Embeddings that know what the network predicts, as a store does."""

    predicted: tuple[str | None, ...] = ()
    probability: tuple[float | None, ...] = ()

    def column(self, name: Any) -> tuple[Any, ...]:
        return getattr(self, name) if name in ("predicted", "probability") else super().column(name)


def predicted_of(made: Embeddings, predicted: list[str | None], probability: list[float | None]) -> Predicted:
    given = {field.name: getattr(made, field.name) for field in fields(made)}
    return Predicted(**given, predicted=tuple(predicted), probability=tuple(probability))


@pytest.fixture(scope="module")
def planted() -> tuple[Embeddings, set[str]]:
    """Three groups, 9 wrong labels, three copies of image 0 of which one has another label, and four unlabeled."""
    rng = np.random.default_rng(0)
    true = np.arange(N) % 3
    points = 2.5 * np.eye(3, 8)[true] + rng.normal(size=(N, 8)) * 0.3
    points[[30, 60, 90]] = points[0]
    labels = [f"label {c}" for c in true]
    wrong = [*rng.choice(np.arange(1, 30), 8, replace=False).tolist(), 60]
    for i in wrong:
        labels[i] = f"label {(true[i] + 1) % 3}"
    given: list[str | None] = [*labels]
    given[100:104] = [None] * 4
    return make_embeddings(points, tuple(given)), {f"image {i}" for i in wrong}


def expected_doubts(made: Embeddings, k: int) -> dict[str, tuple[float, str]]:
    """The doubt in each label, and the label with the most votes; k is at most 10."""
    vectors = made.vectors.astype(float)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = made.labels
    known = sorted({label for label in labels if label is not None})
    near: dict[int, tuple[list[list[int]], list[int]]] = {}
    for i, own in enumerate(labels):
        if own is None:
            continue
        images: dict[bytes, list[int]] = {}  # the copies of each other image
        for j in range(len(labels)):
            if labels[j] is not None:
                images.setdefault(made.vectors[j].tobytes(), []).append(j)
        mine = images.pop(made.vectors[i].tobytes())
        order = sorted(images.values(), key=lambda group: -float(unit[i] @ unit[group[0]]))
        near[i] = order[:k], mine
    # Of each different image once.
    last = [2 - 2 * unit[i] @ unit[groups[-1][0]] for i, (groups, mine) in near.items() if i == mine[0]]
    found = {}
    for i, (groups, mine) in near.items():
        votes = dict.fromkeys(known, 0.0)
        for group in groups:
            weight = np.exp(-4 * (2 - 2 * unit[i] @ unit[group[0]]) / np.median(last))
            for j in group:
                votes[str(labels[j])] += weight / len(group)
        own = str(labels[i])
        for j in mine:  # a copy with the same label is no witness
            if labels[j] != own:
                votes[str(labels[j])] += 1 / len(mine)
        total = sum(votes.values())
        found[made.names[i]] = (1 - votes[own] / total, max(known, key=votes.__getitem__))
    return found


@pytest.mark.parametrize("queries", [65_536, 17])
def test_doubts_are_the_votes_of_the_different_images_nearest(
    planted: tuple[Embeddings, set[str]], queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nearest_others, "_QUERIES", queries)
    made, wrong = planted
    steps: list[tuple[int, int]] = []
    found = suspects(made, by="neighbors", k=K, limit=11, progress=lambda done, total: steps.append((done, total)))
    expected = expected_doubts(made, K)
    assert set(found.names) == set(expected)
    np.testing.assert_allclose(found.scores, [expected[name][0] for name in found.names], rtol=1e-4, atol=1e-5)
    assert list(found.suggested) == [expected[name][1] for name in found.names]
    assert (np.diff(found.scores) <= 0).all()
    assert wrong <= set(found.names[: 2 * len(wrong)])
    assert steps[-1][0] == steps[-1][1]
    assert found.near.shape == (11, K)
    assert len(found.thumbnails) == 11
    for i, reason in enumerate(found.reasons):
        n = [found.near_labels[j] for j in found.near[i, :5]].count(found.suggested[i])
        assert reason.startswith(f"{'all 5' if n == 5 else f'{n} of its 5'} nearest are {found.suggested[i]}")
    copy = found.names.index("image 60")
    assert found.near_names[found.near[copy, 0]] in {"image 0", "image 30", "image 90"}, (
        "a copy with another label"
    )
    assert "4 of 120 images have no label" in found.provenance.notes[0]


def test_wrong_labels_of_copies_do_not_back_each_other() -> None:
    rng = np.random.default_rng(1)
    points = np.eye(2, 6)[np.repeat([0, 1], 20)] * 4 + rng.normal(size=(40, 6)) * 0.5
    points[1:12] = points[0]
    labels = ["a"] * 20 + ["b"] * 20
    labels[:12] = ["b"] * 12  # one picture, twelve times under a wrong label
    found = suspects(make_embeddings(points, tuple(labels)), k=5)
    assert set(found.names[:12]) == {f"image {i}" for i in range(12)}
    assert set(found.suggested[:12]) == {"a"}


def test_predictions_count_where_the_labels_are_classes(planted: tuple[Embeddings, set[str]]) -> None:
    made, _ = planted
    labels = tuple({"label 0": "cat", "label 1": "dog", "label 2": "cow"}.get(str(x)) for x in made.labels)
    names: list[str | None] = ["cat, kitty", "dog", "cow"] * (N // 3)
    names[5] = "wolf"  # a class that is no label
    source = predicted_of(replace(made, labels=labels), names, [0.8] * N)
    network = suspects(source, by="network", k=K)
    for name, label, score, other in zip(
        network.names, network.labels, network.scores, network.suggested, strict=True
    ):
        i = int(name.split()[1])
        right = str(names[i]).split(",")[0]
        assert score == pytest.approx(0.2 if right == label else 1), name
        assert other == right
    neighbors = suspects(source, by="neighbors", k=K)
    alone = dict(zip(neighbors.names, neighbors.scores.tolist(), strict=True))
    linear = suspects(source, by="linear", k=K)
    classified = dict(zip(linear.names, linear.scores.tolist(), strict=True))
    found = suspects(source, k=K)
    assert "its predictions count as much as the neighbors" in found.provenance.notes[0]
    assert f"the network says {found.predicted[0]} (80%)" in found.reasons[0]
    assert f"a classifier trained on all other images gives {found.labels[0]} " in found.reasons[0]
    for i, name in enumerate(found.names):
        assert found.by_neighbors[i] == pytest.approx(alone[name], abs=1e-6)
        assert found.by_linear[i] == pytest.approx(classified[name], abs=1e-6)
        evidence = found.by_neighbors[i], found.by_linear[i], found.by_network[i]
        assert found.scores[i] == pytest.approx(sum(evidence) / 3, abs=1e-6)
        assert found.suggested[i] is not None
    odd = suspects(replace(made, labels=tuple(label and f"shelf {label}" for label in made.labels)), k=K)
    assert np.isnan(odd.by_network).all()
    assert "the network says" not in "".join(odd.reasons)  # it has other words than these labels


def test_the_linear_classifier_has_not_seen_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    true = np.arange(30) % 3
    points = np.eye(3, 5)[true] + rng.normal(size=(30, 5)) * 0.6 + 2
    labels = [f"label {c}" for c in true]
    points[7], labels[7] = points[4], "label 2"  # a copy with another label: the group holds half of each
    for penalty in (1e-3, 1e-1):
        monkeypatch.setattr(linear_votes, "_PENALTIES", (penalty,))
        found = suspects(make_embeddings(points, tuple(labels)), by="linear", k=3)
        for name, doubt in zip(found.names, found.by_linear, strict=True):
            i = int(name.split()[1])
            expected = refitted(points, labels, i, penalty)
            assert doubt == pytest.approx(1 - expected.get(labels[i], 0), abs=1e-4), name


def refitted(points: np.ndarray, labels: list[str], i: int, penalty: float) -> dict[str, float]:
    """The shares of the labels by scikit-learn's ridge regression on all images that differ from image i."""
    unit = points.astype(np.float32).astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    groups: dict[bytes, list[int]] = {}
    for j in range(len(labels)):
        groups.setdefault(points[j].tobytes(), []).append(j)
    known, firsts = sorted(set(labels)), [group[0] for group in groups.values()]
    shares = [[np.mean([labels[j] == label for j in group]) for label in known] for group in groups.values()]
    variance = ((unit[firsts] - unit[firsts].mean(axis=0)) ** 2).sum()
    others = [k for k, group in enumerate(groups.values()) if i not in group]
    fitted = Ridge(alpha=penalty * variance).fit(unit[firsts][others], np.array(shares)[others])
    votes = np.maximum(fitted.predict(unit[i : i + 1])[0], 0)
    votes /= votes.sum()
    return {label: vote for label, vote in zip(known, votes, strict=True) if vote >= 0.01}


def test_the_penalty_is_the_one_that_predicts_best(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    labels = np.arange(60) % 2
    noise = rng.normal(size=(60, 40))  # says nothing of the labels, so that a classifier without penalty does harm
    apart = 9 * np.eye(2, 40)[labels] + 0.1 * noise

    def scores_of(points: np.ndarray, *penalties: float) -> np.ndarray:
        monkeypatch.setattr(linear_votes, "_PENALTIES", penalties)
        made = make_embeddings(points, tuple(f"label {c}" for c in labels))
        return suspects(made, by="linear", k=3).scores

    np.testing.assert_array_equal(scores_of(noise, 1e-7, 1e3), scores_of(noise, 1e3))
    np.testing.assert_array_equal(scores_of(apart, 1e-3, 1e3), scores_of(apart, 1e-3))


def test_vectors_that_allow_no_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_embeddings(np.arange(1, 9)[:, None] * np.ones((1, 4)), ("a", "b") * 4)
    found = suspects(made, k=2)
    assert "No linear classifier has a say: the vectors all point the same way." in found.provenance.notes
    assert np.isnan(found.by_linear).all()
    np.testing.assert_array_equal(found.scores, found.by_neighbors)
    with pytest.raises(ParameterError, match="all point the same way; use by='neighbors'"):
        suspects(made, by="linear", k=2)
    monkeypatch.setattr(linear_votes, "MOST_DIMS", 3)
    monkeypatch.setattr(suspect_ranking, "MOST_DIMS", 3)
    with pytest.raises(ParameterError, match="the vectors have 4 numbers, and it takes at most 3"):
        suspects(made, by="linear", k=2)


def test_every_image_is_judged_where_no_label_has_one_in_a_hundred_votes() -> None:
    rng = np.random.default_rng(0)
    labels = tuple(f"label {i % 300}" for i in range(900))
    made = make_embeddings(rng.normal(size=(900, 8)), labels)
    for by in ("linear", "all"):
        found = suspects(made, by=by, k=3, limit=1)  # type: ignore[arg-type]
        assert len(found) == 900
        assert np.isfinite(found.by_linear).all()


def test_images_far_from_all_others_come_first(planted: tuple[Embeddings, set[str]]) -> None:
    made, _ = planted
    vectors = made.vectors.copy()
    vectors[50] = -vectors.mean(axis=0)
    found = suspects(replace(made, vectors=vectors, labels=(None,) * N), kind="outlier", k=3)
    assert found.names[0] == "image 50"
    unit = vectors.astype(float) / np.linalg.norm(vectors, axis=1, keepdims=True)
    different = unit[[i for i in range(N) if i not in (30, 60, 90)]]
    for name, score in zip(found.names, found.scores, strict=True):
        cosines = np.sort(different @ unit[int(name.split()[1])])[::-1][1:4]  # without itself
        assert score == pytest.approx(1 - cosines.mean(), abs=1e-6)
    assert set(found.suggested) == {None}


def test_the_least_probable_predictions_come_first(planted: tuple[Embeddings, set[str]], tmp_path: Path) -> None:
    made, _ = planted
    probability: list[float | None] = [float(p) for p in np.linspace(0.99, 0.2, N)]
    probability[3] = None
    source = predicted_of(made, ["x"] * N, probability)
    found = suspects(source, kind="uncertain", limit=4)
    assert found.names[:2] == (f"image {N - 1}", f"image {N - 2}")
    assert len(found) == N - 1
    assert found.scores[0] == pytest.approx(0.8)
    found.save(tmp_path / "found")
    loaded = Result.load(tmp_path / "found")
    assert loaded.names == found.names
    np.testing.assert_array_equal(loaded.near, found.near)


def test_what_cannot_be_ranked(planted: tuple[Embeddings, set[str]]) -> None:
    made, _ = planted
    unlabeled = replace(made, labels=(None,) * N)
    with pytest.raises(ParameterError, match=r"no image has a label.*kind='outlier' needs none"):
        suspects(unlabeled)
    with pytest.raises(ParameterError, match="all labels are the same"):
        suspects(replace(made, labels=("a",) * N))
    with pytest.raises(ParameterError, match="no classes of the network"):
        suspects(made, by="network")
    with pytest.raises(ParameterError, match="belongs to kind='label'"):
        suspects(made, kind="outlier", by="network")
    with pytest.raises(ParameterError, match="needs the network's predictions"):
        suspects(made, kind="uncertain")
    same = make_embeddings(np.ones((3, 2)), ("a", "b", "a"))
    with pytest.raises(ParameterError, match="1 different labeled image"):
        suspects(same)
    with pytest.raises(ParameterError, match="NaN"):
        suspects(make_embeddings(np.array([[np.nan, 1], [1, 2], [2, 1]]), ("a", "b", "a")))
