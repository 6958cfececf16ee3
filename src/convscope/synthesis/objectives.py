"""Objectives: what a picture is asked to maximize. They are sums of terms, each with a factor of its own.

An objective knows no network yet. `bound` binds it to one, and gives the function of a batch of views that the
ascent climbs. A value is a number for each view, so that several pictures with an objective each are one batch.

    0.5 * channel("layer3", 12) - channel("layer3", 7) + 0.1 * diversity("layer2")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from torch.nn import functional

from ..checks import InputShape, as_number
from ..errors import TargetError
from ..execution import OUTPUT
from ..models import Layer, Model
from ..targets import Target, describe, n_classes_of, resolve


@dataclass(frozen=True)
class Seen:
    """What the network gave for n views: ``layers`` by name, maps (n, C, H, W) or vectors; ``output`` as it is."""

    layers: Mapping[str, torch.Tensor]
    output: Any
    n: int
    _parts: dict[tuple[str, int], Sequence[torch.Tensor]] = field(default_factory=dict)

    def of_picture(self, layer: str, rows: slice) -> torch.Tensor:
        """The rows of one picture of a layer, where all pictures have as many."""
        # Split once: its backward pass joins gradients, where that of a slice makes zeros of the whole layer.
        each = rows.stop - rows.start
        if (parts := self._parts.get((layer, each))) is None:
            parts = self._parts[layer, each] = torch.split(self.layers[layer], each)
        found: torch.Tensor = parts[rows.start // each]
        return found


# From what was seen and the rows of one picture, the value of each row.
Value: TypeAlias = Callable[[Seen, slice], torch.Tensor]


class Place(NamedTuple):
    """What a term is bound to: a network, the layer that it asks for, and its output for a zero image."""

    model: Model
    shape: InputShape
    layer: Layer | None
    output: Any


@dataclass(frozen=True)
class Term:
    """One term: the ``layer`` that it reads, or `OUTPUT`; ``bind`` gives its name and its value.

    ``is_mean``: whether it is a mean over the places of a map of any size; ``compares``: whether it also reads the
    other pictures of the batch.
    """

    layer: str
    bind: Callable[[Place], tuple[str, Value]]
    is_mean: bool = False
    compares: bool = False


@dataclass(frozen=True)
class Objective:
    """A sum of terms, each multiplied by its own factor; `+`, `-` and `*` by a number give new ones."""

    terms: tuple[tuple[float, Term], ...]

    def __add__(self, other: Objective) -> Objective:
        return Objective((*self.terms, *other.terms))

    def __sub__(self, other: Objective) -> Objective:
        return self + -1.0 * other

    def __mul__(self, factor: float) -> Objective:
        factor = as_number(factor, "factor")
        return Objective(tuple((factor * own, term) for own, term in self.terms))

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return -1.0 * self

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that it reads, each once."""
        return tuple(dict.fromkeys(term.layer for _, term in self.terms))


def class_score(target: Target) -> Objective:
    """The score of a class as the network returns it, or a callable's score of the output."""

    def bind(place: Place) -> tuple[str, Value]:
        model, shape = place.model, place.shape
        normalization = model.normalization(shape, n_classes_of(place.output))
        chosen = resolve(
            target, place.output, model.labels, n_batch=1, normalization=normalization, size=shape[1:]
        )
        return chosen.names[0], lambda seen, rows: full(chosen.of(seen.output, seen.n)[rows, 0])

    return _one(OUTPUT, bind)


def layer(name: str) -> Objective:
    """The mean of the squared activations of a layer, as in DeepDream."""
    return _of_maps(name, lambda maps: maps.flatten(1).square().mean(dim=1), "", is_mean=True)


def channel(name: str, index: int) -> Objective:
    """The mean of a channel over its map."""

    def value(maps: torch.Tensor) -> torch.Tensor:
        return maps[:, index].reshape(len(maps), -1).mean(dim=1)  # of a vector layer, the value itself

    return _of_maps(name, value, f"channel {index}", (index,), is_mean=True)


def unit(name: str, index: int, row: int, column: int) -> Objective:
    """One unit of a channel's map."""

    def value(maps: torch.Tensor) -> torch.Tensor:
        return maps[:, index, row, column]

    return _of_maps(name, value, f"channel {index}, unit ({row}, {column})", (index, row, column))


def direction(name: str, vector: Any, cosine_power: float = 0.0) -> Objective:
    """The mean of a . v over a layer's places, for a vector v of its channels, times the cosine to a power.

    A plain dot product also grows with what is long, whatever its direction; the cosine holds it to the direction
    (Olah et al., 2018: The building blocks of interpretability).
    """

    def value(maps: torch.Tensor) -> torch.Tensor:
        return _along(maps, _column(vector, maps), cosine_power)

    return _of_maps(name, value, "direction", is_mean=True)


def caricature(name: str, activations: Any, cosine_power: float = 1.0) -> Objective:
    """The dot product with an image's activations (C, H, W) of a layer, times the cosine to a power.

    It exaggerates what the layer sees in the image.
    """
    return _of_maps(name, lambda maps: _along(maps, _reference(activations, maps), cosine_power), "caricature")


def difference(name: str, activations: Any) -> Objective:
    """Minus the squared difference from an image's activations (C, H, W) as a share of their square; 0 at best."""

    def value(maps: torch.Tensor) -> torch.Tensor:
        wanted = _reference(activations, maps)
        return -(maps - wanted).flatten(1).square().sum(dim=1) / wanted.square().sum().clamp_min(1e-12)

    return _of_maps(name, value, "as an image has it")


def embedding(name: str, vector: Any) -> Objective:
    """The cosine of a layer's output, flattened, with a vector."""

    def value(maps: torch.Tensor) -> torch.Tensor:
        flat = maps.flatten(1)
        return functional.cosine_similarity(flat, torch.as_tensor(vector).to(flat).flatten()[None], dim=1)

    return _of_maps(name, value, "similarity to a vector")


def diversity(name: str) -> Objective:
    """Minus the mean cosine of a picture's style at a layer with that of the other pictures of its batch.

    The style is the Gram matrix of the channels. Of one picture alone it is 0.
    """

    def bind(place: Place) -> tuple[str, Value]:
        def value(seen: Seen, rows: slice) -> torch.Tensor:
            maps = full(seen.layers[name]).flatten(2)
            grams = functional.normalize((maps @ maps.transpose(1, 2)).flatten(1), dim=1)
            others = torch.cat([grams[: rows.start], grams[rows.stop :]])
            return -(grams[rows] @ others.T).mean(dim=1) if len(others) else 0 * grams[rows].sum(dim=1)

        return f"{name}, diversity", value

    return _one(name, bind, compares=True)


def as_objective(target: Any, layer_name: str | None) -> Objective:
    """What a target of `visualize` asks for: without a layer of the output, with one of that layer.

    In a layer None is the whole of it, one number a channel, three numbers a unit.
    """
    if isinstance(target, Objective):
        return target
    if layer_name is None:
        return class_score(target)
    if target is None:
        return layer(layer_name)
    place = target if isinstance(target, tuple | list) else (target,)
    are_numbers = all(isinstance(i, int | np.integer) and not isinstance(i, bool) for i in place)
    if not are_numbers or len(place) not in (1, 3):
        raise TargetError(
            f"target={describe(target)!r} in layer {layer_name}: expected a channel, or "
            "(channel, row, column) of a map"
        )
    return channel(layer_name, int(place[0])) if len(place) == 1 else unit(layer_name, *map(int, place))


def full(values: torch.Tensor) -> torch.Tensor:
    """Convert half precision to float32: sums of squares overflow in it, and differences of scores get lost."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _one(
    name: str, bind: Callable[[Place], tuple[str, Value]], *, is_mean: bool = False, compares: bool = False
) -> Objective:
    return Objective(((1.0, Term(name, bind, is_mean, compares)),))


def _of_maps(
    name: str,
    value: Callable[[torch.Tensor], torch.Tensor],
    what: str,
    place: tuple[int, ...] = (),
    *,
    is_mean: bool = False,
) -> Objective:
    """An objective of one layer's maps; ``place`` must lie inside of them."""

    def bind(bound: Place) -> tuple[str, Value]:
        layer = bound.layer
        assert layer is not None
        if len(place) > len(layer.shape) or not all(0 <= i < n for i, n in zip(place, layer.shape, strict=False)):
            shown = place[0] if len(place) == 1 else place
            raise TargetError(f"target={shown!r}: layer {layer.name} has the shape {layer.shape}")
        return f"{layer.name}, {what}" if what else layer.name, lambda seen, rows: value(
            full(seen.of_picture(name, rows))
        )

    return _one(name, bind, is_mean=is_mean)


def _along(maps: torch.Tensor, wanted: torch.Tensor, power: float) -> torch.Tensor:
    """(N,): the mean over places of the dot product over channels, times max(cosine, 0.1) ** power."""
    dot = (maps * wanted).sum(dim=1)
    if power:
        lengths = maps.norm(dim=1) * wanted.norm(dim=1)
        dot = dot * (dot / lengths.clamp_min(1e-12)).clamp_min(0.1) ** power
    return dot.flatten(1).mean(dim=1) if dot.ndim > 1 else dot


def _column(vector: Any, maps: torch.Tensor) -> torch.Tensor:
    column = torch.as_tensor(vector).to(maps).flatten()
    if len(column) != maps.shape[1]:
        raise TargetError(f"a direction of {len(column)} numbers in a layer of {maps.shape[1]} channels")
    return column.reshape(1, -1, *[1] * (maps.ndim - 2))


def _reference(activations: Any, maps: torch.Tensor) -> torch.Tensor:
    wanted = torch.as_tensor(activations).to(maps)
    wanted = wanted[0] if wanted.ndim == maps.ndim and len(wanted) == 1 else wanted
    if wanted.shape != maps.shape[1:]:
        raise TargetError(f"activations of the shape {tuple(wanted.shape)}; the layer has {tuple(maps.shape[1:])}")
    return wanted[None]


class Bound(NamedTuple):
    """An objective of a network: its name, and the function from what was seen of one picture to (n_views,).

    ``compares``: whether it also reads the other pictures.
    """

    name: str
    value: Value
    compares: bool = False


def bound(
    objective: Objective, model: Model, shape: InputShape, layers: Mapping[str, Layer], output: Any
) -> Bound:
    """Bind an objective to a network, whose ``output`` for a zero image is given where a term reads it."""
    parts = [
        (factor, *term.bind(Place(model, shape, layers.get(term.layer), output)))
        for factor, term in objective.terms
    ]

    def value(seen: Seen, rows: slice) -> torch.Tensor:
        return torch.stack([factor * one(seen, rows) for factor, _, one in parts]).sum(dim=0)

    names = [name if factor == 1 else f"{factor:g} x {name}" for factor, name, _ in parts]
    compares = any(term.compares for _, term in objective.terms)
    return Bound(" + ".join(names).replace("+ -", "- "), value, compares)
