"""The class scores of images: what `Model.predict` does."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np

from ..errors import ParameterError
from ..execution.running import evaluating
from ..progress import Progress
from ..results import Array, Normalization, Prediction
from ..results.predictions import known_labels
from ..targets.classes import class_names, class_scores
from ..targets.resolved import note_on_scores, note_on_single_score
from .behavior import EndsIn
from .inputs import Inputs


def normalization_of(ends_in: EndsIn, n_classes: int, multilabel: bool, regression: bool) -> Normalization:
    """How scores of ``n_classes`` classes become probabilities, by the network's end and what is said of it."""
    if regression:
        return "values"
    if ends_in:
        return "exp" if ends_in == "log_softmax" else "none"
    return "sigmoid" if multilabel or n_classes == 1 else "softmax"


def check_meaning(multilabel: bool | None, regression: bool | None) -> None:
    """`ParameterError` if the outputs are said to be both labels and values."""
    if multilabel and regression:
        raise ParameterError("multilabel=True and regression=True: the outputs are labels or values; say which")


def prediction_of(model: Any, images: Any, progress: Progress | None) -> Prediction:
    """The class scores of images under a `Model`, which is not imported here, as it imports this file."""
    started = time.perf_counter()
    calls = model.row_by_row(images) or [(model, images)]
    bound = [each.bound(one) for each, one in calls]
    parts = [_scores(each, one, progress if len(calls) == 1 else None) for each, one in bound]
    scores, inputs = np.concatenate([part.scores for part in parts]), parts[0].inputs
    n_classes = scores.shape[1]
    normalization = model.normalization(inputs.shape, n_classes)
    on_scores = (*note_on_scores(normalization), *note_on_single_score(normalization, n_classes))
    return Prediction(
        scores=scores,
        labels=class_names(model.labels, n_classes, "value" if normalization == "values" else "class"),
        names=tuple(parts[0].names) if len(parts) == 1 else tuple(f"image {i}" for i in range(len(parts))),
        normalization=normalization,
        true_labels=known_labels(parts[0].labels) if len(parts) == 1 else (),
        provenance=model.provenance(
            "predict",
            {},
            started,
            notes=(*on_scores, *inputs.notes),
            skipped=inputs.skipped,
        ),
    )


class _Scored(NamedTuple):
    """The class scores of the images of one call, as far as they could be read, with their names and labels."""

    scores: Array
    names: list[str]
    labels: list[str | None]
    inputs: Inputs


def _scores(model: Any, images: Any, progress: Progress | None) -> _Scored:
    inputs = model.inputs(images)
    model.checked(inputs.shape)
    scores: list[Array] = []
    names: list[str] = []
    labels: list[str | None] = []
    with evaluating(model.module):
        for batch in model.batches(inputs):
            scores.append(class_scores(model.module(batch.x), len(batch.x)).float().cpu().clone().numpy())
            names.extend(batch.names)
            labels.extend(batch.labels)
            if progress:
                progress(batch.positions[-1] + 1, len(inputs))
    if progress and inputs.skipped:
        progress(len(inputs), len(inputs))  # the last images may have been skipped
    return _Scored(np.concatenate(scores), names, labels, inputs)
