"""`duplicates`: pairs of images that are alike beyond a threshold: copies, crops, frames of one film."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from ..arguments import checks_arguments
from ..checks import HIGHER_IS_NEARER, Metric
from ..errors import ParameterError
from ..progress import Progress
from ..results import Array, Duplicates, Provenance
from ..store import Block as Points
from ..store import EmbeddingStore
from ..store.keys import digest_of
from .copies import Copies, copies_of, numbered
from .costs import pair_costs
from .embeddings import Embeddings
from .pairs import Block, Pairs, alike, block_pairs, limit_of
from .thresholds import check_known, usual_threshold


@checks_arguments
def duplicates(
    source: EmbeddingStore | Embeddings,
    threshold: float | None = None,
    *,
    metric: Metric = "cosine",
    limit: int = 1000,
    progress: Progress | None = None,
) -> Duplicates:
    """Pairs of images that are nearly the same to the network, nearest first, each pair once.

    The same picture in two files, or in the training set and the test set, makes a network look better than it
    is; near copies do the same and no checksum finds them.

    Images with equal vectors, or the same content, are compared with others once: of n of them there are n - 1
    pairs, each with the next, and the first stands for all in the pairs with others. So 50 copies of one file
    are 49 pairs, not 1,225, and a near copy of it is one more.

    Args:
        source: an `EmbeddingStore`, or `Embeddings`.
        threshold: pairs with a similarity of at least this ("cosine", in [-1, 1]; "dot", any), or a "euclidean"
            distance of at most this. By default a fifth of the distance at which an image usually has its tenth
            nearest, which depends on the images; "dot" has no default.
        metric: "cosine", "euclidean" or "dot".
        limit: pairs that are kept: so many of equal images, and of the others so many, the nearest. All of them
            are counted.
        progress: called with (vectors compared, all).

    Returns:
        `Duplicates`: ``pairs`` (P, 2) of rows of its ``names``, nearest first, equal ones by row, and ``scores``
        (P,) float32. ``is_copy`` (P,): whether the content of the two files is the same, byte for byte, as
        their ``id`` says; `Embeddings` hold none, and there it is an equal vector and an equal thumbnail. Copies
        are always there, whatever the threshold. ``threshold`` is what was asked for, or found.

    Raises:
        ParameterError: an option out of range, no threshold for "dot", or fewer than two vectors.

    Cost: N^2 / 2 * D multiplications, found in float32 and decided in float64; memory for two blocks of 2048
    rows, besides the vectors themselves where those are held. A store that takes more than a quarter of the free
    memory is read once for every 65,536 rows. A threshold that is to be found: 1,000 * N * D more.

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
    if threshold is None:
        check_known(metric)
    elif metric == "euclidean" and threshold < 0:
        raise ParameterError(f"threshold={threshold}: a distance is at least 0")
    elif metric == "cosine" and not -1 <= threshold <= 1:
        raise ParameterError(f"threshold={threshold}: a cosine is between -1 and 1")
    parameters = {"threshold": threshold, "metric": metric, "limit": limit}
    with source.reading() if isinstance(source, EmbeddingStore) else nullcontext():
        found = _found(source, threshold, metric, limit, progress)
        return _described(source, found, metric, parameters, started)


@dataclass(frozen=True)
class _Found:
    """Pairs of equal images, and of others; how many of either there are; the threshold, and where it is from."""

    equal: Pairs
    others: Pairs
    n_equal: int
    n_others: int
    ids: Sequence[str | None]
    group: Array
    threshold: float
    origin: str | None


def _found(
    source: EmbeddingStore | Embeddings,
    threshold: float | None,
    metric: Metric,
    limit: int,
    progress: Progress | None,
) -> _Found:
    rows, ids = _contents(source)
    if len(rows) < 2:
        raise ParameterError(f"{len(rows)} vector(s): a pair takes two; embed more images")
    copies = copies_of((block.vectors for block in _blocks(source)), ids)
    is_first = np.zeros(len(rows), bool)
    is_first[copies.first] = True

    def different() -> Iterator[Block]:
        return (block.of(is_first[block.places]) for block in _blocks(source))

    origin, n = None, len(copies.first)
    if threshold is None:
        threshold, origin = usual_threshold(lambda: _points(different()), n, metric)
    others, n_others, share = Pairs.none(), 0, 0.0
    to_itself = np.zeros(n, np.float32)  # of each group
    for a, b, same in block_pairs(different):
        worst = float(others.costs[-1]) if len(others.costs) == limit else np.inf
        near, n_near = alike(a, b, same, threshold, metric, limit, worst)
        others, n_others = others.with_nearest(near, limit), n_others + n_near
        if same:
            own = np.arange(len(a))
            to_itself[copies.group[a.places]] = pair_costs(a.vectors, a.vectors, own, own, metric)
        share += len(a) * len(b) * (1 if same else 2) / n**2
        if progress:
            progress(round(share * n), n)
    chained = _chains(copies, rows, ids, to_itself, threshold, metric)
    equal = Pairs.none().with_nearest(chained, limit)
    return _Found(equal, others, len(chained.costs), n_others, ids, copies.group, threshold, origin)


def _chains(
    copies: Copies, rows: Array, ids: Sequence[str | None], to_itself: Array, threshold: float, metric: Metric
) -> Pairs:
    """Each of some equal images with the next, those of the same content in a row."""
    content = numbered(ids)
    order = np.lexsort((np.arange(len(rows)), content, copies.group))
    group = copies.group[order]
    at = np.flatnonzero(group[1:] == group[:-1])
    one, other, costs = order[at], order[at + 1], to_itself[group[at]]
    # A zero vector has cosine 0 with its own copy, and a short one a small product.
    kept = (content[one] == content[other]) | (costs <= limit_of(threshold, metric))
    places = np.sort(np.column_stack([one[kept], other[kept]]), axis=1)
    return Pairs(rows[places], places, costs[kept])


# --- what is compared ------------------------------------------------------------------------------------------


def _contents(source: EmbeddingStore | Embeddings) -> tuple[Array, list[str | None]]:
    """The rows (N,) that have a vector, and an id of the content of each, where there is one."""
    if isinstance(source, EmbeddingStore):
        known: dict[int, str | None] = {}
        for batch in source.batches(["id"], source.in_use(), row_ids=True):
            known.update(zip(batch["_rowid"].to_pylist(), batch["id"].to_pylist(), strict=True))
        rows = np.concatenate([np.zeros(0, np.int64), *(block.rows for block in _blocks(source))])
        return rows, [known.get(int(row)) for row in rows]
    both = zip(source.vectors, source.thumbnails, strict=True)
    return np.arange(len(source)), [f"{digest_of(vector)}{digest_of(thumbnail)}" for vector, thumbnail in both]


def _blocks(source: EmbeddingStore | Embeddings) -> Iterator[Block]:
    """All vectors."""
    if isinstance(source, Embeddings):
        if not np.isfinite(source.vectors).all():
            raise ParameterError("the vectors hold NaN or infinite values, which are like nothing")
        rows = np.arange(len(source))
        yield Block(rows, rows, source.vectors)
        return
    first = 0
    for points in source.blocks():
        yield Block(points.rows.astype(np.int64), np.arange(first, first + len(points)), points.vectors)
        first += len(points)


def _points(blocks: Iterator[Block]) -> Iterator[Points]:
    return (Points(block.rows.astype(np.uint64), block.vectors) for block in blocks)


# --- what is shown ---------------------------------------------------------------------------------------------


def _described(
    source: EmbeddingStore | Embeddings,
    found: _Found,
    metric: Metric,
    parameters: Mapping[str, object],
    started: float,
) -> Duplicates:
    """The pairs with the rows that they are made of."""
    kept = found.equal.with_nearest(found.others, len(found.equal.costs) + len(found.others.costs))
    is_copy = np.array([same_content(found.ids[a], found.ids[b]) for a, b in kept.places], bool)
    is_equal = found.group[kept.places[:, 0]] == found.group[kept.places[:, 1]]
    rows, pairs = np.unique(kept.rows, return_inverse=True)
    if isinstance(source, EmbeddingStore):
        taken = source.take(rows.astype(np.uint64))
        names, labels, pictures = taken.names, taken.labels, list(taken.thumbnails)
        origin = source.origin
        provenance = Provenance("duplicates", parameters, origin.model, "cpu", origin.versions, 0.0)
    else:
        names, labels = tuple(source.names[i] for i in rows), tuple(source.labels[i] for i in rows)
        pictures = [source.thumbnails[i] for i in rows]
        provenance = replace(source.provenance, method="duplicates", parameters=parameters, skipped=())
    return Duplicates(
        pairs=pairs.reshape(-1, 2),
        scores=-kept.costs if HIGHER_IS_NEARER[metric] else kept.costs,
        is_copy=is_copy,
        is_equal=is_equal,
        n_pairs=found.n_equal + found.n_others,
        n_equal=found.n_equal,
        metric=metric,
        threshold=found.threshold,
        names=names,
        labels=labels,
        thumbnails=np.stack(pictures) if pictures else np.zeros((0, 0, 0, 3), np.uint8),
        provenance=replace(provenance, seconds=time.perf_counter() - started, notes=_notes(found)),
    )


def same_content(a: str | None, b: str | None) -> bool:
    return a is not None and a == b


def _notes(found: _Found) -> tuple[str, ...]:
    notes = []
    if found.origin:
        notes.append(f"The threshold {found.threshold:.6g} was found: {found.origin}.")
    for pairs, n, which in (
        (found.equal, found.n_equal, "pairs of equal images, the first"),
        (found.others, found.n_others, "pairs of others, the nearest"),
    ):
        if n > len(pairs.costs):
            notes.append(f"Of {n} {which} {len(pairs.costs)} are kept.")
    return tuple(notes)
