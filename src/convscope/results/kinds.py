"""What the methods return: frozen dataclasses of NumPy arrays, raw and signed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np

from ..arguments import checks_arguments
from ..checks import shown
from ..errors import LayerError, ParameterError
from ..texts import printable
from .base import Array, Result
from .probabilities import Normalization, probabilities

ChannelOrder: TypeAlias = Literal["mean", "max"]  # by what of its map a channel counts as active


class Ranked(NamedTuple):
    """One class of a prediction, with its rank given by its place in the list."""

    label: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    probability: float
    score: float


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Prediction(Result):
    """Class scores of N images: ``scores`` (N, K), as the network puts them out; ``labels`` K names; ``names``.

    ``normalization`` says how scores become probabilities: by "softmax"; each class by its "sigmoid", as where
    there is one score only; by "exp" where the network ends in a log-softmax; or by "none" where it ends in a
    softmax or a sigmoid itself.
    """

    scores: Array
    labels: tuple[str, ...]
    names: tuple[str, ...]
    normalization: Normalization = "softmax"

    @property
    def probabilities(self) -> Array:
        """Of the classes of each image, (N, K) in [0, 1]."""
        return np.asarray(probabilities(self.scores, self.normalization))

    @checks_arguments
    def top(self, k: int = 5) -> list[list[Ranked]]:
        """The k highest classes of each image, best first; one list an image."""
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

    @checks_arguments
    def __getitem__(self, layer: str) -> Array:
        if layer not in self.values:
            raise LayerError(f"no maps of layer {shown(layer)}; there are those of {', '.join(self.values)}")
        return self.values[layer]

    @checks_arguments
    def order(self, layer: str, n: int = 0, by: ChannelOrder = "mean") -> Array:
        """Channels of image n, the most active first, by the "mean" or the "max" of each map.

        Equal maxima, as ReLU6 makes them, go by the mean; equal means by the channel's number.
        """
        if n >= len(self[layer]):
            raise ParameterError(f"n={n}: there are {len(self[layer])} images, counted from 0")
        maps = self[layer][n]
        flat = maps.reshape(len(maps), -1)
        mean = flat.mean(axis=1)
        return np.lexsort((-mean, -flat.max(axis=1))) if by == "max" else np.argsort(-mean, kind="stable")


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Attribution(Result):
    """Relevance per pixel: ``values`` (N, H, W) float32, raw, at the network's input size.

    ``targets`` says whose score is explained, one an image; ``scores`` (N,) are the scores of the whole
    images; ``images`` (N, H, W, 3) uint8 is what the network saw. ``signed``: whether the method can find
    negative values, which speak against the target; ``unit`` is what a value is measured in. ``layers``
    are maps (N, H, W) that the values were made of, by name, where there are several.
    """

    values: Array
    targets: tuple[str, ...]
    scores: Array
    images: Array
    names: tuple[str, ...]
    unit: str = "score"
    signed: bool = True
    layers: Mapping[str, Array] = field(default_factory=dict)


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

    ``metric`` says what a score is: "cosine" similarity or "dot" product (higher is nearer), or "euclidean"
    distance (lower is nearer).
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
class Duplicates(Result):
    """Pairs that are nearly the same: ``pairs`` (P, 2) int64 into ``names``, ``scores`` (P,), nearest first.

    ``is_copy`` (P,) bool: the two have the same content. ``is_equal`` (P,) bool: they are equal to the network,
    too, as copies are; of such images each is paired with the next. ``n_pairs``: how many there are in all, P of
    them kept; ``n_equal`` of all are of equal images.
    ``metric`` says what a score is: a similarity (higher is nearer) or a euclidean distance (lower);
    ``threshold`` from where on a pair counts.
    """

    has_picture: ClassVar[bool] = False

    pairs: Array
    scores: Array
    is_copy: Array
    n_pairs: int
    metric: str
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    thumbnails: Array
    is_equal: Array = field(default_factory=lambda: np.zeros(0, bool))
    n_equal: int = 0
    threshold: float = float("nan")

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        copies = int(self.is_copy.sum())
        beyond = "up to" if self.metric == "euclidean" else "at or above"
        lines = [
            f"Duplicates({self.n_pairs} pairs {beyond} {self.threshold:.6g} ({self.metric}), {self.n_equal} of "
            f"them of equal images; {len(self)} kept, {copies} of those exact copies)"
        ]
        for (a, b), score in zip(self.pairs[:3], self.scores, strict=False):
            lines.append(printable(f"  {score:.4f}  {self.names[a]}  {self.names[b]}"))
        return "\n".join([*lines, f"  {self.provenance.caption}"])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Retrieval(Result):
    """How well the nearest neighbors of labeled images tell their label, by feature, by pixel and by chance.

    Rows of the tables are ``spaces``, ("feature", "pixel", "chance"); columns are ``classes``, the C labels.
    ``accuracy``, ``precision`` and ``average_precision`` (S, C), in [0, 1]: each the mean over the queries of a
    class; NaN where a class has no other image, which leaves nothing to find. ``counts`` (C,) queries of a class.
    ``confusion`` (C, C) int64: true label by the label that the neighbors voted for, in feature space.
    The worst W queries, in feature space: ``worst`` (W,) and ``worst_neighbors`` (W, K) index into ``names``,
    ``labels`` and ``thumbnails``; ``worst_shares`` (W,) of the neighbors that have the query's label.
    """

    spaces: tuple[str, ...]
    classes: tuple[str, ...]
    counts: Array
    accuracy: Array
    precision: Array
    average_precision: Array
    confusion: Array
    worst: Array
    worst_neighbors: Array
    worst_shares: Array
    k: int
    metric: str
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    thumbnails: Array

    @property
    def macro(self) -> dict[str, dict[str, float]]:
        """Space -> measure -> mean over the classes, each counting the same, without those that have none."""
        measures = {
            "accuracy": self.accuracy,
            "precision": self.precision,
            "average_precision": self.average_precision,
        }
        return {
            space: {name: float(np.nanmean(values[s])) for name, values in measures.items()}
            for s, space in enumerate(self.spaces)
        }

    def __repr__(self) -> str:
        lines = [f"Retrieval({int(self.counts.sum())} queries, {len(self.classes)} classes, k={self.k})"]
        for space, means in self.macro.items():
            numbers = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in means.items())
            lines.append(f"  {space}: {numbers}")
        return "\n".join([*lines, f"  {self.provenance.caption}"])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Projection(Result):
    """Points in few dimensions: ``coordinates`` (N, D), ``explained_variance_ratio`` (D,), NaN if unknown.

    ``trustworthiness`` in [0, 1]: 1 where nobody is near on the map who is not near in the vectors.
    ``neighbors_kept`` in [0, 1]: the share of the nearest in the vectors who are among the nearest on the map.
    """

    coordinates: Array
    explained_variance_ratio: Array
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    thumbnails: Array = field(default_factory=lambda: np.zeros((0, 0, 0, 3), np.uint8))
    trustworthiness: float = float("nan")
    neighbors_kept: float = float("nan")

    def __repr__(self) -> str:
        lines = [f"Projection({len(self.names)} images in {self.coordinates.shape[1]} dimensions)"]
        if not np.isnan(self.trustworthiness):
            lines.append(f"  trustworthiness {self.trustworthiness:.3f}, neighbors kept {self.neighbors_kept:.0%}")
        if np.isfinite(self.explained_variance_ratio).all():
            lines.append(f"  variance kept {self.explained_variance_ratio.sum():.1%}")
        return "\n".join([*lines, f"  {self.provenance.caption}"])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Clusters(Result):
    """Groups of N images: ``members`` (N,) int32 the group of each, -1 for none; ``sizes`` (G,) of the groups.

    ``representatives`` (G,) the row nearest to the middle of each group; ``agreement`` of groups and labels, at
    most 1, NaN without labels.
    """

    has_picture: ClassVar[bool] = False

    members: Array
    sizes: Array
    representatives: Array
    agreement: float
    names: tuple[str, ...]
    labels: tuple[str | None, ...]

    @property
    def outliers(self) -> tuple[str, ...]:
        """The names of the images that are in no group."""
        return tuple(self.names[i] for i in np.flatnonzero(self.members < 0))

    def __repr__(self) -> str:
        lines = [f"Clusters({len(self.sizes)} of {len(self.names)} images, {len(self.outliers)} in none)"]
        lines.extend(
            printable(f"  {g}: {self.sizes[g]} images like {self.names[self.representatives[g]]}")
            for g in np.argsort(-self.sizes, kind="stable")[:10]
        )
        if len(self.sizes) > 10:
            lines.append(f"  and {len(self.sizes) - 10} smaller ones")
        if not np.isnan(self.agreement):
            lines.append(f"  agreement with the labels: {self.agreement:.2f} (adjusted mutual information)")
        return "\n".join([*lines, f"  {self.provenance.caption}"])
