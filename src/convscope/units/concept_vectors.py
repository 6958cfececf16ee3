"""Concept vectors: the direction in a layer that examples of a concept share, tested against shuffled labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
from torch import nn

from ..arguments import checks_arguments
from ..errors import ModelError, ParameterError
from ..execution import weights_digest
from ..execution.running import network_of
from ..models import Inputs, Layer, Model, as_model
from ..progress import Progress
from ..results import Array, ConceptVector, Places
from ..targets import Target, describe
from ..texts import counted
from .heads import layer_to_cut
from .layer_values import layer_gradients, layer_values
from .separation import Samples, Separation, permutation_p, separated

VectorMethod: TypeAlias = Literal["mean_difference", "logistic"]


@checks_arguments
def concept_vector(
    model: Model | nn.Module,
    positives: Any,
    negatives: Any,
    layer: str,
    *,
    images: Any = None,
    target: Target = None,
    method: VectorMethod = "mean_difference",
    places: Places = "mean",
    n_random: int = 100,
    n_folds: int = 5,
    seed: int = 0,
    progress: Progress | None = None,
) -> ConceptVector:
    """The direction in a layer from images without a concept to images with it, and whether the network uses it.

    Stripes, say: with 30 striped pictures and 30 without stripes, a direction in the layer is found that separates
    them. If the score of "zebra" grows along it in nearly all zebras, the network makes use of stripes there
    (TCAV). Both, that it separates and that the score grows, are held against directions found in the same way for
    shuffled labels.

        mean_difference:  v = mean of a(positives) - mean of a(negatives)
        logistic:         v = the weights of a logistic regression, C = 1, of activations of standard deviation 1
        derivative:       d S / d (step along v) = gradient of S at the layer . v / ||v||
        TCAV score:       the share of images with a positive derivative

    Args:
        model: a `Model` or a module.
        positives: images with the concept, 10 or better 50; see `convscope.load_images`.
        negatives: images without it, alike in everything else.
        layer: name of a layer; see `Model.layers`.
        images: of a class, for the TCAV score; by default the positives and the negatives.
        target: whose score, as in `saliency`; None for the class predicted for each of ``images``, and no TCAV
            score if these are not given either.
        method: "mean_difference", which a few examples suffice for, or "logistic".
        places: "mean" averages a map over its places, so that D is the number of channels and it does not matter
            where in the picture a concept is; the score's derivative is that of a step at all places. "flat" takes
            every value of the map for itself, as TCAV does.
        n_random: R, counterparts with shuffled labels; the smallest p-value is 1 / (R + 1), two-sided 2 / (R + 1).
        n_folds: of the cross-validation, at most as many as there are examples of a kind.
        seed: of folds and labels.
        progress: called with (images done, images in all).

    Returns:
        `ConceptVector`; its ``score(images)`` says how far new images lie on the side of the concept.

    Raises:
        LayerError: no such layer.
        TargetError: the target is not a class of the network.
        ParameterError: less than two images of a kind, or no difference between the two.

    Cost: a forward pass up to the layer for each example, a forward and a backward pass for each of ``images``;
    the counterparts take no further passes.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
        >>> dark, bright = torch.rand(8, 1, 2, 2), 1 + torch.rand(8, 1, 2, 2)
        >>> found = concept_vector(net, bright, dark, layer="0", target=1)
        >>> found.accuracy, found.vector.shape, bool(found.score(bright).min() > 0)
        (1.0, (4,), True)

    References:
        Kim et al.: Interpretability beyond feature attribution: quantitative testing with concept activation
            vectors (TCAV), 2017, arXiv 1711.11279.
        Nicolson et al.: Explaining explainability: recommendations for effective use of concept activation
            vectors, 2024, arXiv 2404.03713 (flat vectors depend on where the concept is in the examples).
    """
    started = time.perf_counter()
    model = as_model(model)
    yes, no = model.inputs(positives), model.inputs(negatives)
    asked = target is not None or images is not None
    looked = [model.inputs(images)] if images is not None else [yes, no] if asked else []
    place = layer_to_cut(model, yes.shape, layer)
    step = _counted(progress, sum(map(len, (yes, no, *looked))))
    values = [layer_values(model, inputs, place, places, step) for inputs in (yes, no)]
    samples = Samples.of(*(found.values for found in values))
    separation = separated(samples, method, n_random, n_folds, seed)
    gradients = [layer_gradients(model, inputs, place, places, target, samples.axes, step) for inputs in looked]
    projected = [g.values for g in gradients]
    along = np.concatenate(projected) if projected else np.zeros((0, 0, len(samples.axes)))
    tested = _tested(separation, along)
    found = [*_cautions(samples, tested["derivatives"]), *(note for g in gradients for note in g.notes)]
    about = model.provenance(
        "concept_vector",
        {
            "layer": place.name, "target": describe(target), "method": method, "places": places,
            "n_random": n_random, "n_folds": n_folds, "seed": seed,
        },
        started,
        measured={"n_positives": len(values[0].values), "n_negatives": len(values[1].values)},
        notes=_notes(yes, no, looked, images is None and asked, found),
        skipped=(*yes.skipped, *no.skipped, *(looked[0].skipped if images is not None else ())),
    )  # fmt: skip
    return ConceptVector(
        vector=separation.vector,
        offset=separation.offset,
        layer=place.name,
        places=places,
        accuracy=separation.accuracy,
        random_accuracy=separation.random_accuracy,
        accuracy_p=permutation_p(separation.accuracy, separation.random_accuracy, two_sided=False),
        **tested,
        targets=gradients[0].targets if gradients else (),
        names=tuple(name for g in gradients for name in g.names),
        model=model,
        provenance=about,
    )


def _tested(separation: Separation, gradients: Array) -> dict[str, Array]:
    """The TCAV scores of gradients (N, T, r), in the coordinates of the samples, and how they compare."""
    derivatives = gradients @ separation.weights  # (N, T)
    n_targets = gradients.shape[1]
    tcav = (derivatives > 0).mean(axis=0) if n_targets else np.zeros(0)
    others = np.stack([(gradients @ w > 0).mean(axis=0) if n_targets else tcav for w in separation.random_weights])
    p = [permutation_p(tcav[t], others[:, t], two_sided=True) for t in range(n_targets)]
    return {"derivatives": derivatives, "tcav": tcav, "random_tcav": others, "tcav_p": np.asarray(p)}


def _cautions(samples: Samples, derivatives: Array) -> list[str]:
    """What speaks against the direction, or against its derivatives (N, T)."""
    found = []
    if n_shared := samples.n_shared:
        found.append(
            f"{counted(n_shared, 'positive')} of {int(samples.is_positive.sum())} are to this layer the same as a "
            "negative: is an image among both?"
        )
    if n_flat := int((derivatives == 0).any(axis=1).sum()):
        found.append(
            f"the score does not change along the concept in {counted(n_flat, 'image')} of {len(derivatives)}, "
            "which count as not positive in the TCAV score"
        )
    return found


def _notes(yes: Inputs, no: Inputs, looked: list[Inputs], are_examples: bool, found: list[str]) -> list[str]:
    notes = [*yes.notes, *no.notes, *found]
    if are_examples:
        notes.append("the TCAV score is that of the positives and negatives: give images= of the class")
    elif looked:
        notes.extend(looked[0].notes)
    return notes


def _counted(progress: Progress | None, n: int) -> Callable[[int], None]:
    """A function that reports so many images more as done."""
    done = 0

    def step(n_more: int) -> None:
        nonlocal done
        done += n_more
        if progress:
            progress(done, n)

    return step


def concept_scores(vector: ConceptVector, images: Any, model: Any) -> Array:
    """What `ConceptVector.score` returns."""
    model, inputs, place = _again(vector, images, model)
    found = layer_values(model, inputs, place, vector.places, lambda _: None)
    scores = np.full(len(inputs), np.nan)
    scores[list(found.positions)] = found.values @ vector.vector - vector.offset
    return scores


def concept_derivatives(vector: ConceptVector, images: Any, target: Target, model: Any) -> Array:
    """What `ConceptVector.derivative` returns."""
    model, inputs, place = _again(vector, images, model)
    found = layer_gradients(model, inputs, place, vector.places, target, vector.vector[None], lambda _: None)
    derivatives = np.full((len(inputs), found.values.shape[1]), np.nan)
    derivatives[list(found.positions)] = found.values[:, :, 0]
    return derivatives


def _again(vector: ConceptVector, images: Any, model: Any) -> tuple[Model, Inputs, Layer]:
    """The network of a vector, new images, and the layer; an error for another network."""
    given = model if model is not None else vector.model
    if given is None:
        raise ParameterError("this vector was read from a file: give model=, the network it was found in")
    model = as_model(given)
    if weights_digest(network_of(model.module)) != vector.provenance.model["weights_sha256"]:
        raise ModelError(
            f"{model.name} has other weights than the network in which this vector was found "
            f"({vector.provenance.model['name']}): find it again in this one"
        )
    inputs = model.inputs(images)
    return model, inputs, layer_to_cut(model, inputs.shape, vector.layer)
