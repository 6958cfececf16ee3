"""What the neighbors, a linear classifier and the network say about the label of an image, as shares of a vote.

With the nearest different images j = 1..K of an image, their labels y_j and cosine similarities s_j,

    w_j = exp(-4 (2 - 2 s_j) / h^2),  h^2 the median of 2 - 2 s to the tenth nearest of all images
    V(c) = sum of w_j over the neighbors with label c / sum of all w_j
    L(c) of a linear classifier that has not seen the image, see `linear_votes`
    N(c) = p, the probability of the predicted class, if c is that class, else 0
    P(c) = the mean of those that have a say
    doubt = 1 - P(own label)

The doubt is 0 if everything speaks for the label, and 1 if nothing does. Among equal doubts, the image comes first
where most speaks for one other label. On the views of benchmarks/suspects.py a margin to the second label, K = 10
or equal weights of the neighbors found fewer wrong labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from scipy.sparse import csr_array

from ..checks import Evidence
from ..results import Array
from .copies import Copies
from .nearest_others import Near

_NEIGHBOR, _SHARPNESS = 10, 4
_FARTHEST = 300.0  # beyond it a weight would be zero, and an image that lies far from all others had no votes
_CELLS = 1 << 22  # of a dense table of votes at once: 32 MB


@dataclass(frozen=True)
class Doubts:
    """Of n images: the doubt (n,) in their labels, and the index (n,) of the class with the most votes.

    ``rival`` (n,) are the votes for the strongest other class. ``by_neighbors``, ``by_linear`` and ``by_network``
    are the doubts by one kind of evidence alone, NaN where it says nothing.
    """

    scores: Array
    favored: Array
    rival: Array
    by_neighbors: Array
    by_linear: Array
    by_network: Array


@dataclass(frozen=True)
class Ballots:
    """Who votes for what: ``labels`` (C,) first the labels, then classes of the network that are no label.

    ``codes`` (N,) is each image's label, -1 without one. ``held`` (G, C) are the labels' shares in each group of
    copies. ``linear`` (V, C) are the votes of a linear classifier about each voter, None without one. ``network``
    (N, C) has the probability of the predicted class.
    """

    labels: Sequence[str]
    codes: Array
    held: csr_array
    network: csr_array
    linear: csr_array | None = None


def ballots(
    labels: Sequence[str | None],
    copies: Copies,
    predicted: Sequence[str | None],
    probability: Array,
    meant: Mapping[str, frozenset[str]] | None,
) -> Ballots:
    """Count the labels of each group of copies, and match predictions with labels (see `classes_meant`)."""
    known = sorted({label for label in labels if label is not None})
    meant = meant or {}
    columns: dict[str, list[int]] = {}
    for code, label in enumerate(known):
        for name in meant.get(label, ()):
            columns.setdefault(name, []).append(code)
    judged = [
        i
        for i, (label, name) in enumerate(zip(labels, predicted, strict=True))
        if name is not None and label in meant
    ]
    others = sorted({str(predicted[i]) for i in judged} - set(columns))
    columns |= {name: [len(known) + i] for i, name in enumerate(others)}
    cells = [(i, column) for i in judged for column in columns[str(predicted[i])]]
    every = [*known, *others]
    rows, places = np.array(cells, np.int64).reshape(-1, 2).T
    code_of = {label: code for code, label in enumerate(known)}
    codes = np.array([-1 if label is None else code_of[label] for label in labels], np.int64)
    given = np.flatnonzero(codes >= 0)
    group = copies.group[given]
    n_given = np.bincount(group, minlength=len(copies.first))
    shares = 1 / n_given[group]
    return Ballots(
        every,
        codes,
        csr_array((shares, (group, codes[given])), shape=(len(copies.first), len(every))),
        csr_array((probability[rows], (rows, places)), shape=(len(labels), len(every))),
    )


def weights_of(near: Near) -> Array:
    """The weight (G, K) of each neighbor's vote, in (0, 1]."""
    squared = np.maximum(2 - 2 * near.similarity.astype(np.float64), 0)
    usual = float(np.median(squared[:, min(_NEIGHBOR, squared.shape[1]) - 1]))
    return np.asarray(np.exp(-np.minimum(_SHARPNESS * squared / (usual or 1.0), _FARTHEST)))


def doubts(given: Ballots, copies: Copies, near: Near, voters: Array, by: Evidence) -> Doubts:
    """The doubt in the label of each labeled image, in their order.

    Args:
        given: the ballots.
        copies: which images are copies of each other.
        near: the nearest of each voter, as indices into ``voters``.
        voters: (V,) the groups that have a label, ascending.
        by: "all", or one kind of evidence.
    """
    images = np.flatnonzero(given.codes >= 0)
    weights = weights_of(near)
    n_rows = max(1, _CELLS // len(given.labels))
    parts = [
        _doubts(given, copies, near, voters, weights, images[first : first + n_rows], by)
        for first in range(0, len(images), n_rows)
    ]
    return Doubts(*(np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(Doubts)))


def _doubts(
    given: Ballots, copies: Copies, near: Near, voters: Array, weights: Array, images: Array, by: Evidence
) -> Doubts:
    """The same of some images."""
    codes, group = given.codes[images], copies.group[images]
    at, rows = np.searchsorted(voters, group), np.arange(len(codes))
    neighbors = _votes_of_neighbors(given, near, voters, weights, at)
    _add_copies(neighbors, given, group, codes, weights[at].sum(axis=1))
    every = {"neighbors": neighbors, "network": given.network[images].toarray()}
    if given.linear is not None:
        every["linear"] = given.linear[at].toarray()
    has_say = {name: votes.any(axis=1) for name, votes in every.items()}
    alone = {name: np.where(has_say[name], 1 - votes[rows, codes], np.nan) for name, votes in every.items()}
    votes = sum(every.values()) / sum(has_say.values())[:, None] if by == "all" else every[by]
    own = votes[rows, codes]
    others = votes.copy()
    others[rows, codes] = -1
    best = others.argmax(axis=1)
    rival = others[rows, best]
    silent = np.full(len(codes), np.nan)
    return Doubts(
        scores=1 - own if by == "all" else alone[by],
        favored=np.where(rival > own, best, codes),
        rival=rival,
        **{f"by_{name}": alone.get(name, silent) for name in ("neighbors", "linear", "network")},
    )


def _votes_of_neighbors(given: Ballots, near: Near, voters: Array, weights: Array, at: Array) -> Array:
    """V (n, C) of the voters with these indices."""
    chosen, k = weights[at], near.others.shape[1]
    start = np.arange(0, (len(at) + 1) * k, k)
    table = csr_array((chosen.ravel(), near.others[at].ravel(), start), shape=(len(at), len(voters)))
    return np.asarray((table @ given.held[voters]).toarray() / chosen.sum(axis=1, keepdims=True))


def _add_copies(votes: Array, given: Ballots, group: Array, codes: Array, total: Array) -> None:
    """Let the copies of an image vote as one neighbor, but only those with another label.

    A copy with the same label is no witness: it is the same picture. One with another label shows that either is
    wrong.
    """
    rows = np.arange(len(codes))
    own = np.asarray(given.held[group, codes]).ravel()
    for i in rows[own < 1]:
        shares = given.held[[group[i]]].toarray()[0]
        shares[codes[i]] = 0
        votes[i] = (votes[i] * total[i] + shares) / (total[i] + shares.sum())
