"""The sample folder and the installed network's embeddings of it, made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convscope.embedding import Embeddings, embed
from convscope.models import Model
from convscope.results import Provenance
from convscope.samples import write_samples


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve labels, eight views each."""
    return write_samples(tmp_path_factory.mktemp("data") / "samples", n_variants=8)


@pytest.fixture(scope="session")
def views(lite0: Model, samples: Path) -> Embeddings:
    """The 96 views, embedded by the installed network."""
    return embed(lite0, samples / "crops")


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
