"""`duplicates`: pairs of images that are alike beyond a threshold: copies, crops, frames of one film."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ..arguments import checks_arguments
from ..checks import HIGHER_IS_NEARER, Metric
from ..errors import ParameterError
from ..results import Array, Duplicates, Provenance
from .costs import closeness, pair_costs, squares_of
from .extract import Embeddings
from .points import points_of
from .store import EmbeddingStore
from .table import decode

_ROWS = 2048  # a block is compared with a block: 16 MB of float32
_FARTHEST = 1e150  # a distance that no two float32 vectors have, and whose square is a number
_LARGEST = np.finfo(np.float32).max
_OUTER = 32  # blocks that are held while a store that does not fit in memory is read once more


@checks_arguments
def duplicates(
    source: EmbeddingStore | Embeddings, threshold: float = 0.98, *, metric: Metric = "cosine", limit: int = 1000
) -> Duplicates:
    """Pairs of images that are nearly the same to the network, nearest first, each pair once.

    The same picture in two files, or in the training set and the test set, makes a network look better than it
    is; near copies do the same and no checksum finds them.

    Args:
        source: an `EmbeddingStore`, or `Embeddings`.
        threshold: pairs with a similarity of at least this ("cosine", in [-1, 1]; "dot", any), or a "euclidean"
            distance of at most this.
        metric: "cosine", "euclidean" or "dot".
        limit: pairs that are kept, the nearest; how many there are in all is counted.

    Returns:
        `Duplicates`: ``pairs`` (P, 2) of rows of its ``names``, nearest first, equal ones by row, and ``scores``
        (P,) float32. ``is_copy`` (P,): whether the content of the two files is the same, byte for byte, as
        their ``id`` says; `Embeddings` hold none, and there it is an equal vector and an equal thumbnail.

    Raises:
        ParameterError: an option out of range, or fewer than two vectors.

    Cost: N^2 / 2 * D multiplications, found in float32 and decided in float64; memory for two blocks of 2048
    rows, besides the vectors themselves where those are held. A store that takes more than a quarter of the free
    memory is read once for every 65,536 rows.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from convscope import embed
        >>> images = torch.rand(3, 3, 8, 8)
        >>> images[2] = images[0]
        >>> found = duplicates(embed(nn.Sequential(nn.Conv2d(3, 4, 8)), images, layer="0"), 0.99999)
        >>> [(found.names[a], found.names[b]) for a, b in found.pairs]
        [('image 0', 'image 2')]
    """
    started = time.perf_counter()
    if metric == "euclidean" and threshold < 0:
        raise ParameterError(f"threshold={threshold}: a distance is at least 0")
    if metric == "cosine" and not -1 <= threshold <= 1:
        raise ParameterError(f"threshold={threshold}: a cosine is between -1 and 1")
    parameters = {"threshold": threshold, "metric": metric, "limit": limit}
    if not isinstance(source, EmbeddingStore):
        return _found(source, threshold, metric, limit, parameters, started)
    with source.reading():
        return _found(source, threshold, metric, limit, parameters, started)


def _found(
    source: EmbeddingStore | Embeddings,
    threshold: float,
    metric: Metric,
    limit: int,
    parameters: Mapping[str, object],
    started: float,
) -> Duplicates:
    found, n_pairs = _Pairs.none(), 0
    n_rows = 0
    for a, b, same in _block_pairs(source):
        n_rows += len(a.rows) if same else 0
        worst = float(found.costs[-1]) if len(found.costs) == limit else np.inf
        near, n = _alike(a, b, same, threshold, metric, limit, worst)
        found, n_pairs = found.with_nearest(near, limit), n_pairs + n
    if n_rows < 2:
        raise ParameterError(f"{n_rows} vector(s): a pair takes two; embed more images")
    return _described(source, found, n_pairs, metric, parameters, started)


class _Block(NamedTuple):
    """Some rows: what they are called in the source (n,), their places (n,), their vectors (n, D) float32."""

    rows: Array
    places: Array
    vectors: Array


@dataclass(frozen=True)
class _Pairs:
    """Pairs (P, 2) of rows and of places, and what is to be small (P,): a negative similarity, or a distance."""

    rows: Array
    places: Array
    costs: Array

    @staticmethod
    def none() -> _Pairs:
        return _Pairs(np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64), np.zeros(0, np.float32))

    def with_nearest(self, other: _Pairs, limit: int) -> _Pairs:
        if not len(other.costs):
            return self
        rows, places = np.concatenate([self.rows, other.rows]), np.concatenate([self.places, other.places])
        costs = np.concatenate([self.costs, other.costs])
        order = np.lexsort((places[:, 1], places[:, 0], costs))[:limit]
        return _Pairs(rows[order], places[order], costs[order])


def _block_pairs(source: EmbeddingStore | Embeddings) -> Iterator[tuple[_Block, _Block, bool]]:
    """Every two blocks once, and every block with itself, which the last value says."""
    n_held = 0
    while held := list(_first(_blocks(source, after=n_held), _OUTER)):
        for i, a in enumerate(held):
            for b in held[i:]:
                yield a, b, b is a
        n_held += len(held)
        for b in _blocks(source, after=n_held):
            for a in held:
                yield a, b, False


def _first(blocks: Iterator[_Block], n: int) -> Iterator[_Block]:
    return (block for block, _ in zip(blocks, range(n), strict=False))


def _blocks(source: EmbeddingStore | Embeddings, after: int) -> Iterator[_Block]:
    """The vectors in blocks, without the first ``after`` blocks; always cut alike."""
    n_seen = place = 0
    for rows, vectors in _vectors(source):
        for first in range(0, len(rows), _ROWS):
            part = slice(first, first + _ROWS)
            n, n_seen = len(rows[part]), n_seen + 1
            if n_seen > after:
                yield _Block(rows[part], np.arange(place, place + n), vectors[part])
            place += n


def _vectors(source: EmbeddingStore | Embeddings) -> Iterator[tuple[Array, Array]]:
    if isinstance(source, EmbeddingStore):
        yield from ((points.row_ids.astype(np.int64), points.vectors) for points in points_of(source))
        return
    if not np.isfinite(source.vectors).all():
        raise ParameterError("the vectors hold NaN or infinite values, which are like nothing")
    yield np.arange(len(source)), source.vectors


def _alike(
    a: _Block, b: _Block, same: bool, threshold: float, metric: Metric, limit: int, worst: float
) -> tuple[_Pairs, int]:
    """The nearest pairs of two blocks that are within the threshold, and how many are within it.

    float32 finds those that may be; float64 decides where the rounding could, and says the order.
    """
    squares = squares_of(a.vectors), squares_of(b.vectors)
    near, slack_of = closeness(a.vectors, b.vectors, squares, metric)
    if metric == "euclidean":
        near -= squares[0].astype(near.dtype)[:, None]
    slack = 2 * float(slack_of.max(initial=0))
    bound = np.float64(-(min(threshold, _FARTHEST) ** 2) if metric == "euclidean" else threshold)
    may_be = near >= bound - slack
    if same:
        may_be[np.tril_indices(len(near))] = False
    i, j = np.nonzero(may_be)
    close = near[i, j]
    is_sure = close > bound + slack
    n_sure, cut = int(is_sure.sum()), -np.inf
    if len(close) > limit:  # those that cannot be among the nearest only count
        cut = np.partition(close, len(close) - limit)[len(close) - limit] - 2 * slack
    if np.isfinite(worst):
        cut = max(cut, (-(worst**2) if metric == "euclidean" else -worst) - 2 * slack)
    kept = (close >= cut) | ~is_sure
    i, j, is_sure = i[kept], j[kept], is_sure[kept]
    costs = pair_costs(a.vectors, b.vectors, i, j, metric)
    limit_cost = np.float32(np.clip(-threshold if HIGHER_IS_NEARER[metric] else threshold, -_LARGEST, _LARGEST))
    within = costs <= limit_cost
    n = n_sure + int((within & ~is_sure).sum())
    i, j, costs = i[within], j[within], costs[within]
    pairs = _Pairs(np.column_stack([a.rows[i], b.rows[j]]), np.column_stack([a.places[i], b.places[j]]), costs)
    return _Pairs.none().with_nearest(pairs, limit), n


def _described(
    source: EmbeddingStore | Embeddings,
    found: _Pairs,
    n_pairs: int,
    metric: Metric,
    parameters: Mapping[str, object],
    started: float,
) -> Duplicates:
    """The pairs with the rows that they are made of."""
    rows, pairs = np.unique(found.rows, return_inverse=True)
    pairs = pairs.reshape(-1, 2)
    if isinstance(source, EmbeddingStore):
        taken = source.take(rows, ["path", "label", "id", "thumbnail"]).to_pydict() if len(rows) else {}
        names, labels = tuple(taken.get("path", ())), tuple(taken.get("label", ()))
        pictures = [decode(data) for data in taken.get("thumbnail", ())]
        ids = np.array(taken.get("id", ()), dtype=object)
        is_copy = np.array([ids[a] is not None and ids[a] == ids[b] for a, b in pairs], bool)
        origin = source.origin
        provenance = Provenance("duplicates", parameters, origin.model, "cpu", origin.versions, 0.0)
    else:
        names, labels = tuple(source.names[i] for i in rows), tuple(source.labels[i] for i in rows)
        pictures = [source.thumbnails[i] for i in rows]
        vectors = source.vectors[rows]
        is_copy = np.array(
            [
                np.array_equal(vectors[a], vectors[b]) and np.array_equal(pictures[a], pictures[b])
                for a, b in pairs
            ],
            bool,
        )
        provenance = replace(source.provenance, method="duplicates", parameters=parameters, skipped=())
    notes = (f"The nearest {len(pairs)} of {n_pairs} pairs are kept.",) if n_pairs > len(pairs) else ()
    return Duplicates(
        pairs=pairs,
        scores=-found.costs if HIGHER_IS_NEARER[metric] else found.costs,
        is_copy=is_copy,
        n_pairs=n_pairs,
        metric=metric,
        names=names,
        labels=labels,
        thumbnails=np.stack(pictures) if pictures else np.zeros((0, 0, 0, 3), np.uint8),
        provenance=replace(provenance, seconds=time.perf_counter() - started, notes=notes),
    )
