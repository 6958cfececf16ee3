"""`compare_stores`: what two networks think of the same images, and where they disagree."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..arguments import checks_arguments
from ..checks import Metric, ProjectionMethod
from ..errors import ParameterError
from ..progress import Progress, part_of
from ..results import Array, StoreComparison
from ..store import Block
from ..store.thumbnails import THUMBNAIL_PX
from ..texts import counted
from .alignment import linear_cka, turned_onto
from .matching import matches_of
from .moments import check_finite
from .nearest import nearest
from .projection import mapped
from .reducing import vectors_in
from .source import Source, as_source, is_stored, provenance_of, rows_at
from .voting import voted_for

_MANY, _SAMPLE = 20_000, 5_000  # from so many images on, so many of them are queries
_ROWS = 4096  # of a block
_PAIRS = 4_000_000  # of neighbors that are compared at once


@checks_arguments
def compare_stores(
    a: Source,
    b: Source,
    *,
    k: int = 10,
    metric: Metric = "cosine",
    method: ProjectionMethod = "pca",
    worst: int = 8,
    seed: int = 0,
    progress: Progress | None = None,
) -> StoreComparison:
    """Compare two embeddings of the same images: two networks, two layers, or one before and after training.

    Vectors of two networks cannot be compared number by number, but what they think is alike can:

        shared(i) = |N_a(i) and N_b(i)| / k,   N: the k nearest of image i among the images in both

    Linear CKA compares all distances at once; the vote of the k nearest says which one knows the labels better.
    Images are matched by the hash of their content, else by the names of their files.

    Args:
        a: `Embeddings`, an `EmbeddingStore`, or a part of one.
        b: the same of another network, layer or training.
        k: neighbors of each image that are compared, and that vote.
        metric: "cosine", "euclidean" or "dot".
        method: of the maps: "pca", "tsne" or "umap".
        worst: images to keep whose neighbors changed most: those that share fewest, and among them those whose
            first neighbors differ.
        seed: of the maps, and of the choice of queries among more than 20,000 images.
        progress: called with (images compared, all), for both embeddings.

    Returns:
        `StoreComparison`. Labels are those of ``a``, or of ``b`` where it has none. Neighbors without a label have
        no vote.

    Raises:
        ParameterError: an option out of range, or not more than k images in both, or fewer than 3.

    Cost: Q * N * (D_a + D_b) multiplications, Q = N up to 20,000 images and 5,000 drawn ones beyond; N * (D_a +
    D_b)^2 for CKA; two maps. Memory for the vectors of both, and for D_a * D_b numbers.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from convscope import embed
        >>> x = torch.rand(12, 3, 8, 8)
        >>> a, b = (embed(nn.Sequential(nn.Conv2d(3, 4, 8)), x, layer="0") for _ in range(2))
        >>> compare_stores(a, a, k=3).shared.mean(), compare_stores(a, b, k=3).neighbors_b.shape
        (np.float32(1.0), (12, 3))

    References: Kornblith et al., Similarity of neural network representations revisited, 2019, arXiv 1905.00414.
    """
    started = time.perf_counter()
    first, second = as_source(a), as_source(b)
    with first.reading(), second.reading():
        images = _both(first, second)
        n = len(images.names)
        if n <= max(k, 2):
            raise ParameterError(
                f"{n} images are in both: expected more than k={k}, and at least 3; ask for fewer neighbors, or "
                "embed the same images"
            )
        queries = _queries(n, seed)
        near = [
            _neighbors(vectors, queries, k, metric, part_of(progress, i, 2))
            for i, vectors in enumerate(images.vectors)
        ]
        shared, agreement = overlaps(*near)
        changed = np.lexsort((agreement, shared))[:worst]
        shown = np.unique(np.concatenate([queries[changed], *(found[changed].ravel() for found in near)]))
        thumbnails = images.thumbnails(shown)
    cka, cka_unbiased = linear_cka(*images.vectors)
    one, other, disparity = turned_onto(*(_map(vectors, method, seed) for vectors in images.vectors))
    classes, voted = _votes(images.labels, near)
    return StoreComparison(
        encoders=(_described(first), _described(second)),
        names=images.names,
        labels=images.labels,
        queries=queries,
        neighbors_a=near[0],
        neighbors_b=near[1],
        shared=shared,
        chance=k / (n - 1),
        classes=classes,
        voted=voted,
        cka=cka,
        cka_unbiased=cka_unbiased,
        coordinates=np.stack([one, other]).astype(np.float32),
        disparity=disparity,
        changed=changed,
        shown=shown,
        thumbnails=thumbnails,
        metric=metric,
        provenance=provenance_of(
            first,
            "compare_stores",
            {"k": k, "metric": metric, "method": method, "worst": worst, "seed": seed},
            started,
            notes=(*images.notes, *_notes(images, len(queries))),
        ),
    )


@dataclass(frozen=True)
class _Images:
    """The n images that are in two sources: the row and the vector of each there."""

    sources: tuple[Source, Source]
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    rows: tuple[Array, Array]
    vectors: tuple[Array, Array]
    notes: tuple[str, ...]

    def thumbnails(self, numbers: Array) -> Array:
        """Of some images, from the source that has them; (0, 64, 64, 3) if neither has."""
        for source, rows in zip(self.sources, self.rows, strict=True):
            taken = source.take(rows[numbers])
            if taken.has_thumbnail.all():
                return taken.thumbnails
        return np.zeros((0, THUMBNAIL_PX, THUMBNAIL_PX, 3), np.uint8)


def _both(a: Source, b: Source) -> _Images:
    found = matches_of(a, b)
    if not len(found.in_a):
        raise ParameterError(
            "no image is in both: they are matched by the hash of their content, or by the names of their files"
        )
    names, labels, theirs = a.names, a.labels, b.labels
    pairs = [(labels[i], theirs[j]) for i, j in zip(found.in_a, found.in_b, strict=True)]
    notes = found.notes
    if n := sum(None not in pair and pair[0] != pair[1] for pair in pairs):
        notes += (f"{counted(n, 'label')} differ; those of the first count.",)
    rows, vectors = zip(_at(a, found.in_a), _at(b, found.in_b), strict=True)
    return _Images(
        sources=(a, b),
        names=tuple(names[i] for i in found.in_a),
        labels=tuple(other if own is None else own for own, other in pairs),
        rows=rows,
        vectors=vectors,
        notes=notes,
    )


def _queries(n: int, seed: int) -> Array:
    """The images (Q,) whose neighbors are compared: all, or some drawn ones of many."""
    if n <= _MANY:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, _SAMPLE, replace=False))


def _at(source: Source, places: Array) -> tuple[Array, Array]:
    """The rows, and their vectors, at some places in any order."""
    order = np.argsort(places)
    back = np.argsort(order)
    block = rows_at(source.blocks(), places[order])
    return block.rows[back], check_finite(block.vectors)[back]


def _neighbors(vectors: Array, queries: Array, k: int, metric: Metric, progress: Progress | None) -> Array:
    """The k nearest of some images (Q, k) among all."""
    parts = np.split(np.arange(len(vectors)), range(_ROWS, len(vectors), _ROWS))
    blocks = (Block(part, vectors[part]) for part in parts)
    return nearest(blocks, vectors[queries], k, metric, own=queries, n_rows=len(vectors), progress=progress)[0]


def overlaps(a: Array, b: Array) -> tuple[Array, Array]:
    """How far two lists of neighbors (Q, k) agree.

    Returns:
        The share (Q,) of each list that is in the other; and that share averaged over the first 1, 2, ... k, so
        that the first neighbors count more (Fagin, Kumar, Sivakumar: Comparing top k lists, 2003).
    """
    k = a.shape[1]
    # Two lists have i in common from the place on where the later of its two is.
    weights = (1 / np.arange(1, k + 1))[::-1].cumsum()[::-1] / k
    later = np.maximum.outer(np.arange(k), np.arange(k))
    shared, agreement = [], []
    step = max(1, _PAIRS // k**2)
    for first in range(0, len(a), step):
        same = a[first : first + step, :, None] == b[first : first + step, None, :]
        shared.append(same.sum(axis=(1, 2)) / k)
        agreement.append((same * weights[later]).sum(axis=(1, 2)))
    return np.concatenate(shared).astype(np.float32), np.concatenate(agreement)


def _map(vectors: Array, method: ProjectionMethod, seed: int) -> Array:
    """A map (n, 2) of vectors; the second column is 0 for vectors of one number."""
    n_components = min(2, vectors.shape[1])
    projection, _, _ = mapped(vectors_in(vectors), method, n_components, seed)
    flat = np.zeros((len(vectors), 2))
    flat[:, :n_components] = projection.coordinates
    return flat


def _votes(labels: Sequence[str | None], near: Sequence[Array]) -> tuple[tuple[str, ...], Array]:
    """The classes, and the one that the neighbors of each query vote for (2, Q), -1 for none."""
    classes = tuple(sorted({label for label in labels if label is not None}))
    number = {label: i for i, label in enumerate(classes)}
    codes = np.array([-1 if label is None else number[label] for label in labels], np.int64)
    return classes, np.stack([voted_for(codes[found]) for found in near])


def _described(source: Source) -> str:
    """What made the vectors, and the name of the store that holds them, with the condition of a part."""
    made = source.made
    weights, layer = str(made.model.get("weights_sha256") or "")[:8], made.parameters.get("layer")
    name = f"{made.model.get('name')}{f' ({weights})' if weights else ''}"
    about = f"{name} at {layer}" if layer else name
    if not is_stored(source):
        return about
    part = f" where {source.condition}" if source.condition else ""
    return f"{os.path.basename(source.place.rstrip('/'))}{part}: {about}"


def _notes(images: _Images, n_queries: int) -> list[str]:
    n, notes = len(images.names), []
    if n_queries < n:
        notes.append(f"Of {n} images, {n_queries} drawn at random are queries.")
    n_dims = max(vectors.shape[1] for vectors in images.vectors)
    if n < n_dims:
        notes.append(f"Fewer images ({n}) than dimensions ({n_dims}) make CKA high: trust the one without bias.")
    return notes
