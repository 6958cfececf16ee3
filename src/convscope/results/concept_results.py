"""What a layer's channels and directions mean: concepts, concept vectors, and what of a score channels carry."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np

from ..arguments import checks_arguments
from ..checks import shown
from ..errors import ParameterError
from ..texts import printable
from .base import Array, Result

Factoring: TypeAlias = Literal["nmf", "semi-nmf", "dictionary"]
Places: TypeAlias = Literal["mean", "flat"]  # of a map in a vector: the mean over its places, or every value


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ChannelRelevance(Result):
    """How much of the score each channel of ``layer`` carries: ``values`` (N, C) float32, signed, in score units.

    ``targets`` says whose score, one per image; ``scores`` (N,) are these scores.
    """

    has_picture: ClassVar[bool] = False

    values: Array
    layer: str
    targets: tuple[str, ...]
    scores: Array
    names: tuple[str, ...]

    @checks_arguments
    def top(self, channel: int, k: int = 8) -> list[tuple[str, float]]:
        """The k images in which a channel carries most of the score, best first: (name, relevance)."""
        if channel >= self.values.shape[1]:
            raise ParameterError(f"channel={shown(channel)}: layer {self.layer} has {self.values.shape[1]}")
        of_channel = self.values[:, channel]
        return [(self.names[i], float(of_channel[i])) for i in np.argsort(-of_channel, kind="stable")[:k]]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Concepts(Result):
    """K directions in a layer of C channels that its activations are made of, the most important first.

    ``basis`` (K, C): activations are about coefficients times ``basis``, with coefficients >= 0. ``importance``
    (K,) is the share of the score's variance that goes when a concept is held, its total Sobol index averaged over
    the images; ``importances`` (N, K) that of each image. It has no sign: ``effect`` (K,) is how far the score
    falls on average when the concept is taken out, in score units. ``stability`` (K,) in [0, 1] is the mean cosine
    with the most alike concept of other seeds; NaN for a given dictionary.

    ``maps`` (N, K, h, w) float32 are the coefficients at each place of the layer, in units of its activations.
    ``crops`` (K, B, s, s, 3) uint8 are the crops with the highest coefficients ``crop_strengths`` (K, B), best
    first, and ``crop_names`` their images. ``images`` (E, H, W, 3) uint8 are some of the N, ``shown`` (E,) their
    numbers. ``error`` is ||A - UW|| / ||A|| over the crops.
    """

    basis: Array
    importance: Array
    importances: Array
    effect: Array
    stability: Array
    maps: Array
    crops: Array
    crop_strengths: Array
    crop_names: tuple[tuple[str, ...], ...]
    images: Array
    shown: Array
    layer: str
    factoring: Factoring
    error: float
    targets: tuple[str, ...]
    scores: Array
    names: tuple[str, ...]

    def __repr__(self) -> str:
        k, c = self.basis.shape
        lines = [f"Concepts({k} in {self.layer} of {c} channels, {len(self.names)} images, {self.factoring})"]
        for i in range(k):
            stable = "" if np.isnan(self.stability[i]) else f", stability {self.stability[i]:.2f}"
            lines.append(
                f"  {i}: importance {self.importance[i]:.3f}, effect {self.effect[i]:+.3g}{stable}, "
                + printable(f"best in {self.crop_names[i][0]}")
            )
        return "\n".join([*lines, f"  unexplained {self.error:.0%}", f"  {self.provenance.caption}"])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class ConceptVector(Result):
    """The direction (D,) in a layer from negative to positive examples, with what speaks for it.

    ``vector`` has length 1; ``offset`` lies between the two groups, so that ``score(images)`` is positive on the
    side of the positives. With ``places="mean"`` D are the layer's channels, with "flat" all values of its map.
    ``accuracy`` is the share of held-out examples on their side (0.5 is chance), ``random_accuracy`` (R,) that of
    the counterparts, whose labels are shuffled, and ``accuracy_p`` the share of labelings that do as well.

    For N images with T targets each, ``derivatives`` (N, T) are the directional derivatives of the scores along
    the vector; ``tcav`` (T,) is the share of images with a positive one, ``random_tcav`` (R, T) that of the
    counterparts, and ``tcav_p`` (T,) the two-sided p-value of the first among the second. N and T are 0 without a
    target.
    """

    has_picture: ClassVar[bool] = False

    vector: Array
    offset: float
    layer: str
    places: Places
    accuracy: float
    random_accuracy: Array
    accuracy_p: float
    tcav: Array
    random_tcav: Array
    tcav_p: Array
    derivatives: Array
    targets: tuple[str, ...]
    names: tuple[str, ...]
    model: Any = field(default=None, metadata={"saved": False})

    def __repr__(self) -> str:
        chance = f"shuffled labels {self.random_accuracy.mean():.2f}, p {self.accuracy_p:.3f}"
        lines = [
            f"ConceptVector({len(self.vector)} values of {self.layer}, places: {self.places})",
            f"  held-out accuracy {self.accuracy:.2f} ({chance})",
        ]
        lines.extend(
            printable(
                f"  {name}: TCAV {self.tcav[t]:.2f} of {len(self.derivatives)} images (shuffled labels "
                f"{self.random_tcav[:, t].mean():.2f}, p {self.tcav_p[t]:.3f})"
            )
            for t, name in enumerate(self.targets)
        )
        return "\n".join([*lines, f"  {self.provenance.caption}"])

    def score(self, images: Any, *, model: Any = None) -> Array:
        """How far images lie on the side of the concept: (N,) in units of the layer's activations.

            score(x) = vector . a(x) - offset

        ``model`` is needed after `load`. An image that cannot be read gets NaN.
        """
        return self._units().concept_scores(self, images, model)  # type: ignore[no-any-return]

    def derivative(self, images: Any, target: Callable[..., Any] | Any = None, *, model: Any = None) -> Array:
        """How fast the target's score grows along the concept: (N, T), in score per unit of activation.

        ``target`` is as in `saliency`; ``model`` is needed after `load`. An image that cannot be read gets NaN.
        """
        return self._units().concept_derivatives(self, images, target, model)  # type: ignore[no-any-return]

    def _units(self) -> Any:
        return importlib.import_module("convscope.units")  # above this room, as the network is
