"""The loop of `embed`: from the images, through the network, to whatever keeps the vectors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..execution import check_weights, in_batches
from ..progress import Progress
from .features import Extractor, Features
from .supply import Keeper, Supply


def extract_each(supply: Supply, extractor: Extractor, keeper: Keeper, progress: Progress | None = None) -> None:
    """Embed the images that the keeper wants, a batch at a time."""
    with keeper, extractor.running() as extract:
        for group in supply.groups(extractor.batch_size, keeper):
            features = None if group.x is None else _features(extract, group.x)
            check_weights(extractor.model.module)  # or vectors of two networks would be mixed
            if group.pictures:
                keeper.keep(group.pictures, features)
            if progress:
                progress(group.n_done, group.n_all)


def _features(extract: Callable[[torch.Tensor], Features], x: torch.Tensor) -> Features:
    """The features of a batch, computed in parts if memory runs out."""
    parts: list[Features] = []
    for _ in in_batches(len(x), len(x), lambda first, end: parts.append(extract(x[first:end]))):
        pass
    if len(parts) == 1:
        return parts[0]
    scores = [part.scores for part in parts if part.scores is not None]
    joined = np.concatenate(scores) if scores else None
    return Features(np.concatenate([part.vectors for part in parts]), joined, parts[0].normalization)
