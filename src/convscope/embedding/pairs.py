"""All pairs of many vectors within a threshold, by comparing every block with every other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ..checks import Metric
from ..results import Array
from ..store.blocks import Block
from .nearness import as_cost, closeness, pair_costs

_ROWS = 2048  # in a block: two make 16 MB of closeness
_OUTER = 32  # blocks that are held while vectors that do not fit in memory are read once more
_FARTHEST = 1e150  # a distance beyond all between float32 vectors, whose square is still a number


@dataclass(frozen=True)
class Pairs:
    """Pairs of rows (P, 2) and their costs (P,) float32: negative similarities, or distances."""

    rows: Array
    costs: Array

    def __len__(self) -> int:
        return len(self.costs)

    @staticmethod
    def none() -> Pairs:
        return Pairs(np.zeros((0, 2), np.int64), np.zeros(0, np.float32))

    def with_nearest(self, other: Pairs, limit: int) -> Pairs:
        """The nearest of both; ties go by row."""
        if not len(other):
            return self
        rows, costs = np.concatenate([self.rows, other.rows]), np.concatenate([self.costs, other.costs])
        order = np.lexsort((rows[:, 1], rows[:, 0], costs))[:limit]
        return Pairs(rows[order], costs[order])


def block_pairs(vectors: Callable[[], Iterator[Block]]) -> Iterator[tuple[Block, Block, bool]]:
    """Every two blocks once, and every block with itself; the last value says whether both are the same.

    ``vectors`` gives all rows, in blocks of any size, and the same ones at every call.
    """
    n_held = 0
    while held := list(islice(_cut(vectors(), after=n_held), _OUTER)):
        for i, a in enumerate(held):
            for b in held[i:]:
                yield a, b, b is a
        n_held += len(held)
        for b in _cut(vectors(), after=n_held):
            for a in held:
                yield a, b, False


def _cut(blocks: Iterator[Block], after: int) -> Iterator[Block]:
    """Blocks of one size, without the first ``after`` of them; cut alike at every call."""
    n_seen = 0
    for block in blocks:
        for first in range(0, len(block), _ROWS):
            n_seen += 1
            if n_seen > after:
                part = slice(first, first + _ROWS)
                yield Block(block.rows[part], block.vectors[part])


def pairs_within(
    a: Block,
    b: Block,
    same: bool,
    threshold: float,
    metric: Metric,
    limit: int,
    worst: float,
    counts: Array | None = None,
) -> tuple[Pairs, Array]:
    """The nearest pairs of two blocks within a threshold, with their costs, and the rows (P, 2) of all of them.

    float32 picks the pairs; float64 decides on those whose rounding could matter, and orders them.

    Args:
        a, b: the blocks.
        same: whether they are one block, each of whose pairs counts once.
        threshold: a similarity that is reached, or a distance that is not exceeded.
        metric: what near means.
        limit: pairs to keep.
        worst: the cost from which on a pair need not be kept, as there are enough better ones.
        counts: (n, m) bool, which pairs count; by default all.
    """
    near, slack_of = closeness(a.vectors, b.vectors, (a.squares, b.squares), metric)
    if metric == "euclidean":
        near -= a.squares.astype(near.dtype)[:, None]
    slack = 2 * float(slack_of.max(initial=0))
    bound = np.float64(-(min(threshold, _FARTHEST) ** 2) if metric == "euclidean" else threshold)
    may_be = near >= bound - slack
    if same:
        may_be[np.tril_indices(len(near))] = False
    if counts is not None:
        may_be &= counts
    i, j = np.nonzero(may_be)
    close = near[i, j]
    is_sure = close > bound + slack
    sure, cut = np.column_stack([a.rows[i[is_sure]], b.rows[j[is_sure]]]), -np.inf
    if len(close) > limit:  # those that cannot be among the nearest are only counted
        cut = np.partition(close, len(close) - limit)[len(close) - limit] - 2 * slack
    if np.isfinite(worst):
        cut = max(cut, (-(worst**2) if metric == "euclidean" else -worst) - 2 * slack)
    kept = (close >= cut) | ~is_sure
    i, j, is_sure = i[kept], j[kept], is_sure[kept]
    costs = pair_costs(a.vectors, b.vectors, i, j, metric)
    within = costs <= as_cost(threshold, metric)
    rows = np.column_stack([a.rows[i], b.rows[j]])
    pairs = Pairs(rows[within], costs[within])
    return Pairs.none().with_nearest(pairs, limit), np.concatenate([sure, rows[within & ~is_sure]])
