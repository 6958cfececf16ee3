"""What the network is run for on pages of units: relevance, necessity and feeds of several channels, a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..attribution.channel_relevance import channel_relevance
from ..errors import LayerError, ModelError, NotPicturesError
from ..models import Model
from ..progress import Progress, StageProgress
from ..results import ChannelRelevance, Feeds, Necessity, UnitScan, Visualization
from ..synthesis import visualize
from .feeds import feeds
from .necessity import necessity
from .scanned_images import classes_of
from .unit_patches import images_of
from .wiring import wiring_of

UNFIT = (LayerError, ModelError, NotPicturesError)  # a method does not fit the network
TRIED = 48  # images for necessity and feeds, at most
STEPS = 48  # of the picture: fewer than it takes by itself, and enough to know a channel by


def relevance_of(
    model: Model, scan: UnitScan, layer: str, _: Sequence[int], images: Any, progress: Progress | None
) -> ChannelRelevance:
    """The relevance of all channels of a layer in all images of a scan."""
    every = images_of(model, scan, scan.names, images)
    return channel_relevance(model, every, layer=layer, progress=progress)


def necessity_of(
    model: Model, scan: UnitScan, layer: str, channels: Sequence[int], images: Any, progress: Progress | None
) -> Necessity:
    """What is lost without each of some channels, in at most `TRIED` images of a scan, by the scan's labels."""
    tried = _tried(scan)
    codes, _ = classes_of(None, [scan.image_labels[i] for i in tried], model.labels)
    return necessity(
        model,
        images_of(model, scan, [scan.names[i] for i in tried], images),
        layer=layer,
        channels=list(channels),
        labels=[None if code < 0 else int(code) for code in codes],
        progress=progress,
    )


def feeds_of(
    model: Model, scan: UnitScan, layer: str, channels: Sequence[int], images: Any, progress: Progress | None
) -> Feeds:
    """What feeds some channels, by the scan if it has the layer before, else in at most `TRIED` of its images."""
    before = wiring_of(model, tuple(scan.input_shape), layer).same
    source: Any = scan
    if not any(name in scan.layers for name in before):
        source = images_of(model, scan, [scan.names[i] for i in _tried(scan)], images)
    return feeds(model, source, layer=layer, channel=list(channels), progress=progress)


def picture_of(
    model: Model, scan: UnitScan, layer: str, channels: Sequence[int], _: Any, progress: Progress | None
) -> Visualization:
    """A picture made for one channel."""
    (channel,) = channels
    height, width = scan.input_shape[1:]
    size_px = None if model.preprocessing else (height, width)
    return visualize(model, channel, layer=layer, n_steps=STEPS, size_px=size_px, progress=progress)


SHARED = ("relevance", "necessity", "feeds")  # parts that are made for several channels at once
MAKERS: Mapping[str, Callable[..., Any]] = {
    "relevance": relevance_of,
    "necessity": necessity_of,
    "feeds": feeds_of,
    "picture": picture_of,
}


def shared_parts(
    model: Model, scan: UnitScan, layer: str, channels: Sequence[int], progress: StageProgress | None = None
) -> dict[str, Any]:
    """Arguments for `unit` that pages of several channels have in common; True where each is to say why not."""
    found = {}
    for name in SHARED:
        step = partial(progress, name) if progress else None
        found[name] = attempted(partial(MAKERS[name], model, scan, layer, channels, None, step)) or True
    return found


def attempted(make: Callable[[], Any], left_out: list[str] | None = None, name: str = "") -> Any:
    """What is made; None where a method does not fit the network, with the reason in ``left_out``."""
    try:
        return make()
    except UNFIT as error:
        if left_out is not None:
            left_out.append(f"{name}: {error}")
        return None


def necessity_alone(found: Necessity, channel: int) -> Necessity:
    """That of one channel."""
    row = [found.row(channel)]
    return replace(
        found,
        channels=found.channels[row],
        means=found.means[row],
        effects=found.effects[row],
        right_without=found.right_without[row],
    )


def feeds_alone(found: Feeds, channel: int) -> Feeds:
    """Those of one channel."""
    row = [found.row(channel)]
    return replace(found, channels=found.channels[row], weights=found.weights[row], biases=found.biases[row])


def _tried(scan: UnitScan) -> list[int]:
    """Numbers of images, evenly spaced, so that a folder of each label is among them."""
    return [int(i) for i in np.unique(np.linspace(0, len(scan) - 1, TRIED).round())]
