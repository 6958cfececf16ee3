"""Activations as sums of a few directions with coefficients that are not negative."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment, nnls
from sklearn.cluster import KMeans
from sklearn.decomposition import NMF
from sklearn.exceptions import ConvergenceWarning

from ..results import Array, Factoring

N_SEEDS = 4
_STEPS = 300
_TOLERANCE = 1e-4  # of the error, between two steps of the semi-NMF
_TINY = 1e-12
_SAME = 1e-6  # of the largest: what float32 rounding may make of no difference


@dataclass(frozen=True)
class Factors:
    """``coefficients`` (M, K) >= 0 times ``basis`` (K, C), whose rows have length 1.

    ``error`` is ||A - UW|| / ||A||; ``stability`` (K,) the mean cosine with the most alike rows of other seeds.
    """

    coefficients: Array
    basis: Array
    error: float
    stability: Array
    kind: Factoring
    converged: bool


def factorized(activations: Array, n_concepts: int, seed: int, *, n_seeds: int = N_SEEDS) -> Factors:
    """The best of several factorizations of activations (M, C), each from another seed.

    Activations that are nowhere negative are factorized with a basis that is nowhere negative (NMF, scikit-learn),
    others with any basis (semi-NMF).
    """
    kind: Factoring = "nmf" if activations.min() >= 0 else "semi-nmf"
    run = _nmf if kind == "nmf" else _semi_nmf
    found = [run(activations, n_concepts, seed + n) for n in range(n_seeds)]
    made = [(*_scaled(u, w), done) for u, w, done in found]
    errors = [relative_error(activations, u, w) for u, w, _ in made]
    best = int(np.argmin(errors))
    u, w, done = made[best]
    others = [other for n, (_, other, _) in enumerate(made) if n != best]
    return Factors(u, w, errors[best], stability(w, others), kind, done)


def different(activations: Array) -> int:
    """How many activations (M, C) differ from each other and from zero, by their places on a random line."""
    rows = activations[activations.any(axis=1)].astype(np.float64)
    if not len(rows):
        return 0
    line = np.random.default_rng(0).standard_normal(rows.shape[1])
    least = _SAME * np.linalg.norm(rows, axis=1).max() * np.linalg.norm(line)
    return 1 + int((np.diff(np.sort(rows @ line)) > least).sum())


def relative_error(activations: Array, u: Array, w: Array) -> float:
    """||A - UW|| / ||A||, which is 0 where A is."""
    size = float(np.linalg.norm(activations))
    return float(np.linalg.norm(activations - u @ w)) / size if size else 0.0


def stability(basis: Array, others: list[Array]) -> Array:
    """For each row of a basis (K, C), the mean cosine with its partners in others, matched one to one."""
    if not others:
        return np.full(len(basis), np.nan)
    cosines = np.zeros((len(others), len(basis)))
    for n, other in enumerate(others):
        alike = basis @ other.T
        rows, columns = linear_sum_assignment(alike, maximize=True)
        cosines[n, rows] = alike[rows, columns]
    return np.asarray(cosines.mean(axis=0))


def nonnegative_coefficients(activations: Array, basis: Array) -> Array:
    """The coefficients (M, K) >= 0 that come nearest to activations (M, C): min over u >= 0 of ||a - u W||.

    With W^T = QR the same u are nearest to Q^T a in R, which has no more than K rows.
    """
    q, r = np.linalg.qr(np.asarray(basis.T, np.float64))
    targets = np.asarray(activations, np.float64) @ q
    if not len(targets):
        return np.zeros((0, len(basis)))
    return np.stack([nnls(r, row, maxiter=30 * len(basis))[0] for row in targets])


def _scaled(u: Array, w: Array) -> tuple[Array, Array]:
    """The same product, with rows of the basis of length 1; a row of zeros stays."""
    size = np.linalg.norm(w, axis=1)
    return u * size, w / np.where(size > 0, size, 1)[:, None]


def _nmf(x: Array, n_concepts: int, seed: int) -> tuple[Array, Array, bool]:
    model = NMF(n_concepts, init="random", random_state=seed % 2**32, max_iter=_STEPS)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        u = model.fit_transform(x)
    return u, model.components_, not any(issubclass(w.category, ConvergenceWarning) for w in caught)


def _semi_nmf(x: Array, n_concepts: int, seed: int) -> tuple[Array, Array, bool]:
    """Ding, Li, Jordan 2010: W by least squares, U by a step that keeps it >= 0 and never raises the error.

        U <- U * sqrt( ((X W^T)+ + U (W W^T)-) / ((X W^T)- + U (W W^T)+) )

    It starts at the clusters of k-means, plus 0.2 each, as the paper does.
    """
    x = np.asarray(x, np.float64)
    groups = KMeans(n_concepts, n_init=1, random_state=seed % 2**32).fit_predict(x)
    u = np.eye(n_concepts)[groups] + 0.2
    before = np.inf
    for _ in range(_STEPS):
        w = np.linalg.pinv(u) @ x
        products, gram = x @ w.T, w @ w.T
        up = _positive(products) + u @ _positive(-gram)
        down = _positive(-products) + u @ _positive(gram)
        u = u * np.sqrt(up / (down + _TINY))
        error = relative_error(x, u, w)
        if before - error < _TOLERANCE * before:
            return u, w, True
        before = error
    return u, w, False


def _positive(values: Array) -> Array:
    return np.maximum(values, 0)
