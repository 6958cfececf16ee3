"""`duplicates`: images that are alike beyond a threshold: copies, crops, frames of one film."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import checks_arguments
from ..checks import Metric
from ..errors import ParameterError
from ..progress import Progress
from ..results import Array, Duplicates
from ..store import Block
from ..texts import counted
from .copies import Copies, contents_of, copies_of, numbered
from .duplicate_groups import grouped
from .joined import two_sides
from .links import Links
from .near_pairs import Compared, Criterion, compared
from .nearest_others import placed_blocks
from .nearness import as_cost, as_scores
from .pairs import Pairs
from .small_pictures import SAME, small_pictures
from .source import MOST_THUMBNAILS, Source, as_source, provenance_of
from .thresholds import check_known, usual_threshold


@checks_arguments
def duplicates(
    source: Source,
    *,
    threshold: float | None = None,
    metric: Metric = "cosine",
    limit: int = 1000,
    against: Any = None,
    progress: Progress | None = None,
) -> Duplicates:
    """Groups of images that are nearly the same to the network, and the pairs that make them, nearest first.

    The same picture in two files, or in the training set and the test set, makes a network look better than it
    is. Near copies do the same, and no checksum finds them. One that was saved again or scaled is found by its
    thumbnail, as to a network, which reacts to the noise of compression, it may be farther away than other images.

    Equal images, by their vectors or by their content, are compared with others once. Of n of them there are
    n - 1 pairs, each with the next, and the first stands for all in the pairs with others. So 50 copies of one
    file are 49 pairs, not 1,225, and a near copy of it is one more.

    Images that pairs connect, directly or through others, are a group. The first of each is the one to keep: the
    largest in pixels, among equals the least compressed, with the most bytes per pixel, then the first by name.
    Where sizes are unknown, as of embeddings in memory, it is the first of the source.

    Args:
        source: `Embeddings`, or an `EmbeddingStore`.
        threshold: pairs with a similarity of at least this ("cosine", in [-1, 1]; "dot", any), or a "euclidean"
            distance of at most this. By default a fifth of the distance at which an image usually has its tenth
            nearest, which depends on the images; "dot" has no default. Without a threshold, two images are also a
            pair if their thumbnails are the same picture (in 16 x 16 pixels a correlation of at least 0.99) and
            their vectors are within 1.2 times the usual distance to the tenth nearest; a threshold of yours stands
            alone.
        metric: "cosine", "euclidean" or "dot".
        limit: pairs to keep: so many of equal images, and as many of the others, the nearest. All of them are
            counted, and all count for the groups.
        against: what must not share images with the source, as a test set must not with the training set: a
            collection of the same network, or a folder of the source's own images. Pairs are then those across; in
            groups, copies on either side count too, and the one to keep is of the source.
        progress: called with (vectors compared, all).

    Returns:
        `Duplicates`: ``groups``, lists of names, the largest first, of equal ones that with the nearest pair.
        ``pairs`` (P, 2) of rows in its ``names``, nearest first, ties by row, and ``scores`` (P,)
        float32. ``is_copy`` (P,): whether the content of the two files is the same, byte for byte, as their
        ``id`` says; `Embeddings` have no ids, so that equal vectors and thumbnails count there. Copies are always
        included, whatever the threshold. ``threshold`` is what was asked for, or found.

    Raises:
        ParameterError: an option out of range, no threshold for "dot", NaN, fewer than two vectors, or a folder
            with none or all of the images.

    Cost: N^2 / 2 * D multiplications in float32, and some in float64 to decide; memory for two blocks of 2048
    rows. A store that takes more than a quarter of the free memory is read once for every 65,536 rows. Finding a
    threshold: 1,000 * N * D more, N^2 / 2 * 768 for the thumbnails, and memory for 768 bytes of each image.

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
        >>> found.groups
        [['image 0', 'image 2']]
    """
    started = time.perf_counter()
    _check(threshold, metric)
    asked, is_other = two_sides(as_source(source), against)
    with asked.reading():
        found = _found(asked, is_other, threshold, metric, limit, progress)
        made = _described(asked, found, is_other, metric)
    parameters = {"threshold": threshold, "metric": metric, "limit": limit, "against": _named(against)}
    notes = _notes(found, asked.names, is_other)
    return replace(made, provenance=provenance_of(asked, "duplicates", parameters, started, notes=notes))


def _named(against: Any) -> str | None:
    """The name of the other side; its folder stays private, as results are sent around."""
    if against is None or isinstance(against, str | Path):
        return None if against is None else Path(against).name
    name, condition = Path(getattr(against, "place", "embeddings")).name, getattr(against, "condition", None)
    return f"{name} where {condition}" if condition else name


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

    Of each place ``ids`` (N,), its group of equal images ``equal_to`` (N,), and the one of ``groups`` (N,) into
    which pairs connect it. ``how`` says how the threshold was found.
    """

    ids: Sequence[str | None]
    equal_to: Array
    groups: Array
    equal: Pairs
    others: Compared
    n_equal: int
    threshold: float
    how: str | None


def _found(
    source: Source,
    is_other: Array | None,
    threshold: float | None,
    metric: Metric,
    limit: int,
    progress: Progress | None,
) -> _Found:
    n_all = len(source.rows)
    if n_all < 2:
        raise ParameterError(f"{counted(n_all, 'vector')}: a pair takes two; embed more images")
    ids = contents_of(source)
    copies = copies_of((block.vectors for block in source.blocks()), ids)
    here = copies if is_other is None else copies.apart(is_other)

    def different() -> Iterator[Block]:
        """The first vector of each group of equal ones; its row number is its position."""
        return placed_blocks(source, here.first)

    def counts(a: Block, b: Block) -> Array | None:
        """Which pairs count: of two sides those across, without equal images."""
        if is_other is None:
            return None
        same = copies.group[a.rows][:, None] == copies.group[b.rows]
        return np.asarray((is_other[a.rows][:, None] != is_other[b.rows]) & ~same)

    how, n, links = None, len(here.first), Links(n_all)
    if threshold is not None:
        criterion = Criterion(threshold, metric)
    else:
        threshold, of_kind, how = usual_threshold(different, n, metric)
        criterion = Criterion(threshold, metric, of_kind, small_pictures(source))
    others = compared(different, n, criterion, limit, counts, links, progress)
    if is_other is None:
        chained = _chains(copies, ids, others.to_itself, threshold, metric)
    else:
        chained = _across(copies, here, is_other, others.to_itself)
        within = np.flatnonzero(here.first[here.group] != np.arange(n_all))
        links.add(np.column_stack([within, here.first[here.group[within]]]))
    links.add(chained.rows)
    equal = Pairs.none().with_nearest(chained, limit)
    return _Found(ids, copies.group, links.groups(), equal, others, len(chained), threshold, how)


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


def _across(copies: Copies, here: Copies, is_other: Array, to_itself: Array) -> Pairs:
    """Of equal images on two sides, the first of either."""
    firsts = [np.full(len(copies.first), -1) for _ in range(2)]
    for place in here.first[::-1]:
        firsts[int(is_other[place])][copies.group[place]] = place
    pairs = np.column_stack(firsts)
    pairs = pairs[(pairs >= 0).all(axis=1)]
    return Pairs(np.sort(pairs, axis=1), to_itself[here.group[pairs[:, 0]]])


def _described(source: Source, found: _Found, is_other: Array | None, metric: Metric) -> Duplicates:
    """The groups and pairs, with names, labels and thumbnails of their images."""
    nearest = found.others.pairs
    kept = found.equal.with_nearest(nearest, len(found.equal) + len(nearest))
    made = grouped(source, found.groups, kept, is_other)
    place_of = np.full(len(found.ids), -1, np.int64)
    place_of[made.places] = np.arange(len(made.places))
    taken = source.take(source.rows[made.places], n_thumbnails=MOST_THUMBNAILS)
    pairs = kept.rows.copy()
    if is_other is not None:  # those of the source first
        swapped = is_other[pairs[:, 0]]
        pairs[swapped] = pairs[swapped, ::-1]
    return Duplicates(
        pairs=place_of[pairs],
        scores=as_scores(kept.costs, metric),
        is_copy=np.array([found.ids[a] is not None and found.ids[a] == found.ids[b] for a, b in kept.rows], bool),
        is_equal=found.equal_to[kept.rows[:, 0]] == found.equal_to[kept.rows[:, 1]],
        n_pairs=found.n_equal + found.others.n_near + found.others.n_pictures,
        n_equal=found.n_equal,
        n_pictures=found.others.n_pictures,
        metric=metric,
        threshold=found.threshold,
        names=taken.names,
        labels=taken.labels,
        thumbnails=taken.thumbnails,
        sizes=made.sizes,
        content=place_of[numbered(found.ids)[made.places]],
        n_pixels=made.n_pixels,
        n_bytes=made.n_bytes,
        is_other=np.zeros(len(made.places), bool) if is_other is None else is_other[made.places],
        provenance=source.made,
    )


def _notes(found: _Found, names: Sequence[str], is_other: Array | None) -> tuple[str, ...]:
    notes = []
    if is_other is not None:
        files = [(name, side) for name, side in zip(names, is_other, strict=True) if os.path.isabs(name)]
        here, there = ({name for name, at in files if at == side} for side in (False, True))
        if n := len(here & there):
            notes.append(f"{counted(n, 'file')} of the same path on both sides: each is one file, and no copy.")
    if found.how:
        notes.append(f"The threshold {found.threshold:.6g} was found: {found.how}.")
    if n_pictures := found.others.n_pictures:
        notes.append(
            f"{n_pictures} pairs are beyond it, but show the same picture: thumbnails of 16 x 16 pixels with a "
            f"correlation of at least {SAME}."
        )
    for pairs, n, which in (
        (found.equal, found.n_equal, "pairs of equal images, the first"),
        (found.others.pairs, found.others.n_near + n_pictures, "pairs of others, the nearest"),
    ):
        if n > len(pairs):
            notes.append(f"Of {n} {which} {len(pairs)} are kept.")
    return tuple(notes)
