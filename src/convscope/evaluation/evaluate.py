"""How good maps are: measured on the network itself, beside random maps."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from ..arguments import checks_arguments
from ..attribution.method_run import Run
from ..checks import Sides, as_array, as_count, as_items
from ..errors import Interrupted, ParameterError
from ..models import Model, as_model
from ..progress import Progress
from ..results import CONTROLS, Array, Attribution, Evaluation
from ..targets import Score, Several, Target, describe, directed, is_of_classes
from ..texts import counted
from .intervals import mean_and_margin
from .maps_of_image import GivenMaps
from .measures import MEASURES, check_measures
from .measuring import Measuring
from .regions import regions_of


@checks_arguments
def evaluate(
    model: Model | nn.Module,
    images: Any,
    attributions: GivenMaps | Sequence[GivenMaps] | Mapping[str, GivenMaps],
    *,
    target: Target = None,
    measures: Sequence[str] | None = None,
    regions: Any = None,
    n_steps: int = 50,
    score: Score | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure how good attribution maps are: by what the network does, not by how they look.

    Two controls are measured beside them: a map of random numbers, and a Gaussian in the middle of the image,
    where most photographers put their subject. A map that does not beat them has shown nothing. No measure is
    the truth: deletion and insertion make images unlike any the network was trained on, and measures disagree.

        deletion (lower is better):   area under S(x without its highest pixels), over their share from 0 to 1
        insertion (higher is better): area under S(the highest pixels of x alone), over the same

    Both are taken over the mean image and over the blurred image; a name such as "deletion_black" among
    ``measures`` asks for another baseline. `convscope.evaluation.MEASURES` lists all measures, each with its
    direction, unit and source.

    Args:
        model: a `Model` or a module.
        images: the images of the maps; see `convscope.load_images`.
        attributions: a result, a list of results, or a dict of them by name; or arrays (N, H, W) made in any way.
            One map for each image.
        target: the target of the maps; by default the predicted class. A result for another target is an error.
        measures: names of `MEASURES`; by default all that can be taken, with curves over the mean and the blurred
            image. ``max_sensitivity`` runs the method 5 more times; ``road`` is for pictures, and takes about 2
            seconds a map.
        regions: where the target is, for pointing and localization: masks (N, H, W) of booleans, or boxes
            (N, 4): left, top, right, bottom in pixels of the network's input.
        n_steps: steps of each deletion and insertion curve.
        score: "probability", the default for classes, or "logit", the only one for values and other
            targets.
        seed: of the random map, of ties between equal values, of the noise of ROAD and of max-sensitivity.
        progress: called with (scores done, scores in all).

    Returns:
        `Evaluation` with values (M, K, N): methods and the two controls, measures, images; NaN where a measure
        does not apply. Also the means over the images with half of their 95 % interval (Student's t), and the
        gains over the random map on the same images.

    Raises:
        ParameterError: maps of another size or number, an unknown measure, missing regions.
        TargetError: the target is not a class of the network, or not the one that the maps explain.
        Interrupted: on Ctrl-C, with the images measured so far.

    Cost: 4 * n_steps forward passes for each map and image, and what ``road`` and ``max_sensitivity`` take.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
        >>> x = torch.randn(2, 1, 4, 4)
        >>> found = evaluate(net, x, {"mine": np.ones((2, 4, 4))}, measures=["sparseness"])
        >>> found.methods, found.mean("mine", "sparseness")
        (('mine', 'random', 'center'), 0.0)

    References:
        Petsiuk, Das, Saenko: RISE, 2018, arXiv 1806.07421 (deletion and insertion).
        Rong et al.: A consistent and efficient evaluation strategy for attribution methods, 2022, arXiv
        2202.00449.
    """
    started = time.perf_counter()
    model = as_model(model)
    check_call(target, regions, measures, n_steps)
    given = _by_name(attributions)
    run = Run(
        "evaluate",
        model,
        images,
        target=target,
        score=score or default_score(target, model),
        gradients="none",
        progress=progress,
    )
    size = run.inputs.shape[1:]
    masks = regions_of(regions, len(run.inputs), size)
    wanted = check_measures(measures, has_regions=masks is not None, of_pictures=len(size) == 2)
    maps = {name: _values(name, m, len(run.inputs), size) for name, m in given.items()}
    work = Measuring(run, given, maps, wanted, masks, n_steps, seed)
    about = {
        "target": describe(target),
        "measures": "all" if measures is None else wanted,
        "regions": None if regions is None else f"{len(regions)} {'masks' if np.ndim(regions) == 3 else 'boxes'}",
        "n_steps": n_steps,
        "score": run.score,
        "seed": seed,
    }
    try:
        run.each(work.measure)
    except KeyboardInterrupt:
        if not work.values:
            raise KeyboardInterrupt from None  # without the partial result of a method
        raise Interrupted(_result(work, given, maps, model, about, started, run.inputs.skipped)) from None
    for name, values in maps.items():
        if len(values) not in (len(work.names), len(run.inputs)):
            given_maps, measured = counted(len(values), "map"), counted(len(work.names), "image")
            raise ParameterError(f"{name}: {given_maps} for {measured}")
    return _result(work, given, maps, model, about, started, run.inputs.skipped)


def _result(
    work: Measuring,
    given: Mapping[str, GivenMaps],
    maps: Mapping[str, Array],
    model: Model,
    about: Mapping[str, Any],
    started: float,
    skipped: Sequence[str],
) -> Evaluation:
    """The means over the images that were measured."""
    values = np.stack(work.values, axis=2)
    wanted = work.wanted
    means, margins = mean_and_margin(values)
    better = np.array([1 if MEASURES[m].higher_is_better else -1 for m in wanted])[None, :, None]
    gains, gain_margins = mean_and_margin(better * (values - values[-2:-1]))
    return Evaluation(
        methods=(*maps, *CONTROLS),
        measures=wanted,
        higher_is_better=tuple(MEASURES[m].higher_is_better for m in wanted),
        units=tuple(MEASURES[m].unit for m in wanted),
        values=values.astype(np.float32),
        means=means,
        margins=margins,
        gains=gains,
        gain_margins=gain_margins,
        curves=work.all_curves(),
        curve_names=work.curve_names,
        seconds=np.array([_seconds(m, len(work.values)) for m in given.values()] + [math.nan] * len(CONTROLS)),
        names=tuple(work.names[: len(work.values)]),
        targets=tuple(work.targets[: len(work.values)]),
        provenance=model.provenance("evaluate", about, started, notes=work.notes, skipped=skipped),
    )


def check_call(target: Target, regions: Any, measures: Sequence[str] | None, n_steps: int) -> None:
    """Refuse what can be refused before anything runs."""
    as_count(n_steps, "n_steps", 2)
    check_measures(measures, has_regions=regions is not None)
    if isinstance(target, Several):
        raise ParameterError("target: expected one for each image; evaluate the targets of Several one by one")


def default_score(target: Target, model: Model) -> Score:
    """Probabilities if the target is a class; values and other targets have scores of their own."""
    is_of_class = not model.regression and is_of_classes(directed(target, model.labels))
    return "probability" if is_of_class else "logit"


def _by_name(attributions: Any) -> dict[str, GivenMaps]:
    if isinstance(attributions, Mapping):
        named = dict(attributions)
    else:
        is_one = isinstance(attributions, Attribution | np.ndarray)
        items = [attributions] if is_one else as_items(attributions, "attributions", "maps, or a list of them")
        names = [
            m.provenance.method if isinstance(m, Attribution) else f"map {i + 1}" for i, m in enumerate(items)
        ]
        if len(set(names)) < len(names):
            raise ParameterError(f"attributions: two of the same method ({', '.join(names)}); give a dict by name")
        named = dict(zip(names, items, strict=True))
    if not named or set(named) & set(CONTROLS):
        raise ParameterError(f"attributions: expected at least one, none with the name of a control {CONTROLS}")
    return named


def _values(name: str, given: Any, n_images: int, size: Sides) -> Array:
    values = given.values if isinstance(given, Attribution) else as_array(given, name, "maps (N, H, W)")
    if values.shape[1:] != size or not 1 <= len(values) <= n_images:
        expected = f"{counted(n_images, 'image')} of {size}"
        raise ParameterError(f"{name}: maps of shape {values.shape} for {expected}")
    if values.dtype.kind not in "fiub":
        raise ParameterError(f"{name}: maps of {values.dtype}; expected numbers")
    if not np.isfinite(values).all():
        raise ParameterError(f"{name}: NaN or infinite values in its maps")
    return np.asarray(values)


def _seconds(given: GivenMaps, n_images: int) -> float:
    """The time that the maps of so many images took; NaN for arrays."""
    return given.provenance.seconds * n_images / len(given.names) if isinstance(given, Attribution) else math.nan
