"""Which images a map marks as suspicious: wrong predictions, or neighbors with other labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..results import Array
from ..targets.classes import by_name

RIGHT, WRONG, NOT_JUDGED = 1, 0, -1


def verdicts(labels: Sequence[str | None], predicted: Sequence[str | None]) -> Array | None:
    """Judge each prediction by its label, provided that labels are classes of the network at all.

    Labels are often names of folders, such as "holiday" and "work", which are no classes of any network: every
    prediction would be wrong. A store does not know the classes of its network, so they are inferred from the
    predictions. A label counts as a class

        if it is predicted for some image, as the whole name of a class or as one of its comma-separated names, or
        if every prediction is one of the labels, as for a network that was trained on them.

    Images with other labels are not judged. If fewer than half of the labels are classes, nothing is judged.

    Returns:
        (N,) int8: 1 right, 0 wrong, -1 not judged; or None where nothing is judged.
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
    """The share of each image's labeled neighbors whose label differs from its own, in [0, 1].

    Args:
        labels: N labels, None where there is none.
        neighbors: (N, K) rows, negative where an image has fewer than K neighbors; or None.

    Returns:
        (N,) float32, NaN for an image without a label or without labeled neighbors; None without neighbors or
        with fewer than two different labels.
    """
    codes = {label: code for code, label in enumerate(sorted({label for label in labels if label is not None}))}
    if neighbors is None or len(codes) < 2:
        return None
    own = np.array([codes.get(label, -1) for label in labels])[:, None]  # type: ignore[arg-type]
    counts = (neighbors >= 0) & (neighbors != np.arange(len(own))[:, None]) & (own >= 0) & (own[neighbors, 0] >= 0)
    n_counted = counts.sum(axis=1)
    n_other = (counts & (own[neighbors, 0] != own)).sum(axis=1)
    return np.where(n_counted > 0, n_other / np.maximum(n_counted, 1), np.nan).astype(np.float32)
