"""How much of a score's variance each of several inputs is responsible for: total Sobol indices, from designs."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import qmc

from ..results import Array


def designs(n_inputs: int, n_designs: int, seed: int) -> Array:
    """Masks (n_designs * (n_inputs + 2), n_inputs) in [0, 1] at which to evaluate a score.

    First come A and B, two parts of one scrambled Sobol sequence, then for each input i the points of A with the
    column i of B.
    """
    sequence = qmc.Sobol(2 * n_inputs, scramble=True, seed=np.random.default_rng(seed))
    both = sequence.random_base2(math.ceil(math.log2(n_designs)))[:n_designs]
    a, b = both[:, :n_inputs], both[:, n_inputs:]
    mixed = np.repeat(a[None], n_inputs, axis=0)
    for i in range(n_inputs):
        mixed[i, :, i] = b[:, i]
    return np.concatenate([a, b, *mixed])


def total_indices(scores: Array, n_inputs: int) -> Array:
    """The total Sobol index (n_inputs,) of each input, from the scores at `designs`.

        S_i = mean over designs of (f(A) - f(A with column i of B))^2 / (2 * variance of f)

    It is the share of the variance that is left when all inputs but i are known: what i does alone and together
    with others. The indices of an additive score add up to 1, those of any other to more. A score without variance
    has indices of 0. The estimator is Jansen's (1999).
    """
    a, b, *mixed = np.asarray(scores, np.float64).reshape(n_inputs + 2, -1)
    variance = np.concatenate([a, b]).var()
    if variance <= np.finfo(np.float32).eps ** 2 * float(np.square(scores).max()):  # rounding alone
        return np.zeros(n_inputs)
    return np.asarray([np.square(a - one).mean() / (2 * variance) for one in mixed])
