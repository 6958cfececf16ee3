"""How far scores fall and how many images are no longer right without each of several channels, batch by batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..results import Array


@dataclass(frozen=True)
class EffectSums:
    """Sums over images, for c channels and K classes, each image for its own class.

    ``counts`` (K,) are the images of a class, ``right`` (K,) those with this class on top. ``falls`` (c, K) is how
    far their class's score falls without the channel, ``lost`` (c, K) how many fewer of them are right.
    """

    names: tuple[str, ...]
    counts: Array
    right: Array
    falls: Array
    lost: Array

    @classmethod
    def start(cls, names: tuple[str, ...], codes: Array, before: Array, n_channels: int) -> EffectSums:
        """Of n images with scores ``before`` (n, K) and classes ``codes`` (n,), or -1, with all channels."""
        n_classes = before.shape[1]
        is_right = before.argmax(axis=1) == codes
        counts, right = (np.bincount(codes[chosen], minlength=n_classes) for chosen in (codes >= 0, is_right))
        shape = (n_channels, n_classes)
        return cls(names, counts, right, np.zeros(shape), np.zeros(shape, np.int64))

    def add(self, rows: Array, codes: Array, before: Array, after: Array) -> None:
        """Take in m images with scores (m, K) ``before`` and ``after``, each without the channel of a row."""
        each = np.arange(len(rows))
        np.add.at(self.falls, (rows, codes), before[each, codes] - after[each, codes])
        was_right, is_right = (scores.argmax(axis=1) == codes for scores in (before, after))
        np.add.at(self.lost, (rows, codes), was_right.astype(np.int64) - is_right)

    def plus(self, other: EffectSums) -> EffectSums:
        """Together with further images."""
        return EffectSums(
            self.names + other.names,
            self.counts + other.counts,
            self.right + other.right,
            self.falls + other.falls,
            self.lost + other.lost,
        )
