"""What was detected about a network, as pairs of a property and a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from ..errors import ConvscopeError
from ..execution.class_scores import parts_of
from ..models import Model, Structure
from ..texts import counted, listed
from .operation_counts import Call
from .trials import Trials

Shape = tuple[int, ...]
_SPACES = {1: "signal", 2: "image", 3: "volume or clip"}
_LABELS = 4  # of the first ones that are shown
_ENDS = {
    "": "no softmax or sigmoid at the end: scores are logits",
    "softmax": "ends in a softmax: scores are probabilities",
    "sigmoid": "ends in a sigmoid: scores are probabilities",
    "log_softmax": "ends in a log-softmax: scores are logarithms of probabilities",
}


def facts_of(
    model: Model, shape: Shape, structure: Structure, output: Any, calls: list[Call], trials: Trials
) -> Iterator[tuple[str, str]]:
    """Properties of a network for inputs of this (C, ...), in the order in which they are shown."""
    yield "device", f"{model.device}, {str(model.dtype).removeprefix('torch.')}"
    yield "input", _input(shape)
    yield "preprocessing", _preprocessing(model, shape)
    yield "output", _in_words(output, _is_multilabel(model, output))
    yield "scores", _ENDS[structure.ends_in]
    yield "labels", _labels(model.labels)
    yield "target", _target(trials)
    if tokens := _tokens(structure, calls):
        yield "tokens", tokens
    yield "layer of CAMs", trials.layer or "none"
    yield "embedding", _embedding(model, shape)
    batch = "the same scores in any batch" if structure.rows_independent else "run one at a time; see the notes"
    yield "batches", batch


def _input(shape: Shape) -> str:
    n_channels, *space = shape
    unit = " pixels" if len(space) == 2 else ""
    kind = _SPACES.get(len(space), "input")
    return f"{kind} of {counted(n_channels, 'channel')}, {' x '.join(map(str, space))}{unit}"


def _preprocessing(model: Model, shape: Shape) -> str:
    known = model.preprocessing
    if known is None:
        return (
            f"not known: only preprocessed tensors (N, {', '.join(map(str, shape))}) are taken; for image files "
            "give input_size, mean and std"
        )
    size = " x ".join(map(str, known.resize_px))
    cut = f", {' x '.join(map(str, known.input_size))} cut from the center" if known.crop == "center" else ""
    how = f"resized to {'cover ' if known.crop == 'center' else ''}{size} ({known.interpolation}){cut}"
    mean, std = (", ".join(f"{value:.4g}" for value in values) for values in (known.mean, known.std))
    return f"{how}; mean {mean}; std {std}"


def _labels(labels: tuple[str, ...] | None) -> str:
    if not labels:
        return "none: classes are named by their index"
    return (
        f"{len(labels)}: {listed([label.partition(',')[0] for label in labels], _LABELS)}"  # the first of synonyms
    )


def _is_multilabel(model: Model, output: Any) -> bool:
    return model.multilabel and isinstance(output, torch.Tensor) and output.ndim == 2


def _in_words(output: Any, multilabel: bool = False) -> str:
    """What one input gives."""
    if isinstance(output, torch.Tensor):
        if output.ndim == 2 and output.shape[1] == 1:
            return "a single score, for one class or against it"
        if output.ndim == 2:
            each = "classes, each right or not by itself" if multilabel else "classes"
            return f"scores of {output.shape[1]} {each}"
        if output.ndim == 4:
            return f"a map of {output.shape[1]} classes, {output.shape[2]} x {output.shape[3]}"
        return f"a tensor of shape {tuple(output.shape)}"
    parts = [f"{key}: {_part(value)}" for key, value in parts_of(output)]
    return f"{type(output).__name__} of {listed(parts, 6)}" if parts else f"a {type(output).__name__}"


def _part(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return str(tuple(value.shape))
    keys = [str(key) for key, _ in parts_of(value)]
    return f"{type(value).__name__} ({', '.join(keys[:6])})" if keys else type(value).__name__


def _target(trials: Trials) -> str:
    if not trials.why:
        return "the predicted class, unless another is given"
    wanted = "give Region(class)" if trials.target is not None and not callable(trials.target) else "give one"
    return f"{wanted}; there is no predicted class: {trials.why}"


def _tokens(structure: Structure, calls: list[Call]) -> str:
    """The grid of the patches that tokens stand for, and how many stand for none."""
    n_tokens = {call.name: call.shape[0] for call in calls if call.shape}
    others: dict[tuple[int, int], int] = {}  # the most of any layer, by the grid
    for layer in structure.layers:
        if layer.held == "tokens" and layer.name in n_tokens:
            grid = (layer.shape[1], layer.shape[2])
            others[grid] = max(others.get(grid, 0), n_tokens[layer.name] - grid[0] * grid[1])
    return ", ".join(
        f"{rows} x {columns} patches{f' after {n} other' if n else ''}" for (rows, columns), n in others.items()
    )


def _embedding(model: Model, shape: Shape) -> str:
    try:
        layer = model.feature_layer(shape)
    except ConvscopeError as error:
        return str(error)
    return f"{layer.name}, {' x '.join(map(str, layer.shape))} values"
