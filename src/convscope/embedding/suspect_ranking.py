"""Rankings of images: by the doubt in their labels, by their distance from all others, by an undecided network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..checks import Evidence, SuspectKind
from ..errors import ParameterError
from ..progress import Progress
from ..results import Array
from .copies import Copies, copies_of
from .label_checks import classes_meant
from .label_doubts import Ballots, ballots, doubts
from .linear_votes import MOST_DIMS, linear_votes
from .nearest import nearest
from .nearest_others import nearest_others, placed_blocks
from .neighbors import NO_LABELS
from .source import Source, predictions_of


@dataclass(frozen=True)
class Ranking:
    """Images by how suspect they are: ``places`` (N,) in the source, the most suspect first, and their ``scores``.

    ``suggested`` (N), ``by_neighbors``, ``by_linear`` and ``by_network`` (N,) are in the same order. ``voters``
    are the groups of ``copies`` that count as neighbors.
    """

    places: Array
    scores: Array
    suggested: Sequence[str | None]
    by_neighbors: Array
    by_linear: Array
    by_network: Array
    copies: Copies
    voters: Array
    notes: tuple[str, ...] = ()


def ranked(source: Source, kind: SuspectKind, by: Evidence, k: int, progress: Progress | None) -> Ranking:
    """All images that can be judged."""
    if by != "all" and kind != "label":
        raise ParameterError(f"by={by!r} belongs to kind='label'; leave it out for {kind!r}")
    copies = copies_of((block.vectors for block in source.blocks()), source.ids)
    if kind == "label":
        return _by_label(source, copies, by, k, progress)
    if kind == "outlier":
        return _by_distance(source, copies, k, progress)
    return _by_probability(source, copies)


def _by_label(source: Source, copies: Copies, by: Evidence, k: int, progress: Progress | None) -> Ranking:
    labels, (predicted, probability) = source.labels, predictions_of(source)
    images = np.flatnonzero([label is not None for label in labels])
    n_labels = len({label for label in labels if label is not None})
    if not n_labels:
        raise ParameterError(f"{NO_LABELS}; kind='outlier' needs none")
    if n_labels < 2:
        raise ParameterError(
            "all labels are the same, so that none can be suggested; kind='outlier' needs no label"
        )
    meant = classes_meant(labels, predicted)
    if meant is None and by == "network":
        raise ParameterError("by='network': the labels are no classes of the network; use by='neighbors'")
    given = ballots(labels, copies, predicted, probability, meant if by in ("all", "network") else None)
    voters = np.unique(copies.group[images])
    _check_number(len(voters), "labeled ")
    near = nearest_others(source, copies.first[voters], k, progress)
    if by in ("all", "linear"):
        given = replace(given, linear=linear_votes(source, copies.first[voters], given.held[voters]))
        if given.linear is None and by == "linear":
            raise ParameterError(f"by='linear': {_why_no_classifier(source)}; use by='neighbors'")
    found = doubts(given, copies, near, voters, by)
    order = np.lexsort((-found.rival, -found.scores))
    order = order[~np.isnan(found.scores[order])]
    return Ranking(
        images[order],
        found.scores[order],
        [given.labels[c] for c in found.favored[order]],
        found.by_neighbors[order],
        found.by_linear[order],
        found.by_network[order],
        copies,
        voters,
        (
            *_notes_on_evidence(source, by, given, meant is not None, any(name is not None for name in predicted)),
            *_notes_on_images(labels, copies),
        ),
    )


def _by_distance(source: Source, copies: Copies, k: int, progress: Progress | None) -> Ranking:
    n = len(copies.first)
    _check_number(n)
    near = nearest_others(source, copies.first, k, progress)
    scores = (1 - near.similarity.astype(np.float64).mean(axis=1))[copies.group]
    return _without_labels(np.argsort(-scores, kind="stable"), scores, copies)


def _by_probability(source: Source, copies: Copies) -> Ranking:
    _, probability = predictions_of(source)
    places = np.flatnonzero(np.isfinite(probability))
    if not len(places):
        raise ParameterError(
            "kind='uncertain' needs the network's predictions, which a store of a classifier has: give embed a "
            "`store`"
        )
    _check_number(len(copies.first))
    scores = 1 - probability
    order = places[np.argsort(-scores[places], kind="stable")]
    return _without_labels(order, scores, copies)


def _without_labels(order: Array, scores: Array, copies: Copies) -> Ranking:
    """A ranking that says nothing of labels."""
    nothing = np.full(len(order), np.nan)
    every = np.arange(len(copies.first))
    return Ranking(order, scores[order], [None] * len(order), nothing, nothing, nothing, copies, every)


def _check_number(n: int, which: str = "") -> None:
    if n < 2:
        raise ParameterError(f"{n} different {which}image(s): neighbors take at least two; embed more images")


def reasons(source: Source, found: Ranking, shown: Array, k: int) -> tuple[Array, Array]:
    """The k nearest of the images at these places, as places (L, K), and their similarities (L, K) float32.

    A copy with another label comes first.
    """
    groups = found.copies.group[shown]
    rows = source.rows
    queries = source.vectors_of(rows[shown])
    firsts = found.copies.first[found.voters]
    own = found.copies.first[groups]
    places, similarity = nearest(
        placed_blocks(source, firsts), queries, min(k, len(firsts) - 1), "cosine", own=own
    )
    return _with_copies(source, found, shown, places, similarity)


def _with_copies(
    source: Source, found: Ranking, shown: Array, places: Array, similarity: Array
) -> tuple[Array, Array]:
    """The same with a copy that has another label in front, where there is one."""
    labels = source.labels
    members: dict[int, list[int]] = {}
    wanted = set(found.copies.group[shown].tolist())
    for i, group in enumerate(found.copies.group.tolist()):
        if group in wanted:
            members.setdefault(group, []).append(i)
    for row, i in enumerate(shown.tolist()):
        for other in members[int(found.copies.group[i])]:
            if labels[i] is not None and labels[other] not in (None, labels[i]):
                places[row], similarity[row] = np.roll(places[row], 1), np.roll(similarity[row], 1)
                places[row, 0], similarity[row, 0] = other, 1
                break
    return places, similarity


def _notes_on_evidence(
    source: Source, by: Evidence, given: Ballots, are_classes: bool, has_predictions: bool
) -> Iterator[str]:
    if by != "all":
        return
    if given.linear is None:
        yield f"No linear classifier has a say: {_why_no_classifier(source)}."
    if are_classes:
        yield "The labels are classes of the network: its predictions count as much as the neighbors."
    elif has_predictions:
        yield "The labels are no classes of the network: its predictions do not count."


def _why_no_classifier(source: Source) -> str:
    if source.n_dims > MOST_DIMS:
        return f"the vectors have {source.n_dims:,} numbers, and it takes at most {MOST_DIMS:,}"
    return "the vectors all point the same way"


def _notes_on_images(labels: Sequence[str | None], copies: Copies) -> Iterator[str]:
    n = sum(label is None for label in labels)
    if n:
        yield f"{n} of {len(labels)} images have no label and are left out."
    if copies.n_again:
        many = "1 image equals" if copies.n_again == 1 else f"{copies.n_again} images equal"
        yield f"{many} an earlier one; copies count as one neighbor."
