"""`unit`: everything about one channel, gathered from a scan, patches, relevance, weights and a picture."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import nn

from ..activations import feature_maps
from ..arguments import checks_arguments
from ..checks import InputShape
from ..errors import LayerError, ParameterError
from ..models import Model, as_model
from ..progress import StageProgress
from ..results import (
    Array,
    ChannelPair,
    ChannelRelevance,
    Feeds,
    Filters,
    Necessity,
    Patch,
    Result,
    UnitPage,
    UnitPatches,
    UnitScan,
    Visualization,
    Which,
)
from .page_parts import MAKERS, attempted, feeds_alone, necessity_alone
from .unit_patches import check_scan, cut_patches, images_of, unit_patches
from .wiring import weights_of_input

NEAREST = 6  # channels
_WHICH: tuple[Which, ...] = ("top", "middle", "low")


@checks_arguments
def unit(
    model: Model | nn.Module,
    layer: str,
    channel: int,
    *,
    scan: UnitScan,
    images: Any = None,
    k: int = 8,
    relevance: ChannelRelevance | bool = True,
    necessity: Necessity | bool = True,
    feeds: Feeds | bool = True,
    picture: Visualization | bool = True,
    progress: StageProgress | None = None,
) -> UnitPage:
    """Everything about one channel: what excites it, where, what it tells apart, and what is like it.

    No single view of a channel can be trusted: the highest images show what it likes best, the middle ones what it
    mostly sees, relevance where the network makes use of it, and the made picture what drives it beyond any image.

    Args:
        model: the network that was scanned.
        layer: one of the scan's.
        channel: from 0.
        scan: of `convscope.scan`.
        images: those that were scanned; by default they are opened by their names, which are paths.
        k: patches of each kind, at most.
        relevance: of this layer in the scan's images, from `channel_relevance`, which serves all its channels and
            takes any target. True computes it for the predicted classes; False leaves it out.
        necessity: of this channel, from `necessity`; True computes it in at most 48 of the images, evenly spaced,
            by the scan's labels if they name classes; False leaves it out.
        feeds: of this channel, from `feeds`; True computes them, from the scan if it has the layer before, else in
            the same 48 images; False leaves them out. What reads the image has its weights in their place.
        picture: of this channel, from `visualize`; True makes one in 48 steps; False leaves it out.
        progress: called with (stage, done, total); the stages are "relevance", "necessity", "feeds" and "picture".

    Returns:
        `UnitPage`. Its ``left_out`` says what does not fit the network or the layer, and why.

    Raises:
        ImageError: an image is not there any more or has changed since, or the scan is not of pictures.
        ModelError: another network was scanned.
        LayerError: the scan does not have the layer.

    Cost: of relevance, two forward passes and one backward pass for each image of the scan; of necessity, at most
    144 forward passes; of feeds none, or 48 up to the layer; of the picture, 48 steps of 2 views; else those of
    `unit_patches`, and a forward pass for at most 2 k images.

    Example:
        >>> import torch
        >>> from convscope import scan
        >>> net, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(9, 3, 8, 8)
        >>> quick = {"relevance": False, "necessity": False, "feeds": False, "picture": False}
        >>> page = unit(net, "1", 2, scan=scan(net, x, layers="1"), images=x, **quick)
        >>> page.top.names == tuple(scan(net, x, layers="1").top("1", 2, k=8))
        True

    References: relevance maximization: Achtibat et al. 2022, arXiv 2206.03208. Maps cut at a quantile: Bau et al.
    2017, arXiv 1704.05796 (there of all places, here of the images' peaks).
    """
    started = time.perf_counter()
    model = as_model(model)
    check_scan(model, scan)
    own_filter = _filter(model, tuple(scan.input_shape), layer, channel)
    asked = {"relevance": relevance, "necessity": necessity, "feeds": feeds and own_filter is None}
    for name, given in asked.items():
        if isinstance(given, Result) and (found := given.layer) != layer:
            raise ParameterError(f"{name}: it is of layer {found}; expected that of {layer}")
    top, middle, low = (
        unit_patches(model, scan, layer, channel, images=images, k=k, which=which) for which in _WHICH
    )
    firing = {"top": _maps(model, scan, layer, channel, top.names, images)}
    parts, left_out = _parts(model, scan, layer, channel, images, asked | {"picture": picture}, progress)
    relevant = None
    if parts["relevance"]:
        pick = partial(_relevant, model, scan, channel, parts["relevance"], images, k)
        if picked := attempted(pick, left_out, "relevance"):
            relevant, firing["relevant"] = picked
    notes = dict.fromkeys(top.provenance.notes)
    for name in ("necessity", "feeds", "picture"):
        notes |= dict.fromkeys(f"{name}: {note}" for note in (parts[name].provenance.notes if parts[name] else ()))
    areas = scan.auroc(layer)[channel]
    order = np.argsort(-np.nan_to_num(areas, nan=-1), kind="stable")
    return UnitPage(
        layer=layer,
        channel=channel,
        n_images=len(scan),
        top=top,
        middle=middle,
        low=low,
        firing=firing,
        threshold=float(np.median(scan.peaks[layer][:, channel])),
        labels=tuple(scan.labels[i] for i in order),
        areas=areas[order],
        histogram=scan.histograms[layer][channel],
        edges=scan.edges[layer][channel],
        nearest=_nearest(scan, layer, channel),
        silent_images=float(scan.silent_images[layer][channel]),
        silent_places=float(scan.silent_places[layer][channel]),
        relevant=relevant,
        necessity=parts["necessity"] and necessity_alone(parts["necessity"], channel),
        feeds=parts["feeds"] and feeds_alone(parts["feeds"], channel),
        visualization=parts["picture"],
        filters=own_filter,
        left_out=tuple(left_out),
        provenance=model.provenance("unit", {"layer": layer, "channel": channel, "k": k}, started, notes=[*notes]),
    )


def _parts(
    model: Model,
    scan: UnitScan,
    layer: str,
    channel: int,
    images: Any,
    asked: Mapping[str, Any],
    progress: StageProgress | None,
) -> tuple[dict[str, Any], list[str]]:
    """What is asked for, made where it is True; None where it is False or does not fit, which is then said."""
    parts, left_out = dict[str, Any](), list[str]()
    for name, given in asked.items():
        step = partial(progress, name) if progress else None
        if given is True:
            make = partial(MAKERS[name], model, scan, layer, [channel], images, step)
            parts[name] = attempted(make, left_out, name)
        else:
            parts[name] = given or None
    return parts, left_out


def _maps(model: Model, scan: UnitScan, layer: str, channel: int, names: Sequence[str], images: Any) -> Array:
    """The channel's maps (K, h, w) in images of the scan; (K, 0, 0) in a layer that has no places."""
    values = feature_maps(model, images_of(model, scan, names, images), layer=layer).values[layer][:, channel]
    return values.copy() if values.ndim == 3 else np.zeros((len(values), 0, 0), np.float32)


def _relevant(
    model: Model, scan: UnitScan, channel: int, relevance: ChannelRelevance, images: Any, k: int
) -> tuple[UnitPatches, Array]:
    """Patches where the channel peaks in the images in which it carries most of the score, and its maps there."""
    started, layer = time.perf_counter(), relevance.layer
    ranked = [(name, value) for name, value in relevance.top(channel, k) if value > 0]
    if not ranked:
        raise LayerError(f"channel {channel} adds to the score in none of the images")
    maps = _maps(model, scan, layer, channel, [name for name, _ in ranked], images)
    labels = dict(zip(scan.names, scan.image_labels, strict=True))
    patches = []
    for (name, value), one in zip(ranked, maps, strict=True):
        position = tuple(int(at) for at in np.unravel_index(one.argmax(), one.shape)) if one.size else ()
        patches.append(Patch(name, labels.get(name), value, position, scan.box(layer, position)))
    parameters = {"layer": layer, "channel": channel, "k": k, "which": "relevant"}
    return cut_patches(model, scan, patches, parameters, images, started), maps


def _nearest(scan: UnitScan, layer: str, channel: int) -> tuple[ChannelPair, ...]:
    """The channels with the highest |r|; none for a constant channel."""
    r, covariances = scan.correlations(layer)[channel], scan.covariances[layer][channel]
    order = np.argsort(-np.nan_to_num(np.abs(r)), kind="stable")
    found = [int(i) for i in order if i != channel and not np.isnan(r[i])][:NEAREST]
    return tuple(ChannelPair(channel, i, float(r[i]), float(covariances[i] / covariances[channel])) for i in found)


def _filter(model: Model, shape: InputShape, layer: str, channel: int) -> Filters | None:
    """The channel's weights in the network's input, with the norm behind them: it may turn their sign around."""
    own = weights_of_input(model, shape, layer)
    if own is None:
        return None
    origin = model.provenance("filters", {"layer": layer}, time.perf_counter())
    return Filters(values=own[[channel]].float().numpy(), layer=layer, provenance=origin)
