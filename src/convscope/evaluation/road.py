"""ROAD: remove pixels by filling them in from their neighbors, so that no hole shows."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..perturbation import ScoreVariants
from ..results import Array

SHARES = (0.1, 0.3, 0.5, 0.7)  # of the pixels, which are removed
_NOISE = 0.01  # standard deviation, relative to the image's

# What a pixel takes from each neighbor. At a border there are fewer, whose shares are scaled up to a sum of one.
_NEIGHBORS = [
    (dy, dx, 1 / 6 if dy == 0 or dx == 0 else 1 / 12) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx
]


def road_scores(x: torch.Tensor, orders: Sequence[Array], score: ScoreVariants, seed: int) -> Array:
    """ROAD of R rankings: the score without the lowest pixels minus without the highest, the mean over `SHARES`.

    Args:
        x: the image (C, H, W), preprocessed.
        orders: the R rankings (H, W), see `perturbation.ranks`.
        score: scores variants of the image, as `perturbation.score_variants` does.
        seed: of the noise.

    Returns:
        (R,), higher is better.
    """
    each = 2 * len(SHARES)

    @functools.lru_cache(2)  # a batch may hold the last variants of one ranking and the first of the next
    def variants_of(ranking: int) -> list[torch.Tensor]:
        return road_variants(x, orders[ranking], seed)

    def variants(first: int, end: int) -> torch.Tensor:
        return torch.stack([variants_of(n // each)[n % each] for n in range(first, end)])

    scores = score(each * len(orders), variants)[:, 0].numpy().reshape(len(orders), -1, 2)
    without_highest, without_lowest = scores[..., 0], scores[..., 1]
    return np.asarray((without_lowest - without_highest).mean(axis=1))


def road_variants(x: torch.Tensor, order: Array, seed: int) -> list[torch.Tensor]:
    """The images for one ranking (H, W): for each share without the highest pixels, then without the lowest."""
    made = []
    for share in SHARES:
        n = round(share * order.size)
        made += [imputed(x, order < n, seed), imputed(x, order >= order.size - n, seed)]
    return made


def imputed(x: torch.Tensor, removed: Array, seed: int = 0) -> torch.Tensor:
    """An image (C, H, W) whose ``removed`` pixels (H, W) are weighted means of their eight neighbors, with noise.

    All at once: a removed neighbor counts with the value it gets itself, which is a system of linear equations.

    References:
        Rong, Leemann, Borisov, Kasneci, Kasneci: A consistent and efficient evaluation strategy for attribution
        methods, 2022, arXiv 2202.00449.
    """
    from scipy.sparse.linalg import spsolve

    if not removed.any() or removed.all():
        return x.clone() if not removed.any() else torch.full_like(x, float(x.mean()))
    pixels = x.detach().cpu().double().numpy().reshape(len(x), -1).copy()  # in float64 it would be the image
    system, known = _equations(pixels, removed)
    found = spsolve(system, known).reshape(known.shape)
    noise = np.random.default_rng(seed).normal(0, _NOISE * pixels.std(), found.shape)
    pixels[:, np.flatnonzero(removed)] = (found + noise).T
    return torch.from_numpy(pixels.reshape(x.shape)).to(x)


def _equations(pixels: Array, removed: Array) -> tuple[Any, Array]:
    """The matrix (n, n) and the right-hand sides (n, C) whose solution are the n removed pixels."""
    from scipy.sparse import csc_matrix

    height, width = removed.shape
    at = np.flatnonzero(removed)
    numbers = np.full(removed.size, -1)
    numbers[at] = np.arange(len(at))
    known = np.zeros((len(at), len(pixels)))
    whole = np.zeros(len(at))  # the sum of the weights of all neighbors
    rows, columns, entries = [], [], []
    for dy, dx, weight in _NEIGHBORS:
        y, x = at // width + dy, at % width + dx
        inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
        neighbor = np.where(inside, y * width + x, 0)
        whole += weight * inside
        is_known = inside & (numbers[neighbor] < 0)
        known[is_known] += weight * pixels[:, neighbor[is_known]].T
        is_unknown = inside & ~is_known
        rows.append(np.flatnonzero(is_unknown))
        columns.append(numbers[neighbor[is_unknown]])
        entries.append(np.full(int(is_unknown.sum()), -weight))
    rows.append(np.arange(len(at)))
    columns.append(np.arange(len(at)))
    entries.append(whole)
    return csc_matrix((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns)))), known
