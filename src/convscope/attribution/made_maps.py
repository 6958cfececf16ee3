"""The maps that a run has made so far, with what a result says of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch

from ..checks import Sides
from ..errors import ModelError
from ..models import Packing
from ..results import Array

Names: TypeAlias = Sequence[str]


class _Made(NamedTuple):
    """Finished maps of some images, and the same by input if several were explained."""

    values: Array
    scores: Array
    images: Array
    names: Names
    targets: Names
    inputs: dict[str, Array]


class MadeMaps:
    """Collects maps; those of an image follow one another.

    Args:
        method: its name.
        sides: (H, W) of the images, (L,) of signals, or (D, H, W) of volumes.
        packing: how several inputs that are explained together lie in one image.
        signed: whether values can be negative. Of an input that is an image, the channels of a signed map are
            added up for its picture, and of others the largest counts, as methods do it for images.
    """

    def __init__(self, method: str, sides: Sides, packing: Packing | None, signed: bool) -> None:
        self._method, self._sides, self._packing, self._signed = method, sides, packing, signed
        self._made: list[_Made] = []

    def __len__(self) -> int:
        return sum(len(made.values) for made in self._made)

    def add(self, maps: torch.Tensor, scores: torch.Tensor, pixels: Array, names: Names, targets: Names) -> None:
        """Take in maps (T, n, *sides) of n images."""
        expected = (len(targets) // len(names), len(names), *self._sides)
        if maps.shape != expected:
            raise ValueError(f"{self._method} made maps {tuple(maps.shape)}; expected {expected}")
        if not torch.isfinite(maps).all():
            why = "though the score is not; the network has an operation with no gradient there"
            raise ModelError(f"{names[0]}: the map is NaN or infinite somewhere, {why}")
        inputs: dict[str, Array] = {}
        n_each = len(maps)
        if self._packing is not None:
            packed = maps[:, :, None]  # a channel, as the packed inputs have
            inputs = {name: _flat(part) for name, part in self._packing.unpack(packed).items()}
            picture = self._packing.as_picture(packed)
            maps = picture.sum(dim=2) if self._signed else picture.amax(dim=2)
        images = pixels if n_each == 1 else pixels.repeat(n_each, axis=0)
        each = [name for name in names for _ in range(n_each)]
        self._made.append(_Made(_flat(maps), as_array(scores.flatten()), images, each, targets, inputs))

    def fields(self) -> dict[str, Any]:
        """The fields of an `Attribution` that hold maps, and what they are of."""
        values, scores, images, names, targets, inputs = zip(*self._made, strict=True)
        return {
            "values": np.concatenate(values),
            "inputs": {name: np.concatenate([made[name] for made in inputs]) for name in inputs[0]},
            "targets": tuple(name for made in targets for name in made),
            "scores": np.concatenate(scores),
            "images": np.concatenate(images),
            "names": tuple(name for made in names for name in made),
        }


def _flat(maps: torch.Tensor) -> Array:
    """Maps (T, n, ...) as (n * T, ...)."""
    return as_array(maps.transpose(0, 1).flatten(0, 1))


def as_array(tensor: torch.Tensor) -> Array:
    """A tensor as float32 of NumPy."""
    return tensor.detach().float().cpu().numpy()
