"""ROAD: pixels are removed by what their neighbors say of them, so that no hole shows."""

from __future__ import annotations

import numpy as np
import torch

from ..results import Array

SHARES = (0.1, 0.3, 0.5, 0.7)  # of the pixels that are removed
_NOISE = 0.01  # standard deviation, of the image's

# What a pixel takes from each neighbor; fewer at a border, whose shares are raised to add up to one.
_NEIGHBORS = [
    (dy, dx, 1 / 6 if dy == 0 or dx == 0 else 1 / 12) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx
]


def imputed(x: torch.Tensor, removed: Array, seed: int = 0) -> torch.Tensor:
    """An image (C, H, W) whose ``removed`` pixels (H, W) are weighted means of their eight neighbors, with noise.

    All of them at once: a removed neighbor counts with what it becomes itself, a system of linear equations.

    References:
        Rong, Leemann, Borisov, Kasneci, Kasneci: A consistent and efficient evaluation strategy for attribution
        methods, 2022, arXiv 2202.00449.
    """
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import spsolve

    height, width = removed.shape
    pixels = x.detach().cpu().double().numpy().reshape(len(x), -1)
    numbers = np.full(removed.size, -1)
    at = np.flatnonzero(removed)
    if not len(at) or len(at) == removed.size:
        return x.clone() if not len(at) else torch.full_like(x, float(x.mean()))
    numbers[at] = np.arange(len(at))
    known = np.zeros((len(at), len(x)))
    whole = np.zeros(len(at))
    rows, columns, entries = [], [], []
    for dy, dx, weight in _NEIGHBORS:
        y, x_ = at // width + dy, at % width + dx
        inside = (y >= 0) & (y < height) & (x_ >= 0) & (x_ < width)
        neighbor = np.where(inside, y * width + x_, 0)
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
    system = csc_matrix((np.concatenate(entries), (np.concatenate(rows), np.concatenate(columns))))
    found = spsolve(system, known).reshape(len(at), len(x))
    noise = np.random.default_rng(seed).normal(0, _NOISE * pixels.std(), found.shape)
    pixels[:, at] = (found + noise).T
    return torch.from_numpy(pixels.reshape(x.shape)).to(x)


def road_variants(x: torch.Tensor, order: Array, seed: int) -> list[torch.Tensor]:
    """The images for one ranking (H, W): for each share without the highest pixels, then without the lowest."""
    made = []
    for share in SHARES:
        n = round(share * order.size)
        made += [imputed(x, order < n, seed), imputed(x, order >= order.size - n, seed)]
    return made


def road_score(scores: Array) -> float:
    """From the scores of `road_variants`: without the lowest minus without the highest, the mean over shares."""
    without_highest, without_lowest = scores[0::2], scores[1::2]
    return float((without_lowest - without_highest).mean())
