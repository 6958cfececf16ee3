"""The maps that a run has made so far, with what a result says of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from ..checks import Sides
from ..errors import ModelError
from ..models import Model
from ..results import Array
from ..results.predictions import known_labels
from .scored import ScoredBatch

Names: TypeAlias = Sequence[str]


class _Made(NamedTuple):
    """Finished maps of some images, and the same by input if several were explained."""

    values: Array
    scores: Array
    images: Array
    names: Names
    labels: Sequence[str | None]
    targets: Names
    inputs: dict[str, Array]
    given: dict[str, Array]


class MadeMaps:
    """Collects maps; those of an image follow one another.

    Args:
        method: its name.
        sides: (H, W) of the images, (L,) of signals, or (D, H, W) of volumes.
        model: the network; it knows how several inputs that are explained together lie in one image.
        signed: whether values can be negative. Of an input that is an image, the channels of a signed map are
            added up for its picture, and of others the largest counts, as methods do it for images.
    """

    def __init__(self, method: str, sides: Sides, model: Model, signed: bool) -> None:
        self._method, self._sides, self._model, self._signed = method, sides, model, signed
        self._made: list[_Made] = []

    def __len__(self) -> int:
        return sum(len(made.values) for made in self._made)

    def add(self, maps: torch.Tensor, batch: ScoredBatch) -> None:
        """Take in maps (T, n, *sides) of the n images of a batch."""
        names, targets = batch.names, batch.targets.names
        expected = (len(targets) // len(names), len(names), *self._sides)
        if maps.shape != expected:
            raise ValueError(f"{self._method} made maps {tuple(maps.shape)}; expected {expected}")
        if not torch.isfinite(maps).all():
            why = "though the score is not; the network has an operation with no gradient there"
            raise ModelError(f"{names[0]}: the map is NaN or infinite somewhere, {why}")
        inputs: dict[str, Array] = {}
        given: dict[str, Array] = {}
        n_each, packing = len(maps), self._model.packing
        if packing is not None:
            packed = maps[:, :, None]  # a channel, as the packed inputs have
            inputs = {name: _flat(part) for name, part in packing.unpack(packed).items()}
            shown = packing.shown(batch.x, self._model.preprocessing)
            given = {name: values.repeat(n_each, axis=0) for name, values in shown.items()}
            picture = packing.as_picture(packed)
            maps = picture.sum(dim=2) if self._signed else picture.amax(dim=2)
        images = batch.pixels if n_each == 1 else batch.pixels.repeat(n_each, axis=0)
        each = [name for name in names for _ in range(n_each)]
        labels = [label for label in batch.labels for _ in range(n_each)]
        scores = as_array(batch.scores.flatten())
        self._made.append(_Made(_flat(maps), scores, images, each, labels, targets, inputs, given))

    def fields(self) -> dict[str, Any]:
        """The fields of an `Attribution` that hold maps, and what they are of."""
        values, scores, images, names, labels, targets, inputs, given = zip(*self._made, strict=True)
        return {
            "values": np.concatenate(values),
            "inputs": {name: np.concatenate([made[name] for made in inputs]) for name in inputs[0]},
            "given": {name: np.concatenate([made[name] for made in given]) for name in given[0]},
            "targets": tuple(name for made in targets for name in made),
            "scores": np.concatenate(scores),
            "images": np.concatenate(images),
            "names": tuple(name for made in names for name in made),
            "true_labels": known_labels(label for made in labels for label in made),
        }


def _flat(maps: torch.Tensor) -> Array:
    """Maps (T, n, ...) as (n * T, ...)."""
    return as_array(maps.transpose(0, 1).flatten(0, 1))


def as_array(tensor: torch.Tensor) -> Array:
    """A tensor as float32 of NumPy."""
    return tensor.detach().float().cpu().numpy()
