"""DeepDream: an image in which everything that a layer sees becomes stronger, at several sizes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from ..arguments import checks_arguments
from ..errors import Interrupted, LayerError
from ..models import Model, as_model
from ..progress import Progress, part_of
from ..results import Visualization
from .making import made
from .objectives import layer as whole_layer
from .presets import PRESETS, Recipe, recipe_of
from .setting import Asked, one_input

OCTAVE = 1.4  # from one size to the next
DREAM = replace(PRESETS["plain"], n_steps=12, step_size=0.02, l2=0.0, jitter=0.05, is_normalized=True)


@checks_arguments
def deep_dream(
    model: Model | nn.Module,
    image: Any,
    layer: str | None = None,
    *,
    n_octaves: int = 3,
    recipe: Recipe | None = None,
    n_steps: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Visualization:
    """Change an image so that a layer responds more, whatever it is that it responds to.

        I* = argmax over I of the mean of a(I)^2, a few steps from the image, first small and then larger

    The image is made small first; then what the ascent changed is enlarged, by 1.4 each time, and added to the
    image at the next size, up to that of the network's input. So patterns of several sizes appear. The network
    has to take inputs of any size, unless ``n_octaves`` is 1.

    Args:
        model: a `Model` or a module.
        image: one image: a path, an array, or a preprocessed tensor (1, C, H, W).
        layer: name of the layer, by default the last one at the last resolution but one.
        n_octaves: the number of sizes.
        recipe: a `Recipe` of one's own, for each size.
        n_steps: number of steps at each size, by default 12.
        seed: seed of the random shifts.
        progress: called with (steps done, steps in total).

    Returns:
        `Visualization` with the image as ``original``; ``scores`` are those of the last, full size.

    Raises:
        LayerError: no such layer.
        Interrupted: on Ctrl-C, with the picture so far, of the size that it had come to.

    Cost: one forward and one backward pass per step and size, up to the layer.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> deep_dream(net, torch.rand(1, 3, 16, 16), "1", n_octaves=2, n_steps=2).image.shape
        (16, 16, 3)

    References: Mordvintsev, Olah, Tyka: Inceptionism: going deeper into neural networks, 2015.
    """
    started = time.perf_counter()
    model = as_model(model)
    photo = one_input(model, image, "image", "deep_dream")
    stages = model.checked(tuple(photo.shape[1:]), gradients=True).stages
    if layer is None and not stages:
        raise LayerError("no layer was named, and the network has no maps: give the name of a layer")
    name = layer or stages[-2:][0].name
    recipe = recipe_of(recipe or DREAM, n_steps)
    sizes = [_size(photo, OCTAVE**-i) for i in range(n_octaves)][::-1]
    change = torch.zeros_like(photo)
    parameters = {"layer": name, "n_octaves": n_octaves, "n_steps": recipe.n_steps, "seed": seed}
    for i, size in enumerate(sizes):
        base = _resized(photo, size)
        asked = Asked(preset=recipe, seed=seed, start=base + _resized(change, size), is_whole=True)
        try:
            (found,) = made(model, [whole_layer(name)], asked, None, part_of(progress, i, n_octaves))
        except Interrupted as error:
            raise Interrupted(_beside(error.result, model, photo, parameters, started)) from error
        change = torch.from_numpy(found.input)[None].to(base) - base
    return _beside(found, model, photo, parameters, started)


def _beside(
    found: Visualization, model: Model, photo: torch.Tensor, parameters: dict[str, Any], started: float
) -> Visualization:
    """The result with the image that it is made from."""
    provenance = model.provenance("deep_dream", parameters, started, notes=found.provenance.notes)
    return replace(found, original=model.to_pixels(photo)[0], provenance=provenance)


def _size(photo: torch.Tensor, share: float) -> tuple[int, int]:
    return max(1, round(photo.shape[2] * share)), max(1, round(photo.shape[3] * share))


def _resized(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    if tuple(x.shape[2:]) == size:
        return x
    return functional.interpolate(x, size=size, mode="bilinear", antialias=True)
