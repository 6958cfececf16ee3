"""How far to trust a picture: what networks take it for once it is a file, and whether other seeds agree."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import torch

from ..execution import evaluating, run_to
from ..models import Model
from ..results import Array, Judgment
from ..targets import Contrast, class_scores, is_of_classes, resolve
from ..targets.regression import directed

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


def is_one_class(model: Model, target: Any, layer: str | None) -> bool:
    """Whether a target is one of several classes, of which the network predicts one."""
    target = directed(target, model.labels)  # of regression: "up" is no class
    is_class = is_of_classes(target) and not isinstance(target, Contrast) and target is not None
    return layer is None and is_class and not (model.multilabel or model.regression)


def rival_of(model: Model, x: torch.Tensor, target: Any) -> Rival | None:
    """The class that outscores the target for an input (1, C, H, W); None if there is none."""
    with torch.no_grad():
        output = class_scores(model.module(x.to(model.dtype, copy=True)), 1).float()
    chosen = resolve(target, output, model.labels, n_batch=1)
    assert chosen.indices is not None
    best, own = int(output.argmax()), int(chosen.indices[0])
    score, target_score = float(output[0, best]), float(output[0, own])
    if score - target_score <= _TIE * max(abs(score), abs(target_score)):
        return None
    label = resolve(best, output, model.labels).names[0]
    kind = model.normalization(tuple(x.shape[1:]), output.shape[1])
    return Rival(label, score, own, target_score, has_logits=kind == "softmax")


def judgments(image: Array, target: str, judges: Sequence[Model]) -> tuple[Judgment, ...]:
    """What each network takes a picture (H, W, 3) uint8 for, after its own preprocessing."""
    return tuple(_judgment(image, target, judge) for judge in judges if _opens(judge))


def _judgment(image: Array, target: str, judge: Model) -> Judgment:
    (best,) = (prediction := judge.predict(image)).top(1)[0]
    own = prediction.labels.index(target) if target in prediction.labels else None
    probability = float("nan") if own is None else float(prediction.probabilities[0, own])
    return Judgment(judge.name, best.label, best.probability, probability)


def _opens(judge: Model) -> bool:
    """Whether a network takes pictures as files have them."""
    return judge.preprocessing is not None and judge.preprocessing.n_channels in (1, 3)


def agreement(model: Model, inputs: Sequence[torch.Tensor], layer: str | None) -> float:
    """The mean cosine between pictures (1, C, H, W) at a layer of the network, by default that of its features."""
    with evaluating(model.module):
        name = layer or model.feature_layer(tuple(inputs[0].shape[1:])).name
        vectors = [
            run_to(model.module, x.to(model.device, model.dtype), [name])[name].flatten().double() for x in inputs
        ]
    cosines = [torch.nn.functional.cosine_similarity(a, b, dim=0) for a, b in combinations(vectors, 2)]
    return float(np.mean([float(c) for c in cosines]))
