"""What a map calls wrong: predictions unlike labels where both have one vocabulary; neighbors of other labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..results import Array
from ..targets.classes import by_name

RIGHT, WRONG, NOT_JUDGED = 1, 0, -1


def verdicts(labels: Sequence[str | None], predicted: Sequence[str | None]) -> Array | None:
    """Whether each prediction is the label: 1 right, 0 wrong, -1 not judged; None where the two do not meet.

    Labels are often names of folders, "holiday" and "work", which no network has as classes: then every prediction
    would be wrong. A store does not hold the names of its network's classes, so that they are known by the
    predictions. A label is a class

        where it is predicted for some image, as a class's whole name or as one of its comma-separated names, or
        where every prediction is one of the labels, as of a network that was trained on them.

    Rows of other labels are not judged. Where fewer than half of the labels are classes, the two do not meet.

    Returns:
        (N,) int8, or None.
    """
    names = sorted({name for name in predicted if name is not None})
    index = by_name(names)
    meant = {label: set(index.get(label.strip().casefold(), ())) for label in set(labels) if label is not None}
    are_all_labels = len(set().union(*meant.values())) == len(names)
    classes = {label for label, found in meant.items() if found or are_all_labels}
    if not names or not meant or 2 * len(classes) < len(meant):
        return None
    code_of = {name: code for code, name in enumerate(names)}
    found = [
        NOT_JUDGED if name is None or label not in classes else RIGHT if code_of[name] in meant[label] else WRONG
        for label, name in zip(labels, predicted, strict=True)
    ]
    return np.array(found, np.int8)


def disagreement(labels: Sequence[str | None], neighbors: Array | None) -> Array | None:
    """The share of each image's labeled neighbors that have another label than itself, in [0, 1].

    Args:
        labels: N labels, None where there is none.
        neighbors: (N, K) rows, negative where there are fewer; or None.

    Returns:
        (N,) float32, NaN for an image without a label or without a labeled neighbor; None where there are no
        neighbors, or fewer than two labels to differ.
    """
    codes = {label: code for code, label in enumerate(sorted({label for label in labels if label is not None}))}
    if neighbors is None or len(codes) < 2:
        return None
    own = np.array([codes.get(label, -1) for label in labels])[:, None]  # type: ignore[arg-type]
    counts = (neighbors >= 0) & (neighbors != np.arange(len(own))[:, None]) & (own >= 0) & (own[neighbors, 0] >= 0)
    n_counted = counts.sum(axis=1)
    n_other = (counts & (own[neighbors, 0] != own)).sum(axis=1)
    return np.where(n_counted > 0, n_other / np.maximum(n_counted, 1), np.nan).astype(np.float32)
