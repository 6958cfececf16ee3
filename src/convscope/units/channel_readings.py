"""What is read off the maps of a batch: a few numbers for each image and channel, and places for correlations."""

from __future__ import annotations

import math
from functools import reduce
from typing import NamedTuple

import numpy as np
import torch

from ..models import Layer, as_maps
from ..results import Array

SAMPLED = 64  # places of a map, at most, whose values go into the covariances
_SUMS = ("n", "gram", "sums")
_SUMMED = 256  # values added up in float32


class Reading(NamedTuple):
    """Of n images: the ``peaks`` (n, C) float32, their ``places``, the ``means``, the number of ``silent`` places.

    ``samples`` (n, P, C) are the values at P places. All are on the network's device.
    """

    peaks: torch.Tensor
    places: torch.Tensor
    means: torch.Tensor
    silent: torch.Tensor
    samples: torch.Tensor


def n_places(layer: Layer) -> int:
    """The places of a layer's map; 1 for a vector."""
    return math.prod(layer.shape[1:])


def read_layer(tensor: torch.Tensor, layer: Layer) -> Reading:
    """Read the output of a layer for n images.

    Maps are looked at as (n, places, C), which is how a channels-last map lies in memory: reducing along the
    places there goes by whole vectors of channels.
    """
    maps = as_maps(tensor, layer).float()
    flat = maps.flatten(2).transpose(1, 2) if maps.ndim > 2 else maps[:, None]
    peaks, places = flat.max(dim=1)
    count = flat.shape[1]
    ones = torch.ones(len(flat), 1, count, device=flat.device)
    # Products with ones, as PyTorch adds bools one by one; float32 counts exactly up to 16 million places.
    above = torch.gt(flat, 0, out=torch.empty_like(flat))
    means, n_above = (torch.bmm(ones, values)[:, 0] for values in (flat, above))
    chosen = torch.linspace(0, count - 1, min(count, SAMPLED), device=flat.device).long()
    return Reading(peaks, places.int(), means / count, (count - n_above).int(), flat[:, chosen])


class Moments:
    """The sums from which the covariances of C channels are computed, over all places that were sampled.

    Values are taken relative to the mean of the first ones, as the variance of a channel with a large mean would
    be lost in the rounding of the sums.
    """

    def __init__(self, state: dict[str, Array] | None = None) -> None:
        self._state = state or {}

    def of(self, samples: torch.Tensor) -> Moments:
        """Those of (m, C) further values alone, relative to the same."""
        shift = self._state.get("shift")
        shift = samples.mean(dim=0).cpu().numpy() if shift is None else shift
        centered = samples - torch.from_numpy(shift).to(samples.device)
        # Some processors add up a product of matrices one by one in float32, where small values beside a large one
        # are lost: of long columns the sums would be off by more than a ten-thousandth.
        grams = ((part.T @ part).double() for part in torch.split(centered, _SUMMED))
        gram = reduce(torch.add, grams).cpu().numpy()
        sums = centered.double().sum(dim=0).cpu().numpy()
        return Moments({"shift": shift, "n": np.array(len(samples)), "gram": gram, "sums": sums})

    def plus(self, others: Moments) -> Moments:
        """Together with what `of` gave."""
        if not (self and others):
            return self or others
        return Moments(self._state | {name: self._state[name] + others._state[name] for name in _SUMS})

    def relative(self) -> Moments:
        """Without any value, but relative to the same."""
        return Moments({"shift": self._state["shift"]}) if self else self

    def __bool__(self) -> bool:
        """Whether there were any values."""
        return "n" in self._state

    @property
    def state(self) -> dict[str, Array]:
        """All that has to be kept."""
        return dict(self._state)

    def covariances(self) -> Array:
        """(C, C) float32."""
        n, sums = int(self._state["n"]), self._state["sums"] / self._state["n"]
        return np.asarray(self._state["gram"] / n - np.outer(sums, sums), np.float32)
