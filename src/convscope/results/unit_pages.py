"""What there is to see of one channel: its patches, and everything about it in one place."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..texts import counted, printable
from .base import Array, Result
from .network_views import Filters
from .unit_causes import Feeds, Necessity
from .unit_scans import ChannelPair, Which
from .visualizations import Visualization

_SHOWN = 4  # names, labels or channels in a repr


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class UnitPatches(Result):
    """The K patches of one channel, each around the place where it peaks in an image; highest first.

    ``images`` (K, H, W, 3) uint8 as the network saw them. ``boxes`` (K, 4) int64: (top, left, bottom, right) in
    pixels of these. ``field`` is "exact", the receptive field, or "effective", where that is the whole image: the
    rectangle that holds at least 90 % of the sum of the value's |gradient|; where the channel is zero everywhere
    (see `fires`), the whole image. ``values`` (K,) are the peaks, or the channel's relevance in "relevant" images;
    ``positions`` (K, 2) the (row, column) of the peaks in the map, or (K, 0) in a vector layer.
    """

    layer: str
    channel: int
    which: Which | Literal["relevant"]
    field: Literal["exact", "effective"]
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    values: Array
    positions: Array
    boxes: Array
    images: Array

    def __len__(self) -> int:
        return len(self.names)

    @property
    def fires(self) -> Array:
        """(K,) bool: False where the channel is zero everywhere in the image, so that no place is its peak."""
        whole = (0, 0, *self.images.shape[1:3])
        return np.asarray((self.values != 0) | (self.boxes != whole).any(axis=1))

    @property
    def pixels(self) -> list[Array]:
        """What lies in the boxes: arrays (h, w, 3), of different sizes at the border of an image."""
        cut: Sequence[Array] = [
            image[top:bottom, left:right]
            for image, (top, left, bottom, right) in zip(self.images, self.boxes.tolist(), strict=True)
        ]
        return list(cut)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class UnitPage(Result):
    """What there is to know about one channel of a layer, from a scan of N images.

    ``top``, ``middle`` and ``low`` are patches of the images with its highest, middle and lowest peaks, at most K
    each. ``relevant`` are those of the images in which it carries most of the score (RelMax): its ``values`` are
    the channel's relevance by LRP, in score units, and the patches lie where the channel peaks. ``firing`` has the
    channel's maps (K, h, w) float32 in the images of "top" and "relevant"; (K, 0, 0) in a vector layer. It fires
    where these are above ``threshold``, the median of its peaks: higher than anywhere in half of the images.

    ``labels`` (L,) are in the order of their AUROC ``areas`` (L,), the highest first. ``histogram`` (B,) counts
    the images by peak between ``edges`` (B + 1,). ``nearest`` are the channels whose maps correlate most with this
    one, by |r|. ``silent_images`` and ``silent_places`` are the shares in which it is not above zero.

    ``visualization`` is a picture made for the channel, ``filters`` (1, I, kH, kW) its weights in the first
    convolution. ``necessity`` says what the network loses without the channel, ``feeds`` which channels it is made
    of, both of this channel alone. ``left_out`` says what could not be made, and why.
    """

    layer: str
    channel: int
    n_images: int
    top: UnitPatches
    middle: UnitPatches
    low: UnitPatches
    firing: Mapping[str, Array]
    threshold: float
    labels: tuple[str, ...]
    areas: Array
    histogram: Array
    edges: Array
    nearest: tuple[ChannelPair, ...]
    silent_images: float
    silent_places: float
    relevant: UnitPatches | None = None
    visualization: Visualization | None = None
    filters: Filters | None = None
    necessity: Necessity | None = None
    feeds: Feeds | None = None
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "nearest", tuple(ChannelPair(*one) for one in self.nearest))  # as from a file

    @property
    def anchor(self) -> str:
        """The name of its place in a report; what comes after the "#" of a link."""
        return unit_anchor(self.layer, self.channel)

    @property
    def rarity(self) -> str:
        """How often it is above zero, in words."""
        if self.silent_images == 1:
            return f"never above zero in {counted(self.n_images, 'image')}"
        return (
            f"above zero in {_share(1 - self.silent_images)} of {counted(self.n_images, 'image')}, "
            f"{_share(1 - self.silent_places)} of all places"
        )

    def __repr__(self) -> str:
        best = zip(self.top.names[:_SHOWN], self.top.values.tolist(), strict=False)
        lines = [
            f"UnitPage({self.layer}, channel {self.channel}: {self.rarity})",
            "  highest: " + ", ".join(f"{name} ({value:.3g})" for name, value in best),
        ]
        known = [pair for pair in zip(self.labels, self.areas.tolist(), strict=True) if not np.isnan(pair[1])]
        if known:
            lines.append("  AUROC: " + ", ".join(f"{label} {area:.2f}" for label, area in known[:_SHOWN]))
        if self.nearest:
            near = [f"channel {pair.b} ({pair.r:.2f})" for pair in self.nearest[:_SHOWN]]
            lines.append(f"  correlated: {', '.join(near)}")
        if self.necessity is not None:
            lost = [f"{one.label} {-one.effect:+.3g}" for one in self.necessity.top(self.channel, _SHOWN)]
            lines.append(f"  without it: {', '.join(lost)}; {self.necessity.kept(self.channel)}")
        if self.feeds is not None:
            fed = [f"{one.channel} ({one.contribution:+.3g})" for one in self.feeds.top(self.channel, _SHOWN)]
            lines.append(f"  fed by channels of {self.feeds.source}: {', '.join(fed) or 'none'}")
        lines += [f"  left out: {reason}" for reason in self.left_out]
        return "\n".join([*map(printable, lines), f"  {self.provenance.caption}"])


def unit_anchor(layer: str, channel: int) -> str:
    """The name of a unit's place in a report; an id has no blanks."""
    return re.sub(r"\s", "_", f"unit-{layer}-{channel}")


def _share(part: float) -> str:
    return "less than 1%" if 0 < part < 0.01 else f"{part:.0%}"
