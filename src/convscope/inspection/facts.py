"""What was detected about a network, as pairs of a property and a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ..errors import ConvscopeError
from ..execution.output_parts import entries_of, parts_of, scores_in
from ..models import Model, Structure
from ..targets import FORMS, Region, forms_of, is_of_instances
from ..texts import counted, listed
from .operation_counts import Call
from .trials import Trials

Shape = tuple[int, ...]
_SPACES = {1: ("signal", "steps"), 2: ("image", "pixels"), 3: ("volume or clip", "voxels")}
_LABELS = 4  # of the first ones that are shown
_ENDS = {
    "": "no softmax or sigmoid at the end: scores are logits",
    "softmax": "ends in a softmax: scores are probabilities",
    "sigmoid": "ends in a sigmoid: scores are probabilities",
    "log_softmax": "ends in a log-softmax: scores are logarithms of probabilities",
}
_VALUES = "values in a unit of their own, as regression=True says; they have no probabilities"


def facts_of(
    model: Model, shape: Shape, structure: Structure, output: Any, calls: list[Call], trials: Trials
) -> Iterator[tuple[str, str]]:
    """Properties of a network for inputs of this (C, ...), in the order in which they are shown."""
    yield "device", f"{model.device}, {str(model.dtype).removeprefix('torch.')}"
    yield "input", _input(shape)
    if held := _held(model):
        yield "other inputs", held
    yield "preprocessing", _preprocessing(model, shape)
    yield "output", _output(model, output, trials, structure.ends_in)
    if not trials.why or isinstance(trials.target, Region):
        yield "scores", _VALUES if model.regression else _ENDS[structure.ends_in]
    yield "labels", _labels(model.labels, "values" if model.regression else "classes")
    yield "target", _target(model, output, trials)
    if tokens := _tokens(structure, calls):
        yield "tokens", tokens
    yield "layer of CAMs", trials.layer or "none"
    yield "embedding", _embedding(model, shape)
    yield "batches", "the same scores in any batch" if structure.rows_independent else _alone(structure)


def _input(shape: Shape) -> str:
    n_channels, *space = shape
    kind, unit = _SPACES[len(space)]
    return f"{kind} of {counted(n_channels, 'channel')}, {' x '.join(map(str, space))} {unit}"


def _held(model: Model) -> str:
    """The inputs beside the explained one, with what they are held at."""
    values = {} if model.several is None else model.several.values
    held = {name: value for name, value in values.items() if name not in model.explained}
    each = [f"{name} {tuple(value.shape[1:])}" for name, value in held.items()]
    return f"{', '.join(each)}: held as given; a dict or tuple of all explains them too" if each else ""


def _preprocessing(model: Model, shape: Shape) -> str:
    known = model.preprocessing
    if known is None:
        files = "; for image files give input_size, mean and std" if len(shape) == 3 else ""
        return f"not known: only preprocessed tensors (N, {', '.join(map(str, shape))}) are taken{files}"
    size = " x ".join(map(str, known.resize_px))
    cut = f", {' x '.join(map(str, known.input_size))} cut from the center" if known.crop == "center" else ""
    how = f"resized to {'cover ' if known.crop == 'center' else ''}{size} ({known.interpolation}){cut}"
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (known.mean, known.std))
    return f"{how}; mean {mean}; std {std}"


def _labels(labels: tuple[str, ...] | None, meant: str) -> str:
    if labels == ():
        return "none, as the network has no classes"
    if not labels:
        return f"none: {meant} are named by their index"
    return (
        f"{len(labels)}: {listed([label.partition(',')[0] for label in labels], _LABELS)}"  # the first of synonyms
    )


def _output(model: Model, output: Any, trials: Trials, ends_in: str) -> str:
    """What one input gives."""
    scores = None if trials.why else scores_in(output)
    if model.labels == () and (vector := scores_in(output)) is not None and vector.ndim == 2:
        meant = f"a feature vector of {counted(vector.shape[1], 'number')}"
    elif scores is None:
        return _in_words(output)
    elif model.regression:
        meant = counted(1 if scores.ndim == 1 else scores.shape[1], "value")
    elif scores.ndim == 1 or scores.shape[1] == 1:
        meant = "a single score, for one class or against it"
        if not ends_in:
            meant += ", read as a logit; if this is a value, say regression=True"
    else:
        each = "classes, each right or not by itself" if model.multilabel else "classes"
        meant = f"scores of {scores.shape[1]} {each}"
    if isinstance(output, torch.Tensor):
        return meant
    path = next(path for path, value in entries_of(output) if value is scores_in(output))
    return f"{meant}, at {path} in {_in_words(output)}"


def _in_words(output: Any) -> str:
    if isinstance(output, torch.Tensor):
        if output.ndim == 4:
            return f"a map of {output.shape[1]} classes, {output.shape[2]} x {output.shape[3]}"
        return f"a tensor of shape {tuple(output.shape)}"
    if isinstance(output, list) and len(output) == 1 and isinstance(output[0], dict):
        return f"a list with, for each image, a dict of {_keys(output[0])}"
    parts = [f"{key} {_part(value)}" for key, value in parts_of(output)]
    return f"{type(output).__name__} of {listed(parts, 6)}" if parts else f"a {type(output).__name__}"


def _keys(parts: dict[Any, Any]) -> str:
    return listed([str(key) for key in parts], 6)


def _part(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return str(tuple(value.shape))
    parts = dict(parts_of(value))
    return f"({type(value).__name__} of {_keys(parts)})" if parts else type(value).__name__


def _target(model: Model, output: Any, trials: Trials) -> str:
    """What to give as target."""
    if not trials.why:
        scores = scores_in(output)
        if scores is not None and scores.ndim == 2 and scores.shape[1] > 1:
            if model.regression:
                return "give an index or a label, which is up for that value, or Towards(value, column=...)"
            return "the predicted class, unless another is given"
        if model.regression:
            return 'the value, "up"; or "down" or Towards(value)'
        return 'the score; for a value "up", "down" or Towards(value)'
    if model.labels == ():
        return "give SimilarTo(image) or SimilarTo(vector), as there are no classes"
    if isinstance(trials.target, Region):
        return "give Region(class), or Region.at((row, column)) for what is seen there"
    if is_of_instances(output):
        also = ", or Detection(box, class)" if "boxes" in output[0] else ""
        return f"give Region(class), for its instances{also}"
    forms = forms_of(output, len(model.labels) if model.labels else None)
    if len(forms) == 1:
        return f"give Detection(box, class), read as {forms[0]!r}: {FORMS[forms[0]].layout}"
    if forms:
        known = ", ".join(f"{form!r} for {FORMS[form].layout}" for form in forms)
        return f"if these are boxes, give Detection(box, class, read=...), with read={known}; if not, a callable"
    return f"give one; there is no predicted class: {trials.why}"


def _tokens(structure: Structure, calls: list[Call]) -> str:
    """The grid of the patches that tokens stand for, and how many stand for none."""
    n_tokens = {call.name: call.shape[0] for call in calls if call.shape}
    others: dict[tuple[int, int], int] = {}  # the most of any layer, by the grid
    for layer in structure.layers:
        if layer.held == "tokens" and layer.name in n_tokens:
            grid = (layer.shape[1], layer.shape[2])
            others[grid] = max(others.get(grid, 0), n_tokens[layer.name] - grid[0] * grid[1])
    return ", then ".join(
        f"{rows} x {columns} patches{f' after {n} other' if n else ''}" for (rows, columns), n in others.items()
    )


def _alone(structure: Structure) -> str:
    """Why inputs are run one at a time."""
    return next((note for note in structure.notes if "one image at a time" in note), "run one image at a time")


def _embedding(model: Model, shape: Shape) -> str:
    try:
        layer = model.feature_layer(shape)
    except ConvscopeError as error:
        return str(error).removeprefix(f"{model.name}: ")
    return f"{layer.name}, {' x '.join(map(str, layer.shape))} values"
