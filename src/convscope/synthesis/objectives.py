"""Objectives for the ascent: the score of a class, or the activation of a layer, a channel or a unit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from ..errors import TargetError
from ..execution import run_to
from ..models import Layer, Model, as_maps
from ..targets import Several, Target, class_scores, describe, n_classes_of, resolve

# A class or callable without a layer; with one: None, a channel, or (channel, row, column).
ObjectiveTarget: TypeAlias = Target | tuple[int, int, int]


_TIE = 1e-5  # of the scores: rounding decides between classes that are closer than this


class Rival(NamedTuple):
    """The class with the highest score, if that is not the target, and the target with its score.

    ``has_logits``: whether a softmax of the scores gives probabilities.
    """

    label: str
    score: float
    target: int
    target_score: float
    has_logits: bool


@dataclass(frozen=True)
class Objective:
    """``value`` maps an input (1, C, H, W) to a scalar; ``name`` describes it in words.

    The input is cast to the network's dtype; the scalar is at least float32. ``rival`` returns the class that
    outscores the target, or None; it is itself None if the target is not one of several classes.
    """

    name: str
    value: Callable[[torch.Tensor], torch.Tensor]
    rival: Callable[[torch.Tensor], Rival | None] | None = None


def class_score(
    model: Model, target: ObjectiveTarget, shape: tuple[int, int, int], layout: torch.memory_format
) -> Objective:
    """The score of a class as the network returns it, or a callable's score of the output."""
    if target is None:
        raise TargetError("nothing to maximize: give a class (index or label), a callable, or a layer")
    if isinstance(target, Several) or (isinstance(target, Sequence) and not isinstance(target, str)):
        raise TargetError(f"target={describe(target)!r}: one picture has one target; call visualize for each")
    with torch.no_grad():
        output = model.module(torch.zeros(1, *shape, device=model.device, dtype=model.dtype))
    normalization = model.normalization(shape, n_classes_of(output))
    chosen = resolve(target, output, model.labels, n_batch=1, normalization=normalization, size=shape[1:])

    def run(x: torch.Tensor) -> Any:
        # A copy, because the network's first operation may be in place.
        output = model.module(x.to(model.dtype, copy=True, memory_format=layout))
        return _full(class_scores(output)) if chosen.function is None else output

    def rival(x: torch.Tensor) -> Rival | None:
        with torch.no_grad():
            output = run(x)
        assert chosen.indices is not None
        best, own = int(output.argmax()), int(chosen.indices[0])
        score, target_score = float(output[0, best]), float(output[0, own])
        if score - target_score <= _TIE * max(abs(score), abs(target_score)):
            return None
        label = resolve(best, output, model.labels).names[0]
        return Rival(label, score, own, target_score, has_logits=normalization == "softmax")

    is_class = chosen.indices is not None and chosen.against is None
    has_rivals = is_class and not (model.multilabel or model.regression)
    return Objective(chosen.names[0], lambda x: _full(chosen.of(run(x), 1)[0, 0]), rival if has_rivals else None)


def activation(model: Model, layer: Layer, target: ObjectiveTarget, layout: torch.memory_format) -> Objective:
    """The activation of a layer; the forward pass stops there.

    With target None, the mean of the squared activations of the whole layer (as in DeepDream); with a channel, its
    mean over the map; with (channel, row, column), one unit.
    """
    place = _place(layer, target)

    def maps(x: torch.Tensor) -> torch.Tensor:
        x = x.to(model.dtype, copy=True, memory_format=layout)
        found = run_to(model.module, x, [layer.name])[layer.name]
        return _full(as_maps(found, layer)[0])

    if not place:
        return Objective(layer.name, lambda x: maps(x).square().mean())
    name = f"{layer.name}, channel {place[0]}"
    if len(place) == 3:
        name += f", unit ({place[1]}, {place[2]})"
    return Objective(name, lambda x: maps(x)[place].mean())


def _full(values: torch.Tensor) -> torch.Tensor:
    """Convert half precision to float32: sums of squares overflow in it, and differences of scores get lost."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _place(layer: Layer, target: ObjectiveTarget) -> tuple[int, ...]:
    """The index in the layer: (), (channel,) or (channel, row, column), checked against its shape."""
    if target is None:
        return ()
    place = target if isinstance(target, tuple | list) else (target,)
    whole = all(isinstance(i, int | np.integer) and not isinstance(i, bool) for i in place)
    if not whole or len(place) not in (1, len(layer.shape)):
        raise TargetError(
            f"target={target!r} in layer {layer.name}: expected a channel, or (channel, row, column) of a map"
        )
    indices = tuple(int(i) for i in place)
    if not all(0 <= i < n for i, n in zip(indices, layer.shape, strict=False)):
        raise TargetError(f"target={target!r}: layer {layer.name} has the shape {layer.shape}")
    return indices
