"""What the channels of layers respond to in a collection of images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np

from ..arguments import checks_arguments
from ..errors import LayerError, ParameterError
from ..texts import counted, listed, printable
from .base import Array, Result
from .rank_statistics import aurocs

Which: TypeAlias = Literal["top", "middle", "low"]
_SHOWN = 6  # duplicates or labels in a repr


class Patch(NamedTuple):
    """Where a channel reached its highest value in an image.

    ``position`` is that of the value in the map, such as (row, column), and () in a vector layer. ``box`` is the
    rectangle of the network's input that the value depends on, such as (top, left, bottom, right) in pixels, the
    last two without; None where that is the whole image. Of equal values, such as the zeros of a ReLU that fires
    nowhere, it is the first.
    """

    name: str
    label: str | None
    value: float
    position: tuple[int, ...]
    box: tuple[int, ...] | None


class ChannelPair(NamedTuple):
    """Two channels with correlation ``r``; the second is about ``scale`` times the first, plus a constant."""

    a: int
    b: int
    r: float
    scale: float


class ChannelScore(NamedTuple):
    """A channel and its AUROC: 1 if it is always higher in the images meant, 0.5 at chance, 0 if always lower."""

    channel: int
    auroc: float


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class UnitScan(Result):
    """What each of the C channels of some layers does in N images.

    The peak of a channel in an image is its highest value over all places, in a vector layer its value. Dicts go
    by the name of the layer:

    ``peaks`` (N, C) float32, from which all quantiles, orders and AUROCs are computed exactly. ``high``, ``low``
    and ``middle`` (C, k): numbers of the images with the highest peaks, the lowest, and those nearest to the
    median, each nearest to its end first, equal ones in the order of the images; ``high_places``, ``low_places``
    and ``middle_places`` (C, k): where the peaks are, places counted row by row. ``quantiles`` (C, Q) of the peaks
    at ``levels`` (Q,); ``histograms`` (C, B) int64, images by peak between ``edges`` (C, B + 1). ``means`` (C,)
    over all places of all images, and ``label_means`` (C, L) over those of a label. ``silent_places`` (C,) and
    ``silent_images`` (C,): the share of the places, and of the images, in which the channel is not above zero:
    after a ReLU, the share of zeros. ``areas`` (C, L): AUROC of each label. ``covariances`` (C, C) over at most 64
    evenly spaced places of every image, the same for all channels: the centered Gram matrix, divided by the number
    of places. ``sides``: the shape of a map. ``pixels`` (S, 3) or (0, 3): see `Layer.pixels`.

    ``labels`` (L,) are the labels that occur, in alphabetical order, ``image_labels`` (N,) those of the images.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    image_labels: tuple[str | None, ...]
    layers: tuple[str, ...]
    input_shape: tuple[int, ...]
    levels: Array
    peaks: Mapping[str, Array]
    high: Mapping[str, Array]
    low: Mapping[str, Array]
    middle: Mapping[str, Array]
    high_places: Mapping[str, Array]
    low_places: Mapping[str, Array]
    middle_places: Mapping[str, Array]
    quantiles: Mapping[str, Array]
    histograms: Mapping[str, Array]
    edges: Mapping[str, Array]
    means: Mapping[str, Array]
    label_means: Mapping[str, Array]
    silent_places: Mapping[str, Array]
    silent_images: Mapping[str, Array]
    areas: Mapping[str, Array]
    covariances: Mapping[str, Array]
    sides: Mapping[str, Array]
    pixels: Mapping[str, Array]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def dead_rate(self) -> float:
        """3 / N: a channel found dead is above zero in at most this share of such images, at 95 % confidence."""
        return min(1.0, 3 / len(self))

    @checks_arguments
    def n_channels(self, layer: str) -> int:
        """C of a layer."""
        return len(self._of(layer, self.means))

    @checks_arguments
    def dead(self, layer: str) -> Array:
        """The channels (D,) that are never above zero; `dead_rate` says how sure that is."""
        return np.flatnonzero(self._of(layer, self.silent_images) == 1)

    @checks_arguments
    def correlations(self, layer: str) -> Array:
        """Pearson's r (C, C) of the channels over places of the images; NaN for a constant channel."""
        covariances = self._of(layer, self.covariances).astype(np.float64)
        deviations = np.sqrt(np.diag(covariances))
        with np.errstate(invalid="ignore", divide="ignore"):
            # Covariances in float32 may be a little larger than the variances allow.
            return np.clip(covariances / deviations[:, None] / deviations, -1, 1)

    @checks_arguments
    def duplicates(self, layer: str, *, min_correlation: float = 0.999) -> list[ChannelPair]:
        """Pairs of channels with |r| of at least ``min_correlation``, the nearest first.

        r is over the places of the maps, so that a channel that fires beside another one is not its copy. With
        ``scale`` below 0 one is the negative of the other.
        """
        r, covariances = self.correlations(layer), self._of(layer, self.covariances)
        first, second = np.nonzero(np.triu(np.isfinite(r) & (np.abs(r) >= min_correlation), 1))
        pairs = [
            ChannelPair(int(a), int(b), float(r[a, b]), float(covariances[a, b] / covariances[a, a]))
            for a, b in zip(first, second, strict=True)
        ]
        return sorted(pairs, key=lambda pair: -abs(pair.r))

    @checks_arguments
    def top(self, layer: str, channel: int, k: int | None = None) -> list[str]:
        """The names of the images in which a channel reaches its k highest values, highest first."""
        return [patch.name for patch in self.patches(layer, channel, k)]

    @checks_arguments
    def patches(self, layer: str, channel: int, k: int | None = None, *, which: Which = "top") -> list[Patch]:
        """Where a channel peaks in the images with its k highest, "low"est or "middle" peaks, one in each image.

        The box is exact, by the receptive field; `unit_patches` cuts out the pixels, also where it is the whole
        image.
        """
        images, places = self._chosen(layer, channel, which)
        sides = tuple(self.sides[layer].tolist())
        values = self.peaks[layer][images, channel].tolist()
        every = zip(images.tolist(), places.tolist(), values, strict=True)
        found = []
        for image, place, value in list(every)[:k]:
            position = tuple(int(at) for at in np.unravel_index(place, sides)) if sides else ()
            box = self.box(layer, position)
            found.append(Patch(self.names[image], self.image_labels[image], value, position, box))
        return found

    @checks_arguments
    def auroc(self, layer: str) -> Array:
        """AUROC (C, L) of each of `labels` against the other labels, by the channels' peaks.

        The chance that an image of the label has a higher peak than one of another label; ties count half.
        """
        return self._of(layer, self.areas)

    @checks_arguments
    def selective(self, layer: str, label: str, k: int = 10) -> list[ChannelScore]:
        """The k channels whose peaks tell a label best from the others: by AUROC, highest first."""
        areas = self.auroc(layer)[:, self._code(label)]
        order = np.argsort(-np.nan_to_num(areas, nan=-1), kind="stable")[:k]
        return [ChannelScore(int(channel), float(areas[channel])) for channel in order]

    @checks_arguments
    def different(self, layer: str, a: Any, b: Any, k: int = 10) -> list[ChannelScore]:
        """The k channels that differ most between two sets of images.

        Args:
            layer: one of the scan's.
            a: a label, or a mask (N,) of the scan's images, such as those that the network gets right.
            b: the other set; no image may be in both.
            k: how many.

        Returns:
            Channels with the AUROC of ``a`` against ``b``, the farthest from 0.5 first.
        """
        masks = [self._mask(images, name) for images, name in ((a, "a"), (b, "b"))]
        if (masks[0] & masks[1]).any():
            raise ParameterError(
                f"a and b: {counted(int((masks[0] & masks[1]).sum()), 'image')} in both; part them"
            )
        codes = np.where(masks[0], 0, np.where(masks[1], 1, -1))
        either = codes >= 0
        areas = aurocs(np.ascontiguousarray(self._of(layer, self.peaks)[either].T), codes[either], 2)[:, 0]
        order = np.argsort(-np.abs(areas - 0.5), kind="stable")[:k]
        return [ChannelScore(int(channel), float(areas[channel])) for channel in order]

    def _chosen(self, layer: str, channel: int, which: Which) -> tuple[Array, Array]:
        count = self.n_channels(layer)
        if not 0 <= channel < count:
            raise ParameterError(f"channel={channel}: layer {layer} has {count} channels, 0 to {count - 1}")
        tables = {
            "top": (self.high, self.high_places),
            "low": (self.low, self.low_places),
            "middle": (self.middle, self.middle_places),
        }
        images, places = tables[which]
        return images[layer][channel], places[layer][channel]

    @checks_arguments
    def box(self, layer: str, position: tuple[int, ...]) -> tuple[int, ...] | None:
        """What a place of a layer's map depends on, as in `Patch`."""
        pixels, size = self._of(layer, self.pixels).tolist(), self.input_shape[1:]
        if not pixels:
            return None
        if len(position) != len(pixels):
            raise ParameterError(f"position={position}: a place of layer {layer} has {len(pixels)} numbers")
        places = list(zip(pixels, position, size, strict=True))
        starts = [max(0, math.floor(first + at * step)) for (first, _, step), at, _ in places]
        ends = [min(side, math.ceil(last + at * step)) for (_, last, step), at, side in places]
        return None if (*starts, *ends) == (*[0] * len(size), *size) else (*starts, *ends)

    def _mask(self, images: Any, name: str) -> Array:
        if isinstance(images, str):
            code = self._code(images)
            return np.array([label == self.labels[code] for label in self.image_labels])
        try:
            mask = np.asarray(images)
        except (TypeError, ValueError, RuntimeError):  # as of lists of several lengths
            mask = np.zeros(0)
        if mask.dtype != bool or mask.shape != (len(self),) or not mask.any():
            raise ParameterError(
                f"{name}: expected one of {listed(self.labels, 12) or 'no labels'}, or a mask of bools, "
                f"({len(self)},), with at least one image"
            )
        return mask

    def _code(self, label: str) -> int:
        if label not in self.labels:
            known = listed(self.labels, 12) or "none, as the images bring no labels"
            raise ParameterError(f"label={label!r}: no image has it; there are {known}")
        return self.labels.index(label)

    def _of(self, layer: str, values: Mapping[str, Array]) -> Array:
        if layer not in values:
            raise LayerError(f"layer {layer!r} was not scanned; these were: {', '.join(self.layers)}")
        return values[layer]

    def __repr__(self) -> str:
        lines = [f"UnitScan({counted(len(self), 'image')}, {counted(len(self.labels), 'label')})"]
        for layer in self.layers:
            dead, pairs = self.dead(layer), self.duplicates(layer)
            lines.append(
                f"  {layer}: {counted(self.n_channels(layer), 'channel')}, {len(dead)} never above zero "
                f"(in at most {self.dead_rate:.2%} of such images), {counted(len(pairs), 'pair')} of duplicates"
            )
        if self.labels:
            lines.append(f"  labels: {listed(self.labels, _SHOWN)}")
        return "\n".join([*map(printable, lines), f"  {self.provenance.caption}"])
