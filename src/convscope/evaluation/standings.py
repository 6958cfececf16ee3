"""Which method comes first, which are tied with it, which do not beat chance; and the verdict in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..results import CONTROLS, Array
from .intervals import is_better, mean_and_margin


class Standings(NamedTuple):
    """Methods by their indices.

    ``order`` has the highest mean first. ``tied`` are the first and those that are not worse by more than the
    noise. ``lost`` are those that are not better than a random map by more than the noise.
    """

    order: list[int]
    tied: list[int]
    lost: list[int]


def standings_of(advantages: Array) -> Standings:
    """Rank the methods with these advantages (M, N) on N images; the last rows are those of the controls."""
    n_methods = len(advantages) - len(CONTROLS)
    means, _ = mean_and_margin(advantages[:n_methods])
    order = [int(m) for m in np.argsort(-means, kind="stable")]
    first, by_chance = advantages[order[0]], advantages[n_methods]
    return Standings(
        order,
        tied=[m for m in order if m == order[0] or not is_better(first, advantages[m], n_methods - 1)],
        lost=[m for m in order if not is_better(advantages[m], by_chance, n_methods)],
    )


def verdict_of(methods: Sequence[str], n_images: int, standings: Standings) -> str:
    """What the standings say, in words."""
    order, tied, lost = ([methods[m] for m in those] for those in standings)
    first, n, on = order[0], len(order), f"on {n_images} images"
    if n_images < 2:
        return f"{first} comes first, but one image says nothing about the noise: take ten or more"
    if len(lost) == n:
        return f"No method is better than a map of chance by more than the noise, {on}."
    if n == 1:
        return f"{first} is better than a map of chance, {on}."
    if first in lost:  # a high mean, but too noisy to say anything, while others are above chance
        better = ", ".join(name for name in order if name not in lost)
        return (
            f"No method can be called the best, {on}: {first} has the highest mean, but does not beat a map of "
            f"chance by more than the noise. Better than chance: {better}."
        )
    chance = f" Not better than a map of chance: {', '.join(lost)}." if lost else ""
    if len(tied) == n:
        return f"No difference larger than the noise between the {n} methods, {on}.{chance}"
    if len(tied) == 1:
        return f"{first} is the best by more than the noise, {on}.{chance}"
    others = ", ".join(tied[1:])
    return f"{first} comes first; no difference larger than the noise to {others}, {on}.{chance}"
