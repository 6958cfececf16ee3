"""What a channel is made from, and what is made of it: the channels that feed it, and the scores that need it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from ..arguments import checks_arguments
from ..errors import ParameterError
from ..texts import counted, printable
from .base import Array, Result

_SHOWN = 3  # channels in a repr


class ClassEffect(NamedTuple):
    """How far the score of a class falls in its images without a channel; below 0 it rises."""

    label: str
    effect: float


class Feed(NamedTuple):
    """A channel of the layer before, and what it adds to the mean of the channel it feeds: weight * mean."""

    channel: int
    weight: float
    mean: float
    contribution: float


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Necessity(Result):
    """What a network loses in images without each of c channels of a layer, which are set to their means.

    ``channels`` (c,) int64; ``means`` (c,) float32 are the values they were set to. ``classes`` (L,) are those of
    the images, in the network's order, ``by`` their "labels" or, without any, by the network's "predictions", and
    ``counts`` (L,) the numbers of their images. ``effects`` (c, L) float32 is how far the score of a class
    falls, the mean over its own images: above 0 where it needs the channel. ``right`` (L,) counts the images with
    their class on top, ``right_without`` (c, L) those without the channel. ``names`` (N,) are all images that
    could be read.
    """

    layer: str
    channels: Array
    means: Array
    classes: tuple[str, ...]
    by: Literal["labels", "predictions"]
    counts: Array
    effects: Array
    right: Array
    right_without: Array
    names: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        """The share of the images that the network gets right; 1 by predictions."""
        return float(self.right.sum() / self.counts.sum())

    @property
    def accuracy_without(self) -> Array:
        """(c,): the same without each channel; by predictions, the share of images that keep theirs."""
        return np.asarray(self.right_without.sum(axis=1) / self.counts.sum())

    @checks_arguments
    def top(self, channel: int, k: int = 5) -> list[ClassEffect]:
        """The k classes whose scores change most without a channel, the largest change first."""
        effects = self.effects[self.row(channel)]
        order = np.argsort(-np.abs(effects), kind="stable")[:k]
        return [ClassEffect(self.classes[i], float(effects[i])) for i in order]

    @checks_arguments
    def row(self, channel: int) -> int:
        """Where a channel stands in ``channels``."""
        return _row_of(channel, self.channels, self.layer)

    @checks_arguments
    def kept(self, channel: int) -> str:
        """What stays right without a channel, in words."""
        what = "accuracy" if self.by == "labels" else "same prediction"
        return f"{what} {self.accuracy:.1%} to {self.accuracy_without[self.row(channel)]:.1%}"

    def __repr__(self) -> str:
        n = counted(len(self.channels), "channel")
        lines = [f"Necessity({n} of {self.layer}, {counted(len(self.names), 'image')}, classes by {self.by})"]
        order = np.argsort(-np.abs(self.effects).max(axis=1), kind="stable")
        for row in order[:_SHOWN].tolist():
            first = self.top(self.channels[row], 1)[0]
            lines.append(
                f"  without {self.channels[row]}: {first.label} {-first.effect:+.3g}, "
                f"{self.kept(self.channels[row])}"
            )
        return "\n".join([*map(printable, lines), f"  {self.provenance.caption}"])


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Feeds(Result):
    """What the channels of the layer before add to c channels of a layer, through one convolution.

    ``channels`` (c,) int64. ``weights`` (c, I) are those of the convolution ``convolution`` from each of its I
    source channels, added over the kernel and times the scale of a batch norm right behind it; 0 for a source of
    another group. ``means`` (I,) are the sources' mean activations. ``biases`` (c,) is what comes on top.
    ``source`` is the layer that the convolution reads; ``sources`` are all layers with the same channels between
    it and the operation before that mixes them, nearest first.
    """

    layer: str
    convolution: str
    source: str
    sources: tuple[str, ...]
    channels: Array
    weights: Array
    means: Array
    biases: Array

    @property
    def contributions(self) -> Array:
        """(c, I), signed: weights * means."""
        return np.asarray(self.weights * self.means)

    @checks_arguments
    def top(self, channel: int, k: int = 5) -> list[Feed]:
        """The k source channels that add most to a channel or take most from it, the largest first."""
        row = self.row(channel)
        contributions = self.contributions[row]
        order = [i for i in np.argsort(-np.abs(contributions), kind="stable")[:k].tolist() if contributions[i]]
        return [Feed(i, float(self.weights[row, i]), float(self.means[i]), float(contributions[i])) for i in order]

    @checks_arguments
    def row(self, channel: int) -> int:
        """Where a channel stands in ``channels``."""
        return _row_of(channel, self.channels, self.layer)

    def __repr__(self) -> str:
        n, m = counted(len(self.channels), "channel"), counted(len(self.means), "channel")
        lines = [f"Feeds({n} of {self.layer} from {m} of {self.source}, by {self.convolution})"]
        for channel in self.channels[:_SHOWN].tolist():
            found = ", ".join(f"{feed.channel} ({feed.contribution:+.3g})" for feed in self.top(channel, 4))
            lines.append(f"  {channel}: {found or 'nothing'}")
        return "\n".join([*map(printable, lines), f"  {self.provenance.caption}"])


def _row_of(channel: int, channels: Array, layer: str) -> int:
    rows = np.flatnonzero(channels == channel)
    if not len(rows):
        others = counted(len(channels), "other channel")
        raise ParameterError(f"channel={channel}: this result is of {others} of {layer}; ask for this one, too")
    return int(rows[0])
