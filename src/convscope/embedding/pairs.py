"""All pairs of many vectors, a block with a block at a time: which are near, and how many."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..checks import HIGHER_IS_NEARER, Metric
from ..results import Array
from .costs import closeness, pair_costs, squares_of

_ROWS = 2048  # a block is compared with a block: 16 MB of float32
_FARTHEST = 1e150  # a distance that no two float32 vectors have, and whose square is a number
_LARGEST = np.finfo(np.float32).max
_OUTER = 32  # blocks that are held while a store that does not fit in memory is read once more


@dataclass(frozen=True)
class Block:
    """Some rows: what they are called in the source (n,), their places (n,), their vectors (n, D) float32."""

    rows: Array
    places: Array
    vectors: Array

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, chosen: Array | slice) -> Block:
        """Some of them."""
        return Block(self.rows[chosen], self.places[chosen], self.vectors[chosen])


@dataclass(frozen=True)
class Pairs:
    """Pairs (P, 2) of rows and of places, and what is to be small (P,): a negative similarity, or a distance."""

    rows: Array
    places: Array
    costs: Array

    @staticmethod
    def none() -> Pairs:
        return Pairs(np.zeros((0, 2), np.int64), np.zeros((0, 2), np.int64), np.zeros(0, np.float32))

    def with_nearest(self, other: Pairs, limit: int) -> Pairs:
        """The nearest of both, equal ones by place."""
        if not len(other.costs):
            return self
        rows, places = np.concatenate([self.rows, other.rows]), np.concatenate([self.places, other.places])
        costs = np.concatenate([self.costs, other.costs])
        order = np.lexsort((places[:, 1], places[:, 0], costs))[:limit]
        return Pairs(rows[order], places[order], costs[order])


def block_pairs(vectors: Callable[[], Iterator[Block]]) -> Iterator[tuple[Block, Block, bool]]:
    """Every two blocks once, and every block with itself, which the last value says.

    ``vectors`` gives all rows, in blocks of any size.
    """
    n_held = 0
    while held := list(_first(_cut(vectors(), after=n_held), _OUTER)):
        for i, a in enumerate(held):
            for b in held[i:]:
                yield a, b, b is a
        n_held += len(held)
        for b in _cut(vectors(), after=n_held):
            for a in held:
                yield a, b, False


def _first(blocks: Iterator[Block], n: int) -> Iterator[Block]:
    return (block for block, _ in zip(blocks, range(n), strict=False))


def _cut(blocks: Iterator[Block], after: int) -> Iterator[Block]:
    """Blocks of one size, without the first ``after`` of them; always cut alike."""
    n_seen = 0
    for block in blocks:
        for first in range(0, len(block), _ROWS):
            n_seen += 1
            if n_seen > after:
                yield block.of(slice(first, first + _ROWS))


def alike(
    a: Block, b: Block, same: bool, threshold: float, metric: Metric, limit: int, worst: float
) -> tuple[Pairs, int]:
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
    within = costs <= limit_of(threshold, metric)
    n = n_sure + int((within & ~is_sure).sum())
    i, j, costs = i[within], j[within], costs[within]
    pairs = Pairs(np.column_stack([a.rows[i], b.rows[j]]), np.column_stack([a.places[i], b.places[j]]), costs)
    return Pairs.none().with_nearest(pairs, limit), n


def limit_of(threshold: float, metric: Metric) -> np.float32:
    """A threshold as what a cost may be at most."""
    return np.float32(np.clip(-threshold if HIGHER_IS_NEARER[metric] else threshold, -_LARGEST, _LARGEST))
