"""The sample folder and the installed network's embeddings of it, made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convscope.checks import Metric
from convscope.embedding import Embeddings, embed
from convscope.embedding.nearest import nearest
from convscope.models import Model
from convscope.results import Provenance
from convscope.samples import write_samples
from convscope.store import Block


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve labels, eight views each."""
    return write_samples(tmp_path_factory.mktemp("data") / "samples", n_variants=8)


@pytest.fixture(scope="session")
def views(lite0: Model, samples: Path) -> Embeddings:
    """The 96 views, embedded by the installed network."""
    return embed(lite0, samples / "crops")


def search(
    points: np.ndarray, queries: np.ndarray, k: int, metric: Metric, own: np.ndarray | None = None, size: int = 64
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest points, which come in blocks of a size."""
    points = np.asarray(points, np.float32)
    parts = (slice(first, first + size) for first in range(0, len(points), size))
    blocks = (Block(np.arange(len(points))[part], points[part]) for part in parts)
    k = min(k, len(points) - (own is not None))
    return nearest(blocks, np.asarray(queries, np.float32), k, metric, own=own)


def make_embeddings(vectors: np.ndarray, labels: tuple[str | None, ...] | None = None) -> Embeddings:
    """Embeddings of given vectors, with gray thumbnails that differ."""
    n = len(vectors)
    shades = (np.arange(n) * 7 % 256).astype(np.uint8)
    return Embeddings(
        vectors=np.asarray(vectors, np.float32),
        names=tuple(f"image {i}" for i in range(n)),
        labels=labels or (None,) * n,
        thumbnails=np.broadcast_to(shades[:, None, None, None], (n, 64, 64, 3)).copy(),
        layer="fc:input",
        provenance=Provenance("embed", {}, {"name": "made up"}, "cpu", {}, 0.0),
    )
