"""How well a number separates images: the area under the ROC curve, from ranks."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

_Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


def aurocs(values: _Array, codes: _Array, n_labels: int) -> _Array:
    """The AUROC of each label against the other labels, by each row of values; (C, L) float64.

    The chance that a random image of the label has the higher value, ties counted half, from ranks r (Mann and
    Whitney): (sum of r over the n images of the label - n (n + 1) / 2) / (n (N - n)). NaN for a label that no
    image or every image has.

    Args:
        values: (C, N).
        codes: (N,) the number of each image's label, less than 0 for an image without one, which is left out.
        n_labels: L.
    """
    from scipy.stats import rankdata

    known = codes >= 0
    ranks = rankdata(values[:, known], axis=1)
    one_hot = np.eye(n_labels)[codes[known]] if n_labels <= _FEW else None
    n = np.bincount(codes[known], minlength=n_labels).astype(np.float64)
    sums = ranks @ one_hot if one_hot is not None else _sums_by(ranks, codes[known], n_labels)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (sums - n * (n + 1) / 2) / (n * (known.sum() - n))
    return np.asarray(found)


_FEW = 64  # labels, for which a matrix product is faster than sorting; sums of ranks, halves, are exact both ways


def _sums_by(ranks: _Array, codes: _Array, n_labels: int) -> _Array:
    order = np.argsort(codes, kind="stable")
    present, starts = np.unique(codes[order], return_index=True)
    sums = np.zeros((len(ranks), n_labels))
    if len(present):
        sums[:, present] = np.add.reduceat(ranks[:, order], starts, axis=1)
    return sums
