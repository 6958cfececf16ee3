"""One vector an image: a layer's activations, or the gradients of scores there along some axes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..checks import as_array, unfit
from ..errors import ModelError
from ..execution import check_differentiable, differentiable, evaluating, kept_leaf, run_to
from ..models import Inputs, Layer, Model, as_maps, network_and_target
from ..perturbation import finite
from ..results import Array, Places
from ..targets import Target, directed, n_classes_of, resolve
from .crops import over_places


@dataclass(frozen=True)
class LayerValues:
    """``values`` (n, D), or (n, T, r) along r axes; ``positions`` (n,) of the images in the call."""

    values: Array
    positions: tuple[int, ...]
    names: tuple[str, ...]
    targets: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def layer_values(
    model: Model, inputs: Inputs, layer: Layer, places: Places, step: Callable[[int], None]
) -> LayerValues:
    """The activations of images at a layer, averaged over its places or flattened, float32."""
    parts: list[Array] = []
    positions: list[int] = []
    names: list[str] = []
    with evaluating(model.module):
        for batch in model.batches(inputs):
            maps = as_maps(run_to(model.module, batch.x, [layer.name])[layer.name], layer)
            values = over_places(maps) if places == "mean" else maps.flatten(1)
            finite(values.sum(dim=1), batch.names)
            parts.append(values.float().cpu().clone().numpy())
            positions.extend(batch.positions)
            names.extend(batch.names)
            step(len(batch.names))
    return LayerValues(np.concatenate(parts), tuple(positions), tuple(names))


def channels_of(channels: Any, n: int, layer: str) -> Array:
    """The numbers of some of a layer's n channels: of one, of several, or of all for None."""
    if channels is None:
        return np.arange(n)
    expected = f"channels of layer {layer}: one or several whole numbers from 0 to {n - 1}"
    given = as_array(channels, "channel", expected).reshape(-1)
    if not len(given) or given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= n:
        raise unfit(channels, "channel", expected)
    return np.array(list(dict.fromkeys(given.tolist())))


def mean_values(
    model: Model,
    inputs: Inputs,
    name: str,
    maps_of: Callable[[torch.Tensor], torch.Tensor],
    step: Callable[[int], None],
) -> Array:
    """The mean (C,) of each channel over all places of all images, float64; ``maps_of`` gives (n, C, *sides)."""
    sums, n_values = np.zeros(()), 0
    for batch in model.batches(inputs):
        maps = maps_of(run_to(model.module, batch.x, [name])[name])
        values = maps.flatten(2) if maps.ndim > 2 else maps[:, :, None]
        of_images = values.sum(dim=2, dtype=torch.float64)
        finite(of_images.sum(dim=1), batch.names)
        sums = sums + of_images.sum(dim=0).cpu().numpy()
        n_values += len(values) * values.shape[2]
        step(batch.positions[-1] + 1)
    return np.asarray(sums / n_values)


def layer_gradients(
    model: Model,
    inputs: Inputs,
    layer: Layer,
    places: Places,
    target: Target,
    axes: Array,
    step: Callable[[int], None],
) -> LayerValues:
    """The gradients of T scores at a layer along axes (r, D): of a step at all places, or of each value."""
    model, target = network_and_target(model, directed(target, model.labels), inputs.shape)
    model.checked(inputs.shape, gradients=True)
    parts: list[Array] = []
    positions: list[int] = []
    names: list[str] = []
    targets: dict[str, None] = {}
    notes: list[str] = []
    with evaluating(model.module):
        for batch in model.batches(inputs, backward=True):
            with differentiable(model.module):
                with kept_leaf(model.module, layer.name) as kept:
                    output = model.module(batch.x.clone())
                resolved = resolve(
                    target,
                    output,
                    model.labels,
                    n_batch=len(batch.x),
                    positions=batch.positions,
                    n_images=len(inputs),
                    normalization=model.normalization(inputs.shape, n_classes_of(output)),
                    size=inputs.shape[1:],
                )
                scores = resolved.of(output, len(batch.x))
                check_differentiable(scores, model.name)
                parts.append(_along(scores, kept[0], layer, places, axes))
            positions.extend(batch.positions)
            names.extend(batch.names)
            targets |= dict.fromkeys(resolved.names)
            notes += resolved.notes
            step(len(batch.names))
    values = np.concatenate(parts)
    n_targets = values.shape[1]
    each = tuple(targets) if len(targets) == n_targets else ("each image's own",) * n_targets
    return LayerValues(values, tuple(positions), tuple(names), each, tuple(notes))


def _along(scores: torch.Tensor, leaf: torch.Tensor, layer: Layer, places: Places, axes: Array) -> Array:
    """(n, T, r): the gradients of scores (n, T) at a layer's output, along axes."""
    found = []
    for t in range(scores.shape[1]):
        (gradient,) = torch.autograd.grad(scores[:, t].sum(), leaf, retain_graph=True, allow_unused=True)
        if gradient is None:
            raise ModelError(f"the score does not depend on layer {layer.name!r}; name one in front of it")
        maps = as_maps(gradient, layer)
        flat = maps.flatten(2).sum(dim=2) if places == "mean" and maps.ndim > 2 else maps.flatten(1)
        found.append(flat.double().cpu().numpy() @ axes.T)
    return np.stack(found, axis=1)
