"""The filters of a layer, and its feature maps for an image."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from .arguments import checks_arguments
from .checks import InputShape
from .errors import LayerError
from .execution import evaluating, run_to
from .models import CONVOLUTIONS, Layer, Model, as_maps, as_model
from .progress import Progress
from .results import Array, FeatureMaps, Filters


@checks_arguments
def filters(model: Model | nn.Module, *, layer: str | None = None) -> Filters:
    """The weights of a two-dimensional convolution.

    In the first layer a filter is a small image of what it responds to: edges, colors, gratings. Deeper filters
    have one plane for each input channel and are hard to read; look at `feature_maps` instead.

    Args:
        model: a `Model` or a module.
        layer: name of a two-dimensional convolution; by default the first one.

    Returns:
        `Filters` with values (O, I, kH, kW), the raw weights; I is the number of input channels per group.

    Raises:
        LayerError: there is no such layer, or it is not such a convolution.

    Cost: no forward pass.

    Example:
        >>> filters(nn.Conv2d(3, 8, 5)).values.shape
        (8, 3, 5, 5)
    """
    started = time.perf_counter()
    model = as_model(model)
    convolutions = {name: m for name, m in model.module.named_modules() if isinstance(m, nn.Conv2d)}
    if not convolutions:
        raise LayerError(_without_filters(model))
    name = next(iter(convolutions)) if layer is None else layer
    if name not in convolutions:
        known = dict(model.module.named_modules())
        what = f"is a {type(known[name]).__name__}, not a Conv2d" if name in known else "does not exist"
        raise LayerError(f"layer {name!r} {what}; convolutions: {', '.join(list(convolutions)[:12])}")
    return Filters(
        values=convolutions[name].weight.detach().float().cpu().numpy().copy(),
        layer=name,
        provenance=model.provenance("filters", {"layer": name}, started),
    )


def _without_filters(model: Model) -> str:
    """Why there are no filters of a network, and what it has in their place."""
    others = [(name, m) for name, m in model.module.named_modules() if isinstance(m, CONVOLUTIONS)]
    if not others:
        return f"{model.name} has no convolution, so there are no filters to show"
    name, first = others[0]
    return (
        f"filters are pictures of the weights of a Conv2d, and {model.name} has none; its first convolution, "
        f"{name!r}, is a {type(first).__name__}: read its weight, or look at feature_maps"
    )


@checks_arguments
def feature_maps(
    model: Model | nn.Module,
    images: Any,
    *,
    layer: str | Sequence[str] | None = None,
    progress: Progress | None = None,
) -> FeatureMaps:
    """Where each channel of a layer fires on an image.

    Args:
        model: a `Model` or a module.
        images: see `convscope.load_images`; a tensor (N, C, H, W) counts as preprocessed. Signals (N, C, L) and
            volumes (N, C, D, H, W) give arrays alike.
        layer: one or several names from `Model.layers`; by default the last spatial layer.
        progress: called with (images done, images in total).

    Returns:
        `FeatureMaps`: ``values[layer]`` is (N, C, H, W) float32, raw activations, or (N, D) for a vector layer.

    Raises:
        LayerError: there is no such layer.

    Cost: one forward pass per image, up to the deepest of the layers; all maps are kept in memory.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())
        >>> feature_maps(net, torch.zeros(2, 3, 8, 8), layer="1")["1"].shape
        (2, 4, 8, 8)
    """
    started = time.perf_counter()
    model, images = as_model(model).together(images)
    inputs = model.inputs(images)
    layers = _choose(model, inputs.shape, layer)
    maps: dict[str, list[Array]] = {found.name: [] for found in layers}
    pixels: list[Array] = []
    names: list[str] = []
    with evaluating(model.module):
        for batch in model.batches(inputs):
            pixels.append(model.to_pixels(batch.x))  # before the run, which may change them in place
            tensors = run_to(model.module, batch.x, list(maps))
            for found in layers:
                values = as_maps(tensors[found.name], found).float().cpu().clone()
                maps[found.name].append(np.ascontiguousarray(values.numpy()))
            names.extend(batch.names)
            if progress:
                progress(batch.positions[-1] + 1, len(inputs))
    if progress and inputs.skipped:
        progress(len(inputs), len(inputs))  # the last images may have been skipped
    return FeatureMaps(
        values={name: np.concatenate(parts) for name, parts in maps.items()},
        images=np.concatenate(pixels),
        names=tuple(names),
        provenance=model.provenance(
            "feature_maps", {"layer": tuple(maps)}, started, notes=inputs.notes, skipped=inputs.skipped
        ),
    )


def _choose(model: Model, shape: InputShape, layer: str | Sequence[str] | None) -> list[Layer]:
    structure = model.structure(shape)
    if layer is None:
        if structure.last_spatial is None:
            raise LayerError(f"{model.name} has no layer with a spatial map; name a layer")
        return [structure.last_spatial]
    names = [layer] if isinstance(layer, str) else list(dict.fromkeys(layer))
    if not names:
        raise LayerError("no layer was named: give one name, several, or None for the last spatial layer")
    return [structure.find(name) for name in names]
