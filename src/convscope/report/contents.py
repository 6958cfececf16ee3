"""The contents of a report: which methods run, on which images, layers and targets. Nothing is drawn here."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from ..activations import feature_maps, filters
from ..attribution import ATTRIBUTIONS
from ..checks import InputShape
from ..datasets.quick_maps import maps_of_files, readable
from ..datasets.suspect_maps import maps_of_suspects
from ..errors import ImageError, LayerError, ModelError, NotPicturesError, ParameterError
from ..evaluation import CURVES, evaluate
from ..images import load_images
from ..models import Model, are_tensors, check_tensor
from ..progress import StageProgress
from ..registry import method_keys
from ..results import (
    Attribution,
    Evaluation,
    FeatureMaps,
    Filters,
    Prediction,
    UnitPage,
    Visualization,
)
from ..store.keys import path_of
from ..synthesis import visualize
from ..synthesis.presets import PRESETS
from ..targets import Detection, Region, Several, SimilarTo, Target
from .collection import Collection, collect, name_of, vectors_of
from .labeled_rows import LabeledRows
from .limits import Limits

METHODS = ("occlusion", "grad_cam", "saliency")  # unless others are asked for; the first is shown first
STEPS = 6  # on the deletion and insertion curves behind the badges
# A quarter of the usual passes for each picture that a class likes: half of the steps, with half of the views.
QUICK_ASCENT = replace(PRESETS["natural"], n_steps=28)
LAYERS = 4
VISUALIZATIONS = 4
EXAMPLES = 3  # images of the collection that are looked at in detail where no others are given


@dataclass(frozen=True)
class Contents:
    """All results of a report.

    ``n_given`` images were given; those beyond ``limits`` are left out. Where none were, ``prediction`` is of
    examples from the collection. ``labels`` are those of the images, by name. ``evidence`` measures the
    attributions, each under the name of its method. ``left_out`` are the methods that do not fit the network, and
    why. ``errors`` are maps of wrong predictions in the collection, ``suspects`` of doubted labels.
    """

    prediction: Prediction
    labels: Mapping[str, str | None]
    attributions: tuple[Attribution, ...]
    evidence: Evaluation | None
    left_out: tuple[str, ...]
    maps: FeatureMaps | None
    filters: Filters | None
    visualizations: tuple[Visualization, ...]
    n_targets: int
    collection: Collection | None
    errors: Attribution | None
    suspects: Attribution | None
    n_given: int
    limits: Limits
    seconds: float
    units: tuple[UnitPage, ...] = ()


def compose(
    model: Model,
    images: Any,
    *,
    collection: Any = None,
    target: Target = None,
    layer: str | Sequence[str] | None = None,
    methods: str | Sequence[str] | None = None,
    limits: Limits | None = None,
    progress: StageProgress | None = None,
) -> Contents:
    """Run every method of the report; quick ones come first, so that a mistake in the call shows soon."""
    started = time.perf_counter()
    limits = limits or Limits()

    def stage(name: str) -> Any:
        return partial(progress, name) if progress else None

    names = method_keys(METHODS if methods is None else methods)
    if isinstance(target, Several):
        raise ParameterError("a report explains one target per image: make a report for each target of Several")
    with ExitStack() as stack:
        lying, errors, suspects = None, None, None
        if images is None:
            source = stack.enter_context(vectors_of(model, collection, stage("embed")))
            lying = collect(model, source, None, limits, name_of(collection))
            shown, n_given = examples(lying.rows, limits), 0
        else:
            shown, n_given = _first(images, limits.n_images)
        target = _first_targets(target, limits.n_images)
        prediction = model.predict(shown, progress=stage("predict"))
        maps = _feature_maps(model, shown, layer, stage("feature maps"))
        if collection is not None and lying is None:
            source = stack.enter_context(vectors_of(model, collection, stage("embed")))
            lying = collect(model, source, shown, limits, name_of(collection))
    if lying is not None:
        wrong = [lying.rows.names[i] for i in lying.rows.errors[: limits.n_errors]]
        suspects = _suspects(model, lying, limits, stage("suspects"))
        errors = maps_of_files(model, readable(wrong), progress=stage("errors"))
    explained, left_out = _explain(model, shown, names, target, stage)
    evidence = _evidence(model, shown, explained, target, stage("evaluate"))
    liked, n_targets = _liked(model, shown, target, prediction, stage)
    return Contents(
        prediction=prediction,
        labels=_labels(shown, lying),
        attributions=tuple(explained.values()),
        evidence=evidence,
        left_out=tuple(left_out),
        maps=maps,
        filters=_filters(model),
        visualizations=liked,
        n_targets=n_targets,
        collection=lying,
        errors=errors,
        suspects=suspects,
        n_given=n_given,
        limits=limits,
        seconds=time.perf_counter() - started,
    )


def _suspects(model: Model, lying: Collection, limits: Limits, progress: Any) -> Attribution | None:
    """A map of each doubted label that is shown; None where none is doubted, without files, or if it took long."""
    if lying.suspects is None:
        return None
    try:
        return maps_of_suspects(model, lying.suspects, limits.n_suspects, progress, occludes=False)
    except (ImageError, LayerError, ModelError, ParameterError):
        return None


def _labels(shown: Any, lying: Collection | None) -> dict[str, str | None]:
    """The labels of the images by name: their own, or those that the collection has for the same files."""
    pairs = () if lying is None else zip(lying.rows.names, lying.rows.labels, strict=True)
    known = {path_of(name): label for name, label in pairs}
    sources = getattr(shown, "sources", ())
    return {one.name: known.get(os.path.abspath(one.name)) or one.label for one in sources}


def examples(rows: LabeledRows, limits: Limits) -> Any:
    """Images of a collection to look at in detail: of each of some labels the one whose prediction is surest.

    Errors are left out unless there is nothing else, as they are shown by themselves.

    Raises:
        ImageError: no file of the collection is there any more.
    """
    order = np.argsort(-np.nan_to_num(rows.probability, nan=-1.0), kind="stable").tolist()
    wrong = set(rows.errors)
    chosen: dict[str | None, str] = {}
    for i in [i for i in order if i not in wrong] or order:
        if rows.labels[i] not in chosen and readable([rows.names[i]]):
            chosen[rows.labels[i]] = rows.names[i]
    if not chosen:
        raise ImageError("no file of the collection is there any more: give images to look at")
    return load_images([path_of(name) for name in list(chosen.values())[: min(EXAMPLES, limits.n_images)]])


def _feature_maps(
    model: Model, shown: Any, layer: str | Sequence[str] | None, progress: Any
) -> FeatureMaps | None:
    whole, packed = model.together(shown)  # of several inputs, the network as a function of all of them
    shape = whole.inputs(packed).shape
    if layer is not None and len(shape) != 3:
        raise ParameterError("layer: feature maps of signals and volumes have no picture; leave it out")
    chosen = choose_layers(whole, shape) if layer is None else layer
    return feature_maps(model, shown, layer=chosen, progress=progress) if chosen else None


def _evidence(
    model: Model, shown: Any, explained: dict[str, Attribution], target: Target, progress: Any
) -> Evaluation | None:
    if not explained or are_tensors(shown):
        return None
    measures = [*CURVES, "completeness_error"]
    return evaluate(model, shown, explained, target=target, measures=measures, n_steps=STEPS, progress=progress)


def _liked(
    model: Model, shown: Any, target: Target, prediction: Prediction, stage: Callable[[str], Any]
) -> tuple[tuple[Visualization, ...], int]:
    """A picture for each of the first targets, and how many targets there are."""
    whole, packed = model.together(shown)
    shape = whole.inputs(packed).shape
    is_picture = whole.packing is None and len(shape) == 3
    wanted = _distinct_targets(target, prediction) if is_picture else []
    size_px = None if model.preprocessing else (shape[-2], shape[-1])
    liked = (
        visualize(model, target=one, size_px=size_px, preset=QUICK_ASCENT, progress=stage(f"visualize {i + 1}"))
        for i, one in enumerate(wanted[:VISUALIZATIONS])
    )
    return tuple(liked), len(wanted)


def _explain(
    model: Model, shown: Any, names: Sequence[str], target: Target, stage: Callable[[str], Any]
) -> tuple[dict[str, Attribution], list[str]]:
    """The maps of each method that fits the network, and why others do not; the last error where none fits."""
    explained: dict[str, Attribution] = {}
    left_out: list[str] = []
    for name in names:
        try:
            explained[name] = ATTRIBUTIONS[name](model, shown, target=target, progress=stage(name))
        except (
            LayerError,
            ModelError,
            NotPicturesError,
        ) as error:  # such as a network without feature maps, gradients or attention
            left_out.append(f"{name}: {error}")
            if not explained and name == names[-1]:
                raise
    return explained, left_out


def choose_layers(model: Model, shape: InputShape) -> list[str]:
    """One layer of each resolution for inputs (C, H, W), from the finest to the coarsest, at most `LAYERS`.

    Of each resolution it is the last of the outermost layers: the output of a stage rather than a layer inside
    one.
    """
    structure = model.structure(shape)
    last_of: dict[tuple[int, ...], str] = {}
    for layer in structure.layers:
        best = last_of.get(layer.shape[1:])
        is_map = layer.is_spatial and len(layer.shape) == 3
        if is_map and (best is None or layer.name.count(".") <= best.count(".")):
            last_of[layer.shape[1:]] = layer.name
    last = structure.last_spatial  # only pooling follows it at its resolution
    if last is not None and len(last.shape) == 3:
        last_of[last.shape[1:]] = last.name
    names = list(last_of.values())
    places = np.linspace(0, len(names) - 1, min(LAYERS, len(names))).round().astype(int)
    return [names[i] for i in places]


def _first(images: Any, n: int) -> tuple[Any, int]:
    """The images to be shown in detail, and how many there are in all."""
    if are_tensors(images):
        values = dict(images) if isinstance(images, Mapping) else dict(enumerate(images))
        first = {name: value[:n] for name, value in values.items()}
        return first if isinstance(images, Mapping) else tuple(first.values()), max(map(len, values.values()))
    found = check_tensor(images, None) if isinstance(images, torch.Tensor) else load_images(images)
    return found[:n], len(found)


def _first_targets(target: Any, n: int) -> Target:
    """The targets of the images to be shown, as plain numbers and labels."""
    if isinstance(target, np.ndarray | np.generic | torch.Tensor):
        target = target.tolist()
    return list(target)[:n] if isinstance(target, Sequence) and not isinstance(target, str) else target


def _distinct_targets(target: Target, prediction: Prediction) -> list[Any]:
    """What to visualize: every target once, or without targets every predicted class once."""
    if isinstance(target, SimilarTo | Region | Detection):
        return []  # no input can be made for these
    if target is None:
        return list(dict.fromkeys(row[0].index for row in prediction.top(1)))
    if callable(target) or isinstance(target, str | int):
        return [target]
    return list(dict.fromkeys(target)) if isinstance(target, Sequence) else [target]


def _filters(model: Model) -> Filters | None:
    try:
        return filters(model)
    except LayerError:
        return None  # a network without convolutions: the section is left out
