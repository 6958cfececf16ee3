"""What the methods return: frozen dataclasses of NumPy arrays, raw and signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..errors import ParameterError
from .base import Array, Result


class Ranked(NamedTuple):
    """One class of a prediction, with its rank given by its place in the list."""

    label: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    probability: float
    score: float


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Prediction(Result):
    """Class scores of N images: ``scores`` (N, K), raw logits; ``labels`` K names; ``names`` of the images."""

    scores: Array
    labels: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def probabilities(self) -> Array:
        """Softmax of the scores over the classes, (N, K)."""
        exponentials = np.exp(self.scores - self.scores.max(axis=1, keepdims=True))
        return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))

    def top(self, k: int = 5) -> list[list[Ranked]]:
        """The k highest classes of each image, best first; one list an image."""
        if k < 1:
            raise ParameterError(f"k={k}: expected at least 1")
        ranked = np.argsort(-self.scores, axis=1, kind="stable")[:, :k]
        probabilities = self.probabilities
        return [
            [Ranked(self.labels[i], int(i), float(probabilities[n, i]), float(self.scores[n, i])) for i in row]
            for n, row in enumerate(ranked)
        ]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Filters(Result):
    """A layer's weights: ``values`` (O, I, kH, kW), raw; ``layer`` is the name of the convolution."""

    values: Array
    layer: str


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class FeatureMaps(Result):
    """Activations of N images: ``values`` maps a layer's name to (N, C, H, W), or (N, D) for a vector layer.

    ``images`` (N, H, W, 3) uint8 is what the network saw.
    """

    values: Mapping[str, Array]
    images: Array
    names: tuple[str, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(self.values)

    def __getitem__(self, layer: str) -> Array:
        return self.values[layer]

    def order(self, layer: str, n: int = 0, by: str = "mean") -> Array:
        """Channels of image n, the most active first, by the "mean" or the "max" of each map.

        Equal maxima, as ReLU6 makes them, go by the mean; equal means by the channel's number.
        """
        if by not in ("mean", "max"):
            raise ParameterError(f"by={by!r}: expected 'mean' or 'max'")
        maps = self.values[layer][n]
        flat = maps.reshape(len(maps), -1)
        mean = flat.mean(axis=1)
        return np.lexsort((-mean, -flat.max(axis=1))) if by == "max" else np.argsort(-mean, kind="stable")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Attribution(Result):
    """Relevance per pixel: ``values`` (N, H, W) float32, raw, at the network's input size.

    ``targets`` says whose score is explained, one an image; ``scores`` (N,) are the scores of the whole
    images; ``images`` (N, H, W, 3) uint8 is what the network saw. ``signed``: whether the method can find
    negative values, which speak against the target; ``unit`` is what a value is measured in.
    """

    values: Array
    targets: tuple[str, ...]
    scores: Array
    images: Array
    names: tuple[str, ...]
    unit: str = "score"
    signed: bool = True


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Visualization(Result):
    """What a target likes best: ``image`` (H, W, 3) uint8 for the eye, ``input`` (C, H, W) for the network.

    ``scores`` (steps + 1,): ``scores[t]`` with t < steps is the score that step t went up from, of the picture
    as the jitter had shifted it then; the last one is the finished picture's. ``frames`` (F, H, W, 3) uint8
    are the pictures on the way, F = 0 unless asked for.
    """

    image: Array
    input: Array
    scores: Array
    frames: Array
    target: str


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Neighbors(Result):
    """The K nearest of each query: ``indices`` (Q, K) into the embeddings, ``scores`` (Q, K), nearest first.

    ``metric`` says what a score is: cosine similarity (higher is nearer) or euclidean distance (lower).
    """

    indices: Array
    scores: Array
    metric: str
    space: str
    query_names: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    query_thumbnails: Array
    thumbnails: Array
    query_labels: tuple[str | None, ...] = ()


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Projection(Result):
    """Points in few dimensions: ``coordinates`` (N, D), ``explained_variance_ratio`` (D,)."""

    coordinates: Array
    explained_variance_ratio: Array
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    thumbnails: Array = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.uint8))
