"""From the scores of classes to their probabilities."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

# "softmax": one class excludes the others; "sigmoid": each is there or not, as of a single score or of several
# labels; "exp": scores are logarithms of probabilities; "none": they are probabilities already.
Normalization: TypeAlias = Literal["softmax", "sigmoid", "exp", "none"]


def probabilities(scores: Any, normalization: Normalization) -> Any:
    """Of scores (N, K) the probabilities (N, K), in float64."""
    values = np.asarray(scores, np.float64)
    if normalization == "softmax":
        exponentials = np.exp(values - values.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)
    if normalization == "sigmoid":
        return np.exp(-np.logaddexp(0, -values))
    return np.exp(values) if normalization == "exp" else values
