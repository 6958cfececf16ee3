"""A photo in which what a target responds to is made stronger, while it stays near the photo."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ..arguments import checks_arguments
from ..errors import Interrupted
from ..execution import evaluating
from ..models import Model, Structure, as_model
from ..progress import Progress
from ..results import Visualization
from ..targets import class_scores
from .closeness import Near, relative_distance, values_at
from .film import Watching
from .making import made
from .presets import PRESETS, Recipe
from .setting import SMALL, SMALL_CROP, Asked, one_input
from .visualize import VisualizeTarget

# Crops as large as things in photos are, and steps small enough for the limit to be met on the way.
ACCENTED = replace(PRESETS["natural"], n_steps=64, n_views=4, contrast=None, crop=(0.5, 1.0), step_size=0.05)


@checks_arguments
def accentuate(
    model: Model | nn.Module,
    image: Any,
    target: VisualizeTarget = None,
    *,
    layer: str | None = None,
    distance: float = 0.2,
    near_layer: str | None = None,
    recipe: Recipe | None = None,
    n_steps: int | None = None,
    n_frames: int = 0,
    seed: int = 0,
    watch: Watching | None = None,
    progress: Progress | None = None,
) -> Visualization:
    """Make what a target responds to in a photo stronger, as near to the photo as you ask.

        I* = argmax over I of S(I), where ||a(I) - a(I0)|| <= distance * ||a(I0)||

    I0 is the photo, I the network's input, a the values of an early layer, and S the target's score, the mean over
    random crops. The ascent starts from the photo, in the Fourier coefficients of its colors. After each step the
    coefficients go straight back toward those of the photo until the limit holds. The paper subtracts the distance
    in an early layer, times a factor, instead; a limit means the same for targets of any scale. What
    changes shows which parts of the photo the target could respond to more; it is no map of what it responds to.

    Args:
        model: a `Model` or a module.
        image: one photo: a path, an array, or a preprocessed tensor (1, C, H, W).
        target: a class index or label, a callable or an `Objective`; None for the predicted class. With
            ``layer``, a channel, (channel, row, column) for one unit, or None for the whole layer.
        layer: name of the layer whose activation is made stronger.
        distance: how far the early layer's values may go, as a share of their norm; 0.1 is hardly seen.
        near_layer: the early layer, by default the last one at the first resolution.
        recipe: a `Recipe` of one's own.
        n_steps: number of ascent steps, by default 64.
        n_frames: number of pictures to keep on the way, as in `visualize`.
        seed: seed of the random crops.
        watch: called before each step and at the end with (steps done, picture (H, W, 3) uint8, score).
        progress: called with (steps done, steps in total).

    Returns:
        `Visualization` with the photo as ``original``. ``scores`` starts with the mean over crops of the photo;
        ``provenance.measured`` has the distance that was gone.

    Raises:
        TargetError: no such class, channel or unit.
        LayerError: no such layer.
        Interrupted: on Ctrl-C, with the best picture so far.

    Cost: one forward and one backward pass per step and crop, of which there are 4, and one pass to the early
    layer.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 2))
        >>> found = accentuate(net, torch.rand(1, 3, 8, 8), 1, near_layer="0", n_steps=3)
        >>> found.original.shape
        (8, 8, 3)

    References: Hamblin, Fel, Saha, Konkle, Alvarez: Feature accentuation: revealing "what" features respond to in
    natural images, 2024, arXiv 2402.10039.
    """
    started = time.perf_counter()
    model = as_model(model)
    photo = one_input(model, image, "image", "accentuate")
    structure = model.checked(tuple(photo.shape[1:]), gradients=True)
    if target is None and layer is None:
        target = _predicted(model, photo)
    near = Near(structure.find(near_layer).name if near_layer else _early(structure), distance)
    steps = recipe or (replace(ACCENTED, crop=SMALL_CROP) if min(photo.shape[2:]) < SMALL else ACCENTED)
    asked = Asked(
        preset=steps,
        seed=seed,
        layer=layer,
        n_steps=n_steps,
        start=photo,
        n_frames=n_frames,
        is_whole=True,
        near=near,
    )
    try:
        (found,) = made(model, [target], asked, watch, progress)
    except Interrupted as error:
        raise Interrupted(_beside(error.result, model, photo, target, asked, started)) from error
    return _beside(found, model, photo, target, asked, started)


def _predicted(model: Model, photo: torch.Tensor) -> int:
    with evaluating(model.module), torch.no_grad():
        return int(class_scores(model.module(photo.to(model.dtype, copy=True)), 1).argmax())


def _early(structure: Structure) -> str | None:
    """The last layer at the first resolution, or the first of those evenly spaced; None, for pixels, if none."""
    return structure.stages[0].name if structure.stages else None


def _beside(
    found: Visualization, model: Model, photo: torch.Tensor, target: Any, asked: Asked, started: float
) -> Visualization:
    """The result with the photo, and how far it is from it."""
    near = asked.near
    assert near is not None
    with evaluating(model.module), torch.no_grad():
        both = [values_at(model, near.layer, x) for x in (torch.from_numpy(found.input)[None].to(photo), photo)]
    measured = {"distance": float(relative_distance(*both)), "limit": near.distance}
    known = found.provenance
    parameters = {
        "target": known.parameters["target"],
        "layer": asked.layer,
        "distance": near.distance,
        "near_layer": near.layer or "pixels",
        "n_steps": known.parameters["n_steps"],
        "n_frames": asked.n_frames or None,
        "seed": asked.seed,
    }
    provenance = model.provenance("accentuate", parameters, started, measured=measured, notes=known.notes)
    return replace(found, original=model.to_pixels(photo)[0], provenance=provenance)
