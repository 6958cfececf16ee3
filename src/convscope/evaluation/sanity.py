"""Whether a method's map depends on what the network has learned, and on the class it is asked about."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from ..arguments import checks_arguments
from ..attribution import ATTRIBUTIONS
from ..errors import ModelError, ParameterError, TargetError
from ..models import Model, as_model
from ..progress import Progress
from ..registry import method_key
from ..results import CHANGED, Array, Attribution, Provenance, SanityCheck
from ..targets import default_of_values, find_class
from .map_similarity import have_changed, similarity, verdict_on
from .shuffled_weights import each_shuffled, in_order, stages_of

_LABELS = 5  # other classes to compare with
_CELLS = 7 * 7  # of a smooth map: with fewer, unrelated maps can have a mean correlation above `CHANGED` by chance


@checks_arguments
def sanity_check(
    model: Model | nn.Module,
    image: Any,
    method: str = "saliency",
    *,
    target: int | str | None = None,
    n_stages: int = 8,
    seed: int = 0,
    progress: Progress | None = None,
    **options: Any,
) -> SanityCheck:
    """Does the map change when the network forgets what it has learned, and when it is asked about another class?

    A map that stays the same with random weights shows the image, not the network. A map that is the same for
    every class shows what stands out, not what speaks for the target.

    Weights: each tensor keeps its values, in a random order, so a layer keeps its scale and forgets what it has
    learned. In the cascade, stage after stage is shuffled from the output to the input, and stays so; besides,
    each stage is shuffled alone. Labels: the maps of 5 other classes of the same network, chosen at random.
    Adebayo's own label test trains a network on shuffled labels, which takes the data.

    Maps are compared by Spearman's rank correlation of their absolute values, and by the structural similarity
    (SSIM) of these, scaled to 0 to 1. The size of the correlation decides: with bright and dark exchanged, it is
    still the same picture.

    Args:
        model: a `Model` or a module that classifies.
        image: one image; see `convscope.load_images`. Signals and volumes are tensors.
        method: a key of `convscope.ATTRIBUTIONS`.
        target: class index or label, or nothing for the predicted class; it is the target of all maps.
        n_stages: the number of groups of layers, at most; the first one is the last layer.
        seed: of the shuffling and of the other classes.
        progress: called with (maps done, maps in all).
        options: of the method.

    Returns:
        `SanityCheck`. A method passes if its map changes: if the size of the rank correlation is at most 0.4, on
        average over the cascade, and over the labels. From 0.6 on it fails; in between it is doubtful. A note says
        if maps have so few cells that chance alone gives more than 0.4.

    Raises:
        ParameterError: an unknown method, or several images.
        TargetError: the target is not a class of the network.

    Cost: 2 * n_stages + 6 maps, and a copy of the network in memory.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        >>> sanity_check(net, torch.randn(1, 1, 8, 8), "grad_cam").stages
        ('3', '0')

    References:
        Adebayo, Gilmer, Muelly, Goodfellow, Hardt, Kim: Sanity checks for saliency maps, 2018, arXiv 1810.03292.
        Sixt, Granz, Landgraf: When explanations lie, 2019, arXiv 1912.09818 (the maps of other classes).
    """
    started = time.perf_counter()
    model, image = as_model(model).bound(image)
    method = method_key(method)
    index, n_classes = _class_asked(model, image, target)
    stages = stages_of(in_order(model, image), n_stages)
    others = _other_classes(index, n_classes, seed)
    n_done, n_maps = 0, 1 + 2 * len(stages) + len(others)

    def map_of(network: Model, of: int) -> Attribution:
        nonlocal n_done
        found: Attribution = ATTRIBUTIONS[method](network, image, target=of, **options)
        n_done += 1
        if progress:
            progress(n_done, n_maps)
        return found

    original = map_of(model, index)
    shape = original.values[0].shape
    randomized = [
        _values_or_nan(partial(map_of, network, index), shape) for network in each_shuffled(model, stages, seed)
    ]
    by_class = [map_of(model, of) for of in others]
    about = {"method": method, "target": index, "n_stages": len(stages), "seed": seed}
    provenance = model.provenance(
        "sanity_check",
        {**original.provenance.parameters, **about},
        started,
        notes=(*original.provenance.notes, *_notes_on_cells(model, image, original)),
    )
    alone, cascade = randomized[: len(stages)], randomized[len(stages) :]
    names = tuple(stage[0] for stage in stages)
    return _compared(method, names, original, alone, cascade, by_class, provenance)


def _compared(
    method: str,
    stages: tuple[str, ...],
    original: Attribution,
    alone: list[Array],
    cascade: list[Array],
    by_class: list[Attribution],
    provenance: Provenance,
) -> SanityCheck:
    """Compare the other maps with the original, and judge the method by the cascade and the other classes."""
    first = original.values[0]
    cascading = np.array([similarity(first, values) for values in cascade])
    labels = np.array([similarity(first, found.values[0]) for found in by_class]).reshape(-1, 2)
    weights_pass, labels_pass = have_changed(cascading[:, 0]), have_changed(labels[:, 0])
    if np.ptp(np.abs(first)) == 0:
        verdict = f"the map of {method} is the same everywhere: there is nothing to check"
    else:
        verdict = verdict_on(method, cascading[:, 0], weights_pass, labels[:, 0], labels_pass)
    return SanityCheck(
        checked=method,
        stages=stages,
        cascading=cascading,
        independent=np.array([similarity(first, values) for values in alone]),
        labels=labels,
        label_names=tuple(found.targets[0] for found in by_class),
        maps=np.stack([first, *cascade]),
        image=original.images[0],
        name=original.names[0],
        target=original.targets[0],
        signed=original.signed,
        passes_weights=weights_pass,
        passes_labels=labels_pass,
        verdict=verdict,
        provenance=provenance,
    )


def _notes_on_cells(model: Model, image: Any, original: Attribution) -> list[str]:
    """A note if the map was enlarged from few cells."""
    name = original.provenance.parameters.get("layer")
    layers = model.structure(model.inputs(image).shape).layers
    shape = next((layer.shape for layer in layers if layer.name == name and layer.is_spatial), None)
    if shape is None or math.prod(shape[1:]) >= _CELLS:
        return []
    cells = " x ".join(map(str, shape[1:]))
    return [
        f"the map has {cells} cells: with so few, unrelated maps may correlate by more than "
        f"{CHANGED} on average; try a layer with more"
    ]


def _class_asked(model: Model, image: Any, target: Any) -> tuple[int, int]:
    """The index of the class, and how many there are."""
    prediction = model.predict(image)
    if len(prediction.names) != 1:
        raise ParameterError(f"sanity_check looks at one image; {len(prediction.names)} were given")
    n_classes = prediction.scores.shape[1]
    if target is None and model.regression:
        default_of_values(torch.from_numpy(prediction.scores))  # an error unless there is one value
    if target is None:
        return int(prediction.scores[0].argmax()), n_classes
    if isinstance(target, np.integer):
        target = int(target)
    if not isinstance(target, str | int):
        raise TargetError("sanity_check compares classes: give a class index or a label")
    return find_class(target, n_classes, model.labels), n_classes


def _other_classes(index: int, n_classes: int, seed: int) -> list[int]:
    order = np.random.default_rng(seed).permutation(n_classes)
    return [int(i) for i in order if i != index][:_LABELS]


def _values_or_nan(map_of: Callable[[], Attribution], shape: tuple[int, ...]) -> Array:
    """The values of a map; NaN if the network has no score, as with random weights that overflow."""
    try:
        values: Array = map_of().values[0]
        return values
    except ModelError:
        return np.full(shape, np.nan, np.float32)
