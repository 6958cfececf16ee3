"""What a linear classifier says of the label of each image, trained on all images but that one.

Ridge regression of the labels on the vectors has a closed form for every image left out. With the n vectors at
length 1, their coordinates Z (n, D) along the principal axes, the scatter s (D,) along each, the shares Y (n, C)
of the labels, and a penalty t,

    f(x)  = mean of Y + sum_j z_j (Z^T Y)_j / (s_j + t)
    h_i   = 1/n + sum_j Z_ij^2 / (s_j + t)
    f_-i  = (f(x_i) - h_i Y_i) / (1 - h_i),   the prediction for image i of the regression without it
    L_i   = the positive part of f_-i, divided by its sum

Of some penalties, that with the least mean of |Y_i - f_-i|^2 is taken, over 2,000 of the images if there are more.

References: Allen, The relationship between variable selection and data augmentation and a method for prediction,
1974 (the error without each point). Rifkin, Yeo and Poggio, Regularized least-squares classification, 2003.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_array, vstack

from ..results import Array
from ..store.blocks import squares_of
from .moments import Components, moments_of
from .nearest_others import placed_blocks
from .source import Source

MOST_DIMS = 4096  # of a vector: the axes take a time that grows with its third power
_PENALTIES = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1)  # shares of all variance
_JUDGED = 2000  # images at most that a penalty is judged by
_LEAST = 0.01  # smaller shares but the largest are dropped, so that the table stays small with many labels
_CELLS = 1 << 22  # of a dense table of votes at once: 32 MB


def linear_votes(source: Source, places: Array, shares: csr_array) -> csr_array | None:
    """The votes L (G, C) of a linear classifier, for each image by one that has not seen it.

    Args:
        source: where the vectors are.
        places: (G,) the places of the different images in the order of the source, ascending.
        shares: (G, C) the shares of the labels in each.

    Returns:
        The shares in each row, which sum to 1 but for those below 0.01, which are left out unless they are the
        largest; None where there can be no classifier: the vectors are all equal, or have more than `MOST_DIMS`
        numbers.

    Cost: 2 G * D^2 + D^3 + 2 G * D * C multiplications, and four readings of the vectors; memory for D^2 numbers
    and a sparse table.
    """
    if source.n_dims > MOST_DIMS:
        return None
    axes = Components.of(moments_of(_unit_blocks(source, places)))
    if axes.is_flat(np.dtype(np.float32)):
        return None
    mean, scatter = np.asarray(shares.mean(axis=0)).ravel(), axes.variances * (axes.n - 1)
    products = np.zeros((source.n_dims, shares.shape[1]))
    for unit, y in _parts(source, places, shares):
        products += (unit - axes.mean).T @ y
    products = axes.axes @ products
    penalized = [scatter + share * scatter.sum() for share in _PENALTIES]
    some, errors = slice(None, None, -(-len(places) // _JUDGED)), np.zeros(len(_PENALTIES))
    for unit, y in _parts(source, places[some], shares[some]):
        z = axes.transform(unit, source.n_dims)
        errors += [((y - _left_out(z, y, axes.n, mean, products, one)) ** 2).sum() for one in penalized]
    best = penalized[int(errors.argmin())]
    found = [
        _as_votes(_left_out(axes.transform(unit, source.n_dims), y, axes.n, mean, products, best))
        for unit, y in _parts(source, places, shares)
    ]
    return csr_array(vstack(found, format="csr"))


def _parts(source: Source, places: Array, shares: csr_array) -> Iterator[tuple[Array, Array]]:
    """Unit vectors (n, D) and label shares (n, C) of the images, in their order, some at a time."""
    n_rows, first = max(1, _CELLS // shares.shape[1]), 0
    for unit in _unit_blocks(source, places):
        for start in range(0, len(unit), n_rows):
            part = unit[start : start + n_rows]
            yield part, shares[first : first + len(part)].toarray()
            first += len(part)


def _unit_blocks(source: Source, places: Array) -> Iterator[Array]:
    """The vectors at these places at length 1; a vector of zeros stays."""
    for block in placed_blocks(source, places):
        lengths = np.sqrt(squares_of(block.vectors))[:, None]
        yield block.vectors / np.where(lengths > 0, lengths, 1)


def _left_out(z: Array, y: Array, n: int, mean: Array, products: Array, penalized: Array) -> Array:
    """f_-i (m, C) of m of the n images, from coordinates z and label shares y; ``penalized`` (D,) is s + t."""
    with_all = mean + (z / penalized) @ products
    leverage = (1 / n + (z**2 / penalized).sum(axis=1))[:, None]
    return np.asarray((with_all - leverage * y) / (1 - leverage))


def _as_votes(found: Array) -> csr_array:
    """Predictions as shares of a vote."""
    votes = np.maximum(found, 0)
    votes /= votes.sum(axis=1, keepdims=True)
    least = np.minimum(_LEAST, votes.max(axis=1, keepdims=True))  # an image with no share left would not be judged
    return csr_array(np.where(votes < least, 0, votes))
