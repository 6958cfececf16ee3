"""The principal components of a source's vectors, read block by block: what maps and groups are made of."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg

from ..checks import as_array
from ..errors import ParameterError
from ..results import Array, Provenance
from .copies import Copies, copies_of
from .embeddings import Embeddings
from .moments import Components, Moments, check_finite, moments_of
from .source import Source, blocks_at, is_source

REDUCED = 50  # principal components that t-SNE, UMAP and clusters begin with


@dataclass(frozen=True)
class Reduced:
    """Principal components of N vectors; ``points`` (G, k) are the G different ones along the first k."""

    components: Components
    copies: Copies
    points: Array


def vectors_in(source: Any) -> Source:
    """`Embeddings`, an `EmbeddingStore`, or an array (N, D), whose rows are named by their number."""
    if is_source(source):
        return source
    points = check_finite(as_array(source, "source", "Embeddings, an EmbeddingStore or vectors (N, D)"))
    versions = {name: importlib.metadata.version(name) for name in ("convscope", "scipy", "numpy")}
    return Embeddings(
        vectors=points,
        names=tuple(f"vector {i}" for i in range(len(points))),
        labels=(None,) * len(points),
        thumbnails=np.zeros((len(points), 0, 0, 3), np.uint8),
        layer="",
        provenance=Provenance("embed", {}, {"name": "an array of vectors"}, "cpu", versions, 0.0),
    )


def reduced(source: Source, k: int, summed: Callable[[], Moments] | None = None) -> Reduced:
    """The vectors of a source along their first k principal components; fewer where there are not so many.

    ``summed`` returns the moments of all vectors, if workers sum them up.
    """
    components = _components(source, summed)
    copies = _copies(source, components)
    k = min(k, len(components.axes))
    if len(copies.first) == 1:
        return Reduced(components, copies, np.zeros((1, k), np.float32))
    points = np.concatenate([components.transform(block, k) for block in vectors_at(source, copies.first)])
    return Reduced(components, copies, points)


def vectors_at(source: Source, places: Array) -> Iterator[Array]:
    """The vectors at some places, which ascend, block by block."""
    return (block.vectors for block in blocks_at(source.blocks(), places))


def _components(source: Source, summed: Callable[[], Moments] | None) -> Components:
    """From the covariance, one block at a time or as ``summed``; of few vectors from the vectors themselves."""
    n = source.n_vectors
    if n < 2:
        raise ParameterError(f"{n} vector(s): a projection needs at least 2")
    if n > source.n_dims:
        return Components.of(summed() if summed else moments_of(_finite(source)))
    points = np.concatenate(list(_finite(source))).astype(np.float64)
    mean = points.mean(axis=0)
    _, sizes, axes = linalg.svd(points - mean, full_matrices=False)
    return Components(n, mean, axes, sizes**2 / (n - 1)).upright()


def _copies(source: Source, components: Components) -> Copies:
    """Which vectors are equal: all, where they differ by no more than rounding."""
    if components.is_flat(next(source.blocks()).vectors.dtype):
        return Copies.all_of(source.n_vectors)
    return copies_of(_finite(source), source.ids)


def _finite(source: Source) -> Iterator[Array]:
    return (check_finite(block.vectors) for block in source.blocks())
