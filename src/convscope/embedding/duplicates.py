"""`duplicates`: pairs of images that are alike beyond a threshold: copies, crops, frames of one film."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..arguments import checks_arguments
from ..checks import Metric
from ..errors import ParameterError
from ..progress import Progress
from ..results import Array, Duplicates
from ..store import Block
from ..store.keys import digest_of
from .copies import Copies, copies_of, numbered
from .nearness import as_cost, as_scores, pair_costs
from .pairs import Pairs, block_pairs, pairs_within
from .source import Source, as_source
from .thresholds import check_known, usual_threshold


@checks_arguments
def duplicates(
    source: Source,
    *,
    threshold: float | None = None,
    metric: Metric = "cosine",
    limit: int = 1000,
    progress: Progress | None = None,
) -> Duplicates:
    """Pairs of images that are nearly the same to the network, nearest first, each pair once.

    The same picture in two files, or in the training set and the test set, makes a network look better than it
    is. Near copies do the same, and no checksum finds them.

    Equal images, by their vectors or by their content, are compared with others once. Of n of them there are
    n - 1 pairs, each with the next, and the first stands for all in the pairs with others. So 50 copies of one
    file are 49 pairs, not 1,225, and a near copy of it is one more.

    Args:
        source: `Embeddings`, or an `EmbeddingStore`.
        threshold: pairs with a similarity of at least this ("cosine", in [-1, 1]; "dot", any), or a "euclidean"
            distance of at most this. By default a fifth of the distance at which an image usually has its tenth
            nearest, which depends on the images; "dot" has no default.
        metric: "cosine", "euclidean" or "dot".
        limit: pairs to keep: so many of equal images, and as many of the others, the nearest. All of them are
            counted.
        progress: called with (vectors compared, all).

    Returns:
        `Duplicates`: ``pairs`` (P, 2) of rows in its ``names``, nearest first, ties by row, and ``scores`` (P,)
        float32. ``is_copy`` (P,): whether the content of the two files is the same, byte for byte, as their
        ``id`` says; `Embeddings` have no ids, so that equal vectors and thumbnails count there. Copies are always
        included, whatever the threshold. ``threshold`` is what was asked for, or found.

    Raises:
        ParameterError: an option out of range, no threshold for "dot", NaN, or fewer than two vectors.

    Cost: N^2 / 2 * D multiplications in float32, and some in float64 to decide; memory for two blocks of 2048
    rows. A store that takes more than a quarter of the free memory is read once for every 65,536 rows. Finding a
    threshold: 1,000 * N * D more.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from convscope import embed
        >>> images = torch.rand(3, 3, 8, 8)
        >>> images[2] = images[0]
        >>> made = embed(nn.Sequential(nn.Conv2d(3, 4, 8)), images, layer="0")
        >>> found = duplicates(made, threshold=0.99999)
        >>> [(found.names[a], found.names[b]) for a, b in found.pairs]
        [('image 0', 'image 2')]
    """
    started = time.perf_counter()
    _check(threshold, metric)
    asked = as_source(source)
    with asked.reading():
        found = _found(asked, threshold, metric, limit, progress)
        made = _described(asked, found, metric)
    provenance = replace(
        asked.made,
        method="duplicates",
        parameters={"threshold": threshold, "metric": metric, "limit": limit},
        seconds=time.perf_counter() - started,
        notes=_notes(found),
        skipped=(),
    )
    return replace(made, provenance=provenance)


def _check(threshold: float | None, metric: Metric) -> None:
    if threshold is None:
        check_known(metric)
    elif metric == "euclidean" and threshold < 0:
        raise ParameterError(f"threshold={threshold}: expected a distance of at least 0")
    elif metric == "cosine" and not -1 <= threshold <= 1:
        raise ParameterError(f"threshold={threshold}: expected a cosine between -1 and 1")


@dataclass(frozen=True)
class _Found:
    """Pairs of places, of equal images and of others, and how many of either there are.

    ``rows`` (N,) and ``ids`` (N,) are those of each place; ``how`` says how the threshold was found.
    """

    rows: Array
    ids: Sequence[str | None]
    group: Array
    equal: Pairs
    others: Pairs
    n_equal: int
    n_others: int
    threshold: float
    how: str | None


def _found(
    source: Source, threshold: float | None, metric: Metric, limit: int, progress: Progress | None
) -> _Found:
    rows = source.rows
    if len(rows) < 2:
        raise ParameterError(f"{len(rows)} vector(s): a pair takes two; embed more images")
    ids = _contents(source)
    copies = copies_of((block.vectors for block in source.blocks()), ids)
    is_first = np.zeros(len(rows), bool)
    is_first[copies.first] = True

    def different() -> Iterator[Block]:
        """The first vector of each group of equal ones; its row number is its position."""
        first = 0
        for block in source.blocks():
            chosen = np.flatnonzero(is_first[first : first + len(block)])
            yield Block(first + chosen, block.vectors[chosen])
            first += len(block)

    how, n = None, len(copies.first)
    if threshold is None:
        threshold, how = usual_threshold(different, n, metric)
    others, n_others, to_itself = _compared(different, n, threshold, metric, limit, progress)
    chained = _chains(copies, ids, to_itself, threshold, metric)
    equal = Pairs.none().with_nearest(chained, limit)
    return _Found(rows, ids, copies.group, equal, others, len(chained), n_others, threshold, how)


def _compared(
    different: Callable[[], Iterator[Block]],
    n: int,
    threshold: float,
    metric: Metric,
    limit: int,
    progress: Progress | None,
) -> tuple[Pairs, int, Array]:
    """The nearest pairs of n different vectors, how many are within the threshold, and each cost to itself."""
    nearest, n_within, share = Pairs.none(), 0, 0.0
    to_itself: list[Array] = []
    for a, b, same in block_pairs(different):
        worst = float(nearest.costs[-1]) if len(nearest) == limit else np.inf
        near, n_near = pairs_within(a, b, same, threshold, metric, limit, worst)
        nearest, n_within = nearest.with_nearest(near, limit), n_within + n_near
        if same:
            own = np.arange(len(a))
            to_itself.append(pair_costs(a.vectors, a.vectors, own, own, metric))
        share += len(a) * len(b) * (1 if same else 2) / n**2
        if progress:
            progress(round(share * n), n)
    return nearest, n_within, np.concatenate(to_itself)


def _chains(
    copies: Copies, ids: Sequence[str | None], to_itself: Array, threshold: float, metric: Metric
) -> Pairs:
    """Each of some equal images with the next, those of the same content in a row."""
    content = numbered(ids)
    order = np.lexsort((np.arange(len(content)), content, copies.group))
    group = copies.group[order]
    at = np.flatnonzero(group[1:] == group[:-1])
    one, other, costs = order[at], order[at + 1], to_itself[group[at]]
    # A zero vector has cosine 0 with its own copy, and a short one a small product.
    kept = (content[one] == content[other]) | (costs <= as_cost(threshold, metric))
    return Pairs(np.sort(np.column_stack([one[kept], other[kept]]), axis=1), costs[kept])


def _contents(source: Source) -> Sequence[str | None]:
    """A text for the content of each image: its id, or for embeddings in memory a hash of vector and thumbnail."""
    if source.held is None:
        return source.ids
    vectors = (vector for block in source.blocks() for vector in block.vectors)
    both = zip(vectors, source.held.thumbnails, strict=True)
    return [f"{digest_of(vector)}{digest_of(thumbnail)}" for vector, thumbnail in both]


def _described(source: Source, found: _Found, metric: Metric) -> Duplicates:
    """The pairs, with names, labels and thumbnails of their images."""
    kept = found.equal.with_nearest(found.others, len(found.equal) + len(found.others))
    places, pairs = np.unique(kept.rows, return_inverse=True)
    taken = source.take(found.rows[places])
    return Duplicates(
        pairs=pairs.reshape(-1, 2),
        scores=as_scores(kept.costs, metric),
        is_copy=np.array([found.ids[a] is not None and found.ids[a] == found.ids[b] for a, b in kept.rows], bool),
        is_equal=found.group[kept.rows[:, 0]] == found.group[kept.rows[:, 1]],
        n_pairs=found.n_equal + found.n_others,
        n_equal=found.n_equal,
        metric=metric,
        threshold=found.threshold,
        names=taken.names,
        labels=taken.labels,
        thumbnails=taken.thumbnails,
        provenance=source.made,
    )


def _notes(found: _Found) -> tuple[str, ...]:
    notes = []
    if found.how:
        notes.append(f"The threshold {found.threshold:.6g} was found: {found.how}.")
    for pairs, n, which in (
        (found.equal, found.n_equal, "pairs of equal images, the first"),
        (found.others, found.n_others, "pairs of others, the nearest"),
    ):
        if n > len(pairs):
            notes.append(f"Of {n} {which} {len(pairs)} are kept.")
    return tuple(notes)
