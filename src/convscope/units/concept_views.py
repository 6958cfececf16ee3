"""Look at one whole image through concepts: where each is, and what the score makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..checks import as_array
from ..errors import ParameterError
from ..execution import kept_outputs
from ..models import Inputs, Layer, Model, as_maps
from ..perturbation import finite
from ..results import Array
from ..targets import Target, Targets, n_classes_of, resolve
from .factorization import nonnegative_coefficients
from .heads import Head
from .sobol_indices import designs, total_indices


@dataclass(frozen=True)
class Basis:
    """``shown`` (K, C) are the directions that are looked at; ``rest`` (R, C) others of a dictionary, which stay.

    ``encoder`` gives coefficients (M, D) of all directions ``every`` (D, C), of which ``order`` (D,) puts the
    shown ones first.
    """

    every: Array
    order: Array
    n_shown: int
    encoder: Callable[[Array], Any] | None = None

    @property
    def shown(self) -> Array:
        return self.every[self.order[: self.n_shown]]

    def coefficients(self, activations: Array) -> Array:
        """Coefficients (M, D) of activations (M, C), those of the shown directions first."""
        return encoded(activations, self.every, self.encoder)[:, self.order]

    def held(self, coefficients: Array) -> Array:
        """What the directions that are not shown add up to, (M, C)."""
        hidden = self.order[self.n_shown :]
        return np.asarray(coefficients[:, self.n_shown :] @ self.every[hidden])


def encoded(activations: Array, every: Array, encoder: Callable[[Array], Any] | None) -> Array:
    """The coefficients (M, D) of directions (D, C), by the caller's encoder or else the nearest that are >= 0."""
    if encoder is None:
        return nonnegative_coefficients(activations, every)
    found = encoder(np.asarray(activations, np.float32))
    found = found.detach().cpu() if isinstance(found, torch.Tensor) else found
    expected = f"({len(activations)}, {len(every)}) numbers from the encoder"
    values = as_array(found, "encoder", expected)
    fits = values.shape == (len(activations), len(every)) and values.dtype.kind in "fiu"
    if not fits or not np.isfinite(values).all():
        raise ParameterError(f"encoder: it returned {values.dtype} {values.shape}; expected finite {expected}")
    return np.asarray(values, np.float64)


@dataclass(frozen=True)
class ConceptView:
    """One image through K concepts: ``maps`` (K, h, w), ``importance`` (K,), ``effect`` (K,).

    ``score`` is the image's, ``rebuilt`` that of the concepts put together; ``position`` its number in the call.
    """

    maps: Array
    importance: Array
    effect: Array
    score: float
    rebuilt: float
    target: str
    notes: tuple[str, ...]
    name: str
    position: int
    pixels: Array


def concept_views(
    model: Model, inputs: Inputs, layer: Layer, target: Target, basis: Basis, n_designs: int, seed: int
) -> Iterator[ConceptView]:
    """Every image of a call, one by one; the network is in evaluation mode."""
    head, k = Head(model, layer, inputs.shape), basis.n_shown
    ones = np.ones((1, k))
    masks = np.concatenate([designs(k, n_designs, seed), ones, ones - np.eye(k)])
    for batch in model.batches(inputs, size=1):
        with kept_outputs(model.module, [layer.name]) as found:
            output = model.module(batch.x.clone())
        like = found[layer.name]
        targets = _resolved(model, inputs, target, output, batch.positions)
        score = float(targets.of(output, 1)[0, 0])
        maps = as_maps(like, layer)
        head.check(like, targets.of, torch.tensor([score], device=like.device))
        places = maps.shape[2:]
        activations = maps[0].flatten(1).T if places else maps
        coefficients = basis.coefficients(activations.double().cpu().numpy())
        scores = _masked(head, masks, coefficients, basis, places, like, targets)
        finite(torch.cat([scores, torch.tensor([score])]), list(batch.names) * (len(scores) + 1))
        values, whole = scores.numpy(), float(scores[-1 - k])
        yield ConceptView(
            coefficients[:, :k].T.reshape(k, *(places or (1, 1))).astype(np.float32),
            total_indices(values[: -1 - k], k),
            whole - values[-k:],
            score,
            whole,
            targets.names[0],
            targets.notes,
            batch.names[0],
            batch.positions[0],
            model.to_pixels(batch.x)[0],
        )


def _masked(
    head: Head,
    masks: Array,
    coefficients: Array,
    basis: Basis,
    places: Sequence[int],
    like: torch.Tensor,
    targets: Targets,
) -> torch.Tensor:
    """The scores (J,) with the shown concepts multiplied by masks (J, K), the same at all places."""
    parts: list[torch.Tensor] = []
    u, w, held, rows = (
        torch.as_tensor(values, dtype=torch.float32, device=like.device)
        for values in (coefficients[:, : basis.n_shown], basis.shown, basis.held(coefficients), masks)
    )
    for first in range(0, len(masks), head.at_once):
        m = rows[first : first + head.at_once]
        made = (u[None] * m[:, None]) @ w + held  # (J, places, C)
        maps = made.transpose(1, 2).reshape(len(m), -1, *places) if places else made[:, 0]
        parts.append(head.scores(maps, like, targets))
    return torch.cat(parts)


def _resolved(model: Model, inputs: Inputs, target: Target, output: Any, positions: Sequence[int]) -> Targets:
    return resolve(
        target,
        output,
        model.labels,
        n_batch=1,
        positions=positions,
        n_images=len(inputs),
        normalization=model.normalization(inputs.shape, n_classes_of(output)),
        size=inputs.shape[1:],
    )
