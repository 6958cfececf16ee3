"""`neighbors`: the images that a network thinks are most like another one."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from ..arguments import checks_arguments
from ..checks import Metric
from ..errors import ParameterError
from ..progress import Progress
from ..results import Array, Neighbors
from ..store import Space, Taken
from .nearest import check_size, nearest, nearest_by_index
from .queries import Queries, queries_of
from .source import MOST_THUMBNAILS, Source, as_source, provenance_of

NO_LABELS = "no image has a label; embed a folder whose subfolders are the labels"


@checks_arguments
def neighbors(
    source: Source,
    query: Any,
    *,
    k: int = 5,
    metric: Metric = "cosine",
    space: Space = "feature",
    where: str | None = None,
    exact: bool = True,
    model: Any = None,
    progress: Progress | None = None,
) -> Neighbors:
    """The k images nearest to each query, with their scores.

    What the network thinks is alike has vectors that point the same way. Compare with ``space="pixel"``: what is
    near there has the same colors in the same places.

    Args:
        source: `Embeddings`, or an `EmbeddingStore`.
        query: names of images in the source (in a store paths or ids), or row numbers, or a list of either: each
            is left out of its own neighbors. Or a float array (D,) or (Q, D) of vectors, or `Embeddings` by the
            same network. Or images (see `convscope.load_images`), which are embedded first.
        k: neighbors of each query; fewer where there are fewer images.
        metric: "cosine" similarity, blind to a vector's length, "euclidean" distance, or "dot" product.
        space: "feature" compares the vectors, "pixel" the thumbnails' values in [0, 1].
        where: a condition on the rows of a store, as SQL writes it: "label = 'cat' AND predicted != label".
        exact: compare with every row; False asks the index that `convscope.index` made of a store.
        model: the network that made the source, to embed images with. `Embeddings` remember it until they are
            saved; a store does not.
        progress: called with (rows compared, all).

    Returns:
        `Neighbors`: ``indices`` (Q, K) into its ``names``, and ``scores`` (Q, K) float32, nearest first. Equal
        scores go by row. A zero vector is similar to none: its cosine is 0. ``names`` and ``thumbnails`` are those
        of all `Embeddings`; of a store, only those of the images found, nearest first, with thumbnails of the
        first 5,000.

    Raises:
        ParameterError: an option out of range, a row that is not there, vectors of another length or network,
            images and no model to embed them, a condition that cannot be read, no row left to find.
        StoreError: there is no index.

    Cost: Q * N * D multiplications, a block at a time, or a share of that by the index; one forward pass for each
    new image. Vectors of a store stay in memory where they take less than a quarter of what is free.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from convscope import embed
        >>> made = embed(nn.Sequential(nn.Conv2d(3, 4, 8)), torch.rand(3, 3, 8, 8), layer="0")
        >>> neighbors(made, "image 0").indices.shape
        (1, 2)
    """
    started = time.perf_counter()
    asked = as_source(source)
    with asked.reading():  # one version, though others may be writing
        asked.check(where)
        n_rows = len(asked)
        most = min(k, max(1, n_rows))
        queries = queries_of(asked, query, space, model)
        check_size(len(queries.vectors), most)
        if exact or space == "pixel":
            blocks = asked.blocks(space, where)
            rows, scores = nearest(
                blocks, queries.vectors, most, metric, own=queries.rows, n_rows=n_rows, progress=progress
            )
        else:
            rows, scores = nearest_by_index(asked, queries.vectors, most, metric, where=where, own=queries.rows)
        found, indices = _shown(asked, rows)
    return Neighbors(
        indices=indices,
        scores=scores,
        metric=metric,
        space=space,
        query_names=queries.names,
        names=found.names,
        labels=found.labels,
        query_labels=queries.labels,
        query_thumbnails=queries.thumbnails,
        thumbnails=found.thumbnails,
        provenance=provenance_of(
            asked,
            "neighbors",
            {"layer": asked.made.parameters["layer"], "k": k, "metric": metric, "space": space}
            | {"where": where, "exact": exact},
            started,
            notes=(*queries.notes, *_notes(found, queries)),
            skipped=queries.skipped,
        ),
    )


def _shown(source: Source, rows: Array) -> tuple[Taken, Array]:
    """What the result shows of the rows found (Q, K), and the position of each of them there.

    Of embeddings in memory that is every row; of a store each row found, the nearest of each query first.
    """
    if source.held is not None:
        return source.held, rows
    by_rank, first, places = np.unique(rows.T, return_index=True, return_inverse=True)
    order = np.argsort(first)
    found = source.take(by_rank[order], n_thumbnails=MOST_THUMBNAILS)
    return found, np.argsort(order)[places.reshape(rows.T.shape).T]


def _notes(found: Taken, queries: Queries) -> tuple[str, ...]:
    counts = (
        (len(found.names), len(found.thumbnails), "images that were found"),
        (len(queries.names), len(queries.thumbnails), "queries"),
    )
    return tuple(
        f"Thumbnails are kept of the first {n_shown:,} of {n:,} {what}."
        for n, n_shown, what in counts
        if n_shown < n
    )


@checks_arguments
def label_precision(source: Source, *, k: int = 5, metric: Metric = "cosine", space: Space = "feature") -> float:
    """The mean share of the k images nearest to an image that have its label, in [0, 1].

    Every labeled image is the query once, and left out of its own neighbors. An unlabeled neighbor counts as
    wrong; `convscope.evaluate_retrieval` ranks labeled images alone, and tells more.

    Raises:
        ParameterError: an option out of range, or no labels.
    """
    labeled = np.flatnonzero([label is not None for label in as_source(source).labels])
    if not len(labeled):
        raise ParameterError(NO_LABELS)
    found = neighbors(source, labeled, k=k, metric=metric, space=space)
    labels = np.array(found.labels, dtype=object)
    return float((labels[found.indices] == np.array(found.query_labels, dtype=object)[:, None]).mean())
