"""Class scores, and how they become probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ..arguments import checks_arguments
from .base import Array, Result

# "softmax": exactly one class is right; "sigmoid": each class is right or not by itself, as for a single score or
# several labels; "exp": scores are log-probabilities; "none": they are probabilities already.
Normalization: TypeAlias = Literal["softmax", "sigmoid", "exp", "none"]


def probabilities(scores: Any, normalization: Normalization) -> Any:
    """Scores (N, K) -> probabilities (N, K), float64."""
    values = np.asarray(scores, np.float64)
    if normalization == "softmax":
        exponentials = np.exp(values - values.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)
    if normalization == "sigmoid":
        return np.exp(-np.logaddexp(0, -values))
    return np.exp(values) if normalization == "exp" else values


class Ranked(NamedTuple):
    """One class of a prediction; its place in the list is its rank."""

    label: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    probability: float
    score: float


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Prediction(Result):
    """Class scores of N images: ``scores`` (N, K) as the network returns them, ``labels`` of the K classes.

    ``names`` are those of the images. ``normalization`` says how scores become probabilities: by "softmax"; by the
    "sigmoid" of each class, as for a single score; by "exp" where the network ends in a log-softmax; by "none"
    where it ends in a softmax or a sigmoid itself.
    """

    scores: Array
    labels: tuple[str, ...]
    names: tuple[str, ...]
    normalization: Normalization = "softmax"

    @property
    def probabilities(self) -> Array:
        """The probability of each class, (N, K) in [0, 1]."""
        return np.asarray(probabilities(self.scores, self.normalization))

    @checks_arguments
    def top(self, k: int = 5) -> list[list[Ranked]]:
        """The k classes with the highest scores, best first; one list per image."""
        ranked = np.argsort(-self.scores, axis=1, kind="stable")[:, :k]
        probabilities = self.probabilities
        return [
            [Ranked(self.labels[i], int(i), float(probabilities[n, i]), float(self.scores[n, i])) for i in row]
            for n, row in enumerate(ranked)
        ]
