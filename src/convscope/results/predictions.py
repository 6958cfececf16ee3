"""Class scores, and how they become probabilities; or values, which do not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ..arguments import checks_arguments
from ..errors import ParameterError
from .base import Array, Result

# "softmax": exactly one class is right; "sigmoid": each class is right or not by itself, as for a single score or
# several labels; "exp": scores are log-probabilities; "none": they are probabilities already; "values": they are
# values in a unit of their own, as of regression, and never become any.
Normalization: TypeAlias = Literal["softmax", "sigmoid", "exp", "none", "values"]


def probabilities(scores: Any, normalization: Normalization) -> Any:
    """Scores (N, K) -> probabilities (N, K), float64; `ParameterError` for values."""
    if normalization == "values":
        raise ParameterError("these are values (regression=True), which have no probabilities: see .scores")
    values = np.asarray(scores, np.float64)
    if normalization == "softmax":
        exponentials = np.exp(values - values.max(axis=1, keepdims=True))
        return exponentials / exponentials.sum(axis=1, keepdims=True)
    if normalization == "sigmoid":
        return np.exp(-np.logaddexp(0, -values))
    return np.exp(values) if normalization == "exp" else values


def known_labels(labels: Iterable[str | None]) -> tuple[str | None, ...]:
    """The labels of images as a result keeps them: none at all where no image has one."""
    every = tuple(labels)
    return every if any(label is not None for label in every) else ()


class Ranked(NamedTuple):
    """One class of a prediction; its place in the list is its rank. A value's probability is NaN."""

    label: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    probability: float
    score: float


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Prediction(Result):
    """Class scores, or values, of N images: ``scores`` (N, K) as the network returns them, with K ``labels``.

    ``names`` are those of the images. ``normalization`` says how scores become probabilities: by "softmax"; by the
    "sigmoid" of each class, as for a single score; by "exp" where the network ends in a log-softmax; by "none"
    where it ends in a softmax or a sigmoid itself; "values" have none. ``true_labels`` are the labels that the
    images came with, such as those of their class folders, or None; it is empty where no image has one.
    """

    scores: Array
    labels: tuple[str, ...]
    names: tuple[str, ...]
    normalization: Normalization = "softmax"
    true_labels: tuple[str | None, ...] = ()

    @property
    def are_values(self) -> bool:
        """Whether the scores are values of regression, not of classes."""
        return self.normalization == "values"

    @property
    def probabilities(self) -> Array:
        """The probability of each class, (N, K) in [0, 1]; `ParameterError` if these are values."""
        return np.asarray(probabilities(self.scores, self.normalization))

    @checks_arguments
    def top(self, k: int = 5) -> list[list[Ranked]]:
        """The k classes with the highest scores, best first; of values the first k. One list per image."""
        if self.are_values:  # which may have different units, so none is the highest
            ranked = np.broadcast_to(np.arange(self.scores.shape[1]), self.scores.shape)[:, :k]
            probabilities = np.full(self.scores.shape, np.nan)
        else:
            ranked = np.argsort(-self.scores, axis=1, kind="stable")[:, :k]
            probabilities = self.probabilities
        return [
            [Ranked(self.labels[i], int(i), float(probabilities[n, i]), float(self.scores[n, i])) for i in row]
            for n, row in enumerate(ranked)
        ]
