"""Concepts: the directions that a layer's activations are made of, and how much the score makes of each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from ..arguments import checks_arguments
from ..errors import Interrupted, ParameterError, TargetError
from ..execution import evaluating
from ..models import Model, as_model, network_and_target
from ..progress import Progress
from ..results import Array, Concepts
from ..targets import Several, Target, describe, directed
from ..texts import counted
from .collected_concepts import Collected
from .concept_views import Basis, ConceptView, concept_views, encoded
from .crops import Crops, best_crops, crop_activations, crop_side
from .dictionaries import checked_dictionary
from .factorization import Factors, different, factorized, relative_error
from .heads import layer_to_cut
from .scanned_images import classes_of, labeled

_BEST = 6  # crops that are kept of each concept
_STABLE = 0.8  # of the cosine with the concepts of other seeds


@checks_arguments
def concepts(
    model: Model | nn.Module,
    images: Any,
    layer: str | None = None,
    *,
    label: str | None = None,
    target: Target = None,
    n_concepts: int = 10,
    crop_px: int | None = None,
    n_designs: int = 32,
    dictionary: Any = None,
    encoder: Callable[[Array], Any] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Concepts:
    """What a network sees in the images of a class: a few concepts, each with its crops, maps and importance.

    Crops of the images are shown to the network, and what a layer says to them is factorized: each crop is a sum
    of a few directions, with coefficients that are not negative. A direction is known by the crops where its
    coefficient is high, and by its map on whole images. How much it matters is found by turning all of them up and
    down at random and running the rest of the network (CRAFT).

        A ~ U W,  U >= 0      A (crops, C): a layer's activations, averaged over its places
        importance_k = mean over images of the total Sobol index of m_k in S(sum over k of m_k u_k W_k),
                       m in [0, 1]

    Where no activation is negative, as behind a ReLU, neither is W (NMF); otherwise W may have any sign
    (semi-NMF). On whole images u is the nearest at each place: min over u >= 0 of ||a - u W||.

    Args:
        model: a `Model` or a module.
        images: of one class, some tens or more; see `convscope.load_images`. A tensor (N, C, H, W) is taken as
            preprocessed.
        layer: whose activations; by default the last with places before pooling. Everything has to pass through
            it.
        label: take only the images with this label, such as the name of their folder.
        target: whose score counts: class index, label, a list with one for each image, a callable from the output
            (N, K) to scores (N,), or None for the class of ``label``, if it names one, and else for that predicted
            for each image.
        n_concepts: K, or of a dictionary how many are shown: those with the highest mean coefficient in the crops.
        crop_px: side of the crops; by default 80 for an input of 224 pixels. They cover each image once.
        n_designs: random masks an image for the importance, times K + 2.
        dictionary: (C, D), directions to use in place of a factorization, such as the decoder of a sparse
            autoencoder. Those that are not shown stay as they are.
        encoder: from activations (M, C) to coefficients (M, D) of the dictionary, in place of the nearest u >= 0.
        seed: of the factorization and the masks.
        progress: called with (images done, images in all); each image counts twice.

    Returns:
        `Concepts`, the most important first, with their stability over 4 seeds. ``provenance.measured`` has the
        scores of images put together from the shown concepts (``scores_of_concepts``), to be held against
        ``scores``.

    Raises:
        LayerError: no such layer, or something flows past it.
        TargetError: the target is not a class of the network, or several at once.
        ParameterError: more concepts than channels, or than crops that differ; a dictionary that does not fit the
            layer.
        ImageError: signals or volumes, or no image has the label.
        Interrupted: on Ctrl-C, with the images looked at so far.

    Cost: a forward pass for each crop (9 an image by default) up to the layer, the factorizations, and for each
    image 32 * (K + 2) passes from the layer on. Memory for the crops' activations, of 20,000 crops at most.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(784, 2))
        >>> found = concepts(net, torch.rand(4, 3, 16, 16), layer="1", target=1, n_concepts=2, n_designs=8)
        >>> found.basis.shape, found.maps.shape
        ((2, 4), (4, 2, 14, 14))

    References:
        Fel et al.: CRAFT: concept recursive activation factorization for explainability, 2022, arXiv 2211.10154.
        Ding, Li, Jordan: Convex and semi-nonnegative matrix factorizations, 2010, IEEE TPAMI 32(1).
        Jansen: Analysis of variance designs for model output, 1999, Computer Physics Communications 117.
    """
    started = time.perf_counter()
    model, images = as_model(model).bound(images)
    if label is not None:
        images = labeled(images, label)
        code = int(classes_of(None, [label], model.labels)[0][0])
        target = code if target is None and code >= 0 else target
    inputs = model.inputs(images)
    inputs.need_pictures("concepts")
    if isinstance(target, Several):
        raise TargetError("concepts are of one score: give one target at a time")
    model, aim = network_and_target(model, directed(target, model.labels), inputs.shape)
    place = layer_to_cut(model, inputs.shape, layer)
    atoms = _atoms(dictionary, encoder, place.shape[0])
    side = crop_side(crop_px, (inputs.shape[1], inputs.shape[2]))

    def step(n_done: int) -> None:
        if progress:
            progress(n_done, 2 * len(inputs))

    with evaluating(model.module):
        crops = crop_activations(model, inputs, place, side, seed, step)
        factors, basis = _factors(crops, atoms, encoder, n_concepts, seed)
        best = [best_crops(row, crops.images, _BEST) for row in factors.coefficients.T]
        collected = Collected(crops, best, side)

        def result(*notes: str) -> Concepts:
            options = {"layer": place.name, "target": describe(target), "n_concepts": n_concepts, "crop_px": side}
            options |= {"n_designs": n_designs, "seed": seed}
            about = model.provenance(
                "concepts",
                options,
                started,
                measured={"scores_of_concepts": [seen.rebuilt for seen in collected.seen]},
                notes=(*inputs.notes, *_notes(factors, collected.seen, target), *notes),
                skipped=inputs.skipped,
            )
            return collected.result(factors, place.name, about)

        try:
            for seen in concept_views(model, inputs, place, aim, basis, n_designs, seed):
                collected.add(seen)
                step(len(inputs) + seen.position + 1)
        except KeyboardInterrupt:
            if not collected.seen:
                raise
            cut = f"interrupted after {len(collected.seen)} of {len(inputs)} images"
            raise Interrupted(result(cut)) from None
    step(2 * len(inputs))  # the last images may have been skipped
    return result()


def _factors(
    crops: Crops, atoms: Array | None, encoder: Callable[[Array], Any] | None, n_concepts: int, seed: int
) -> tuple[Factors, Basis]:
    """The concepts in the crops' activations, found or given, and how to find them in others."""
    activations = crops.activations
    if atoms is None:
        if min(activations.shape) < n_concepts:
            n_crops, n_channels = activations.shape
            raise ParameterError(
                f"n_concepts={n_concepts}: there are only {n_crops} crops of images and {n_channels} channels; "
                "give more images, or ask for fewer concepts"
            )
        if (n_different := different(activations)) < n_concepts:
            raise ParameterError(
                f"n_concepts={n_concepts}: the {len(activations)} crops have only "
                f"{counted(n_different, 'different activation')} other than zero; give other images or another "
                "layer, or ask for fewer concepts"
            )
        factors = factorized(activations, n_concepts, seed)
        return factors, Basis(factors.basis, np.arange(n_concepts), n_concepts)
    coefficients = encoded(activations, atoms, encoder)
    order = np.argsort(-coefficients.mean(axis=0) * np.linalg.norm(atoms, axis=1), kind="stable")
    basis = Basis(atoms, order, min(n_concepts, len(atoms)), encoder)
    own = coefficients[:, order[: basis.n_shown]]
    error = relative_error(activations, coefficients, atoms)
    unknown = np.full(basis.n_shown, np.nan)
    return Factors(own, basis.shown, error, unknown, "dictionary", converged=True), basis


def _atoms(dictionary: Any, encoder: Any, n_channels: int) -> Array | None:
    """The directions (D, C) of a dictionary (C, D)."""
    if dictionary is None:
        if encoder is not None:
            raise ParameterError("encoder: it gives coefficients of a dictionary; give dictionary=, too")
        return None
    return checked_dictionary(dictionary, n_channels).T


def _notes(factors: Factors, seen: list[ConceptView], target: Target) -> list[str]:
    """What the reader of the result should know."""
    notes = [note for one in seen for note in one.notes]
    if factors.kind == "semi-nmf":
        notes.append("some activations are negative: directions may have any sign (semi-NMF)")
    if not factors.converged:
        notes.append("the factorization had not settled when it was stopped")
    if (loose := int((factors.stability < _STABLE).sum())) > 0:
        notes.append(
            f"{counted(loose, 'concept')} of {len(factors.stability)} changed with the seed (stability below "
            f"{_STABLE}): give more images, or ask for fewer"
        )
    own = list(dict.fromkeys(one.target for one in seen))
    if target is None and len(own) > 1:
        notes.append(f"the images are predicted as {len(own)} classes, and each counts for its own: give a target")
    if sum(abs(one.rebuilt - one.score) for one in seen) > 0.5 * sum(abs(one.score) for one in seen):
        notes.append(
            f"put together from the concepts, images score {np.mean([one.rebuilt for one in seen]):.3g} on "
            f"average, and {np.mean([one.score for one in seen]):.3g} as they are: much of the score is in "
            "none of them"
        )
    return notes
