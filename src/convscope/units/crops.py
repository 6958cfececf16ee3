"""Crops of images, and what a layer says to each of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from ..errors import ParameterError
from ..execution import run_to
from ..models import Inputs, Layer, Model, as_maps
from ..results import Array

MOST = 20_000  # crops that are factorized: 100 MB for 1,280 channels


@dataclass(frozen=True)
class Crops:
    """``activations`` (M, C) float32 are a layer's, averaged over its places; ``images`` (M,) the numbers of the
    crops' images among all of the call, and ``corners`` (M, 2) their (top, left) in pixels.
    """

    activations: Array
    images: Array
    corners: Array


def crop_side(asked: int | None, size: tuple[int, int]) -> int:
    """The side of a crop in pixels: by default 80 of 224, as in CRAFT."""
    shorter = min(size)
    if asked is None:
        return max(1, round(shorter * 80 / 224))
    if asked > shorter:
        raise ParameterError(f"crop_px={asked}: the network's input is {size[0]} x {size[1]} pixels")
    return asked


def corners_of(size: tuple[int, int], side: int) -> Array:
    """(n, 2): the (top, left) of as few crops as cover an image, at even distances."""
    along = [np.linspace(0, length - side, -(-length // side)).round().astype(int) for length in size]
    return np.stack(np.meshgrid(*along, indexing="ij"), axis=-1).reshape(-1, 2)


def crop_activations(
    model: Model, inputs: Inputs, layer: Layer, side: int, seed: int, step: Callable[[int], None]
) -> Crops:
    """What the layer says to the crops of all images, each resized to the whole input.

    Of more than `MOST` crops, as many are drawn at random.
    """
    size = (inputs.shape[1], inputs.shape[2])
    corners = corners_of(size, side)
    n = len(inputs) * len(corners)
    wanted = np.ones(n, bool)
    if n > MOST:
        wanted[np.random.default_rng(seed).permutation(n)[MOST:]] = False
    prepare, at_once = model.preparation(inputs.shape), model.fitting_batch(inputs.shape)
    parts: list[Array] = []
    images: list[int] = []
    places: list[Array] = []
    for batch in model.batches(inputs):
        for x, i in zip(batch.x, batch.positions, strict=True):
            own = corners[wanted[i * len(corners) : (i + 1) * len(corners)]]
            for first in range(0, len(own), at_once):
                cut = torch.stack([x[:, t : t + side, a : a + side] for t, a in own[first : first + at_once]])
                large = functional.interpolate(cut, size, mode="bilinear", align_corners=False)
                found = as_maps(run_to(model.module, prepare(large), [layer.name])[layer.name], layer)
                parts.append(over_places(found).float().cpu().numpy())
            images.extend([i] * len(own))
            places.append(own)
            step(i + 1)
    return Crops(np.concatenate(parts), np.asarray(images), np.concatenate(places))


def over_places(maps: torch.Tensor) -> torch.Tensor:
    """The mean (n, C) of maps (n, C, *sides); vectors as they are."""
    return maps.flatten(2).mean(dim=2) if maps.ndim > 2 else maps


def best_crops(coefficients: Array, images: Array, n: int) -> list[int]:
    """The n crops with the highest coefficients, best first, as far as there are images each from its own."""
    order = np.argsort(-coefficients, kind="stable")
    _, first = np.unique(images[order], return_index=True)
    own = np.sort(first)[:n]
    rest = np.setdiff1d(np.arange(len(order)), first)[: n - len(own)]
    return [int(i) for i in order[np.sort(np.concatenate([own, rest]))]]
