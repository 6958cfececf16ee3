"""The pairs of different images that are nearly the same: by their vectors, or by their pictures as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..checks import Metric
from ..progress import Progress
from ..results import Array
from ..store import Block
from .links import Links
from .nearness import pair_costs
from .pairs import Pairs, block_pairs, pairs_within
from .small_pictures import same_pictures


@dataclass(frozen=True)
class Criterion:
    """When two images are nearly the same: a score within ``threshold``.

    With ``pictures`` (see `small_pictures`) the same picture counts too, where the score is within ``of_kind``:
    the network has to take them for one kind of thing, about as an image and its tenth nearest.
    """

    threshold: float
    metric: Metric
    of_kind: float | None = None
    pictures: Array | None = None


@dataclass(frozen=True)
class Compared:
    """The nearest ``pairs``, how many there are of either kind, and the cost (N,) of each vector to itself."""

    pairs: Pairs
    n_near: int
    n_pictures: int
    to_itself: Array


def compared(
    vectors: Callable[[], Iterator[Block]],
    n: int,
    criterion: Criterion,
    limit: int,
    counts: Callable[[Block, Block], Array | None],
    links: Links,
    progress: Progress | None,
) -> Compared:
    """Compare n different vectors, each with all others; all pairs that are found are added to ``links``.

    Args:
        vectors: gives all of them; their row numbers are places, in ascending order.
        n: how many there are.
        criterion: which pairs are looked for.
        limit: pairs to keep.
        counts: which pairs (n, m) of two blocks count; None for all.
        links: what hangs together.
        progress: called with (vectors compared, all).
    """
    nearest, n_near, n_pictures, share = Pairs.none(), 0, 0, 0.0
    to_itself: list[Array] = []
    for a, b, same in block_pairs(vectors):
        counted = counts(a, b)
        if counted is None or counted.any():
            worst = float(nearest.costs[-1]) if len(nearest) == limit else np.inf
            metric = criterion.metric
            near, within = pairs_within(a, b, same, criterion.threshold, metric, limit, worst, counted)
            pictured, also = _of_pictures(a, b, same, criterion, limit, counted, within)
            nearest = nearest.with_nearest(near, limit).with_nearest(pictured, limit)
            n_near, n_pictures = n_near + len(within), n_pictures + len(also)
            links.add(within)
            links.add(also)
        if same:
            own = np.arange(len(a))
            to_itself.append(pair_costs(a.vectors, a.vectors, own, own, criterion.metric))
        share += len(a) * len(b) * (1 if same else 2) / n**2
        if progress:
            progress(round(share * n), n)
    return Compared(nearest, n_near, n_pictures, np.concatenate(to_itself))


def _of_pictures(
    a: Block, b: Block, same: bool, criterion: Criterion, limit: int, counted: Array | None, within: Array
) -> tuple[Pairs, Array]:
    """Pairs of the same picture that are not ``within`` (P, 2) already: the nearest, and the rows of all."""
    if criterion.pictures is None or criterion.of_kind is None:
        return Pairs.none(), np.zeros((0, 2), np.int64)
    found = same_pictures(criterion.pictures, a, b, same)
    if counted is not None:
        found &= counted
    found[np.searchsorted(a.rows, within[:, 0]), np.searchsorted(b.rows, within[:, 1])] = False
    i, j = np.flatnonzero(found.any(axis=1)), np.flatnonzero(found.any(axis=0))
    if not len(i):
        return Pairs.none(), np.zeros((0, 2), np.int64)
    some, others = Block(a.rows[i], a.vectors[i]), Block(b.rows[j], b.vectors[j])
    metric, which = criterion.metric, found[np.ix_(i, j)]
    return pairs_within(some, others, False, criterion.of_kind, metric, limit, np.inf, which)
