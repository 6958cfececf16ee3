"""Which labels can be judged by a network's predictions or by the neighbors, and what the verdict is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..results import Array
from ..targets.classes import by_name

RIGHT, WRONG, NOT_JUDGED = 1, 0, -1


def classes_meant(
    labels: Sequence[str | None], predicted: Sequence[str | None]
) -> Mapping[str, frozenset[str]] | None:
    """The predicted classes that each label stands for, provided that labels are classes of the network at all.

    Labels are often names of folders, such as "holiday" and "work", which are no classes of any network: every
    prediction would be wrong. A store does not know the classes of its network, so they are inferred from the
    predictions. A label counts as a class

        if it is predicted for some image, as the whole name of a class or as one of its comma-separated names, or
        if every prediction is one of the labels, as for a network that was trained on them.

    Returns:
        Label -> names of classes, none where the class was never predicted; labels that are no classes are left
        out. None if fewer than half of the labels are classes.
    """
    names = sorted({name for name in predicted if name is not None})
    index = by_name(names)
    meant = {label: set(index.get(label.strip().casefold(), ())) for label in set(labels) if label is not None}
    are_all_labels = len(set().union(*meant.values())) == len(names)
    classes = {
        label: frozenset(names[code] for code in found)
        for label, found in meant.items()
        if found or are_all_labels
    }
    return None if not names or not meant or 2 * len(classes) < len(meant) else classes


def verdicts(labels: Sequence[str | None], predicted: Sequence[str | None]) -> Array | None:
    """Judge each prediction by its label, where `classes_meant` says that the label is a class.

    Returns:
        (N,) int8: 1 right, 0 wrong, -1 not judged; or None where nothing is judged.
    """
    meant = classes_meant(labels, predicted)
    if meant is None:
        return None
    classes = [None if label is None else meant.get(label) for label in labels]
    found = [
        NOT_JUDGED if name is None or names is None else RIGHT if name in names else WRONG
        for names, name in zip(classes, predicted, strict=True)
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
