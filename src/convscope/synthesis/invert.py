"""What each depth of a network keeps of an image: pictures made from a layer's values alone."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from ..arguments import checks_arguments
from ..errors import Interrupted, LayerError
from ..execution import evaluating, run_to
from ..models import Layer, Model, as_maps, as_model
from ..progress import Progress, part_of
from ..results import Inversion, Visualization
from .closeness import relative_distance
from .making import made
from .objectives import difference
from .presets import PRESETS, Recipe, recipe_of
from .setting import Asked, one_input

# The whole picture in each step, without noise: all of it has to fit.
INVERTED = replace(
    PRESETS["natural"], contrast=None, n_views=1, crop=(1.0, 1.0), noise=0.0, n_steps=200, total_variation=1e-7
)
HIGH = 0.5  # of the layer's values: above this error a picture says little about the layer


@checks_arguments
def invert(
    model: Model | nn.Module,
    image: Any,
    layers: str | Sequence[str] | None = None,
    *,
    recipe: Recipe | None = None,
    n_steps: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Inversion:
    """Make an image again from what a layer gives for it: what the picture lacks, the layer does not need.

        I* = argmin over I of ||a(I) - a0||^2 / ||a0||^2 + w * TV(I)

    a0 = a(I0) are the values of the layer for the image, I the network's input, and TV the sum of the absolute
    differences between neighbors. The ascent starts from faint noise and changes Fourier coefficients, large
    shapes first; a ReLU at the end of the layer passes on what would open units that are shut. Of all images that
    give the same values it finds one that is like photos; that the picture lacks something is sure only where its
    error is near zero.

    Args:
        model: a `Model` or a module.
        image: one image: a path, an array, or a preprocessed tensor (1, C, H, W).
        layers: one or several names from `Model.layers`; by default the last map at each resolution, or of tokens
            four evenly spaced ones.
        recipe: a `Recipe` of one's own; ``total_variation`` is w.
        n_steps: number of steps for each layer, by default 200.
        seed: seed of the noise.
        progress: called with (steps done, steps in total).

    Returns:
        `Inversion`: a picture for each layer, its error at the layer, and its distance from the image.

    Raises:
        LayerError: no such layer, or one that is zero everywhere for this image.
        Interrupted: on Ctrl-C, with the layers done and the best picture so far of the next one.

    Cost: one forward and one backward pass per step, up to the layer.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 2))
        >>> found = invert(net, torch.rand(1, 3, 8, 8), ["0", "1"], n_steps=5)
        >>> found.images.shape, found.curves.shape
        ((2, 8, 8, 3), (2, 6))

    References:
        Mahendran, Vedaldi: Understanding deep image representations by inverting them, 2014, arXiv 1412.0035.
        Olah, Mordvintsev, Schubert: Feature visualization, Distill 2017 (Fourier coefficients).
    """
    started = time.perf_counter()
    model = as_model(model)
    x = one_input(model, image, "image", "invert")
    structure = model.checked(tuple(x.shape[1:]), gradients=True)
    names = [layers] if isinstance(layers, str) else layers
    chosen = structure.stages if names is None else [structure.find(name) for name in dict.fromkeys(names)]
    if not chosen:
        raise LayerError("no layer was named, and the network has no maps: give the names of layers")
    recipe = recipe_of(recipe or INVERTED, n_steps)
    found: list[Visualization] = []
    for i, layer in enumerate(chosen):
        objective = difference(layer.name, _values(model, layer, x))
        asked = Asked(preset=recipe, seed=seed, size_px=(x.shape[2], x.shape[3]), is_whole=True, opens=True)
        try:
            found += made(model, [objective], asked, None, part_of(progress, i, len(chosen)))
        except Interrupted as error:
            done = [*found, error.result]
            raise Interrupted(_inversion(model, x, image, chosen, done, recipe, seed, started)) from error
    return _inversion(model, x, image, chosen, found, recipe, seed, started)


def _values(model: Model, layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """What a layer gives for one image, without the batch."""
    with evaluating(model.module), torch.no_grad():
        values = as_maps(run_to(model.module, x.to(model.dtype, copy=True), [layer.name])[layer.name], layer)[0]
    if not values.any():
        raise LayerError(f"layer {layer.name} is zero everywhere for this image, so nothing can be told from it")
    return values.clone()


def _inversion(
    model: Model, x: torch.Tensor, image: Any, layers: Sequence[Layer], found: Sequence[Visualization],
    recipe: Recipe, seed: int, started: float,
) -> Inversion:  # fmt: skip
    """The pictures of the layers that are done, with their errors."""
    inputs = torch.stack([torch.from_numpy(one.input) for one in found])
    curves = np.full((len(found), recipe.n_steps + 1), np.nan, np.float32)
    for curve, one in zip(curves, found, strict=True):  # the last one is shorter after Ctrl-C
        curve[: len(one.scores)] = np.sqrt(-one.scores.clip(max=0))
    names = tuple(layer.name for layer in layers[: len(found)])
    errors = np.array([np.sqrt(-min(0.0, float(one.scores[-1]))) for one in found], np.float32)
    notes = [f"{name}: {note}" for name, one in zip(names, found, strict=True) for note in one.provenance.notes]
    notes += [
        f"{name}: the picture matches the layer with an error of {error:.0%}, so what it lacks the layer may "
        f"still keep: try more than {recipe.n_steps} steps"
        for name, error in zip(names, errors, strict=True)
        if error > HIGH
    ]
    parameters = {
        "layers": names,
        "n_steps": recipe.n_steps,
        "total_variation": recipe.total_variation,
        "seed": seed,
    }
    return Inversion(
        layers=names,
        images=np.stack([one.image for one in found]),
        original=model.to_pixels(x)[0],
        errors=errors,
        distances=relative_distance(inputs, x.cpu()).numpy(),
        curves=curves,
        name=model.inputs(image).names[0],
        provenance=model.provenance("invert", parameters, started, notes=tuple(dict.fromkeys(notes))),
    )
