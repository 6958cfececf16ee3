"""`suspects`: images whose labels are doubtful, that lie apart from others, or that the network hardly knows."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from ..arguments import checks_arguments
from ..checks import Evidence, SuspectKind
from ..progress import Progress
from ..results import Suspects
from .source import Source, as_source, predictions_of, provenance_of
from .suspect_ranking import Ranking, ranked, reasons


@checks_arguments
def suspects(
    source: Source,
    *,
    kind: SuspectKind = "label",
    by: Evidence = "both",
    k: int = 20,
    limit: int = 200,
    progress: Progress | None = None,
) -> Suspects:
    """The images of a collection to look at first: their label may be wrong, or they may not belong there.

    A label is doubtful if the images that the network finds most alike have another one, or if the network, where
    it knows the labels as classes, takes the image for something else. Every image is compared with all others,
    and has no say about itself. Copies of an image are one image: those with the same label do not back each
    other, and those with another label speak against it. With the k nearest j of an image, their labels y_j and
    cosine similarities s_j, and a class c:

        w_j = exp(-4 (2 - 2 s_j) / h^2),   h^2: the median of 2 - 2 s to the tenth nearest of all images
        V(c) = sum of w_j over the neighbors with label c / sum of all w_j
        N(c) = p, the probability of the predicted class, if c is that class, else 0
        P(c) = (V(c) + N(c)) / 2, or either alone, see ``by``

    Args:
        source: `Embeddings`, or an `EmbeddingStore`.
        kind: what is suspected, and what ``scores`` are. "label": the doubt, 1 minus P(own label), in [0, 1];
            images without a label are left out. "outlier": 1 minus the mean cosine similarity to the k nearest
            different images, in [0, 2]. "uncertain": 1 minus the probability of the predicted class, in [0, 1], of
            images with a prediction.
        by: the evidence against a label: the votes of the "neighbors", the prediction of the "network", or the
            mean of "both". The network has a say about labels that are its classes; elsewhere "both" means the
            neighbors.
        k: neighbors that vote, or whose similarity counts; fewer where there are fewer.
        limit: images, the most suspect, whose neighbors and thumbnails are kept as reasons. All are ranked.
        progress: called with (vectors compared, all).

    Returns:
        `Suspects`: all images that can be judged, the most suspect first; equal scores go by their order in the
        source.

    Raises:
        ParameterError: an option out of range, no or only one label, no labels that are classes of the network
            (``by="network"``), no predictions (``kind="uncertain"``), NaN, or fewer than two different images.

    Cost: N^2 * D multiplications; memory for 65,536 vectors and N * k neighbors. A store that takes more than a
    quarter of the free memory is read once for every 65,536 rows.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from convscope import embed
        >>> reds = torch.tensor([1.0, 0, 0])[:, None, None].expand(3, 3, 8, 8)
        >>> images = torch.cat([reds, reds.flip(1)]) + torch.rand(6, 3, 8, 8) / 9
        >>> made = embed(nn.Sequential(nn.Flatten(), nn.Linear(192, 9)), images, layer="0")
        >>> found = suspects(replace(made, labels=("red", "red", "blue", "blue", "blue", "blue")), k=2)
        >>> found.names[0], found.labels[0], found.suggested[0]
        ('image 2', 'blue', 'red')

    References: Wilson, Asymptotic Properties of Nearest Neighbor Rules Using Edited Data, 1972. Northcutt, Jiang
    and Chuang, Confident Learning, 2021, arXiv:1911.00068 (self-confidence).
    """
    started = time.perf_counter()
    asked = as_source(source)
    with asked.reading():
        ranking = ranked(asked, kind, by, k, progress)
        made = _described(asked, ranking, kind, k, limit)
    parameters = {"kind": kind, "by": by, "k": k, "limit": limit}
    return replace(made, provenance=provenance_of(asked, "suspects", parameters, started, notes=ranking.notes))


def _described(source: Source, found: Ranking, kind: SuspectKind, k: int, limit: int) -> Suspects:
    """The ranking with the names of the images, and the reasons for the first of them."""
    names, labels = source.names, source.labels
    shown = found.places[:limit]
    near, similarity = reasons(source, found, shown, k)
    predicted, probability = predictions_of(source)
    places, at = np.unique(near, return_inverse=True)
    rows = source.rows
    taken = source.take(rows[shown])
    others = source.take(rows[places])
    return Suspects(
        kind=kind,
        names=tuple(names[i] for i in found.places),
        labels=tuple(labels[i] for i in found.places),
        suggested=tuple(found.suggested),
        scores=found.scores.astype(np.float32),
        near=at.reshape(near.shape),
        similarity=similarity,
        near_names=others.names,
        near_labels=others.labels,
        thumbnails=taken.thumbnails,
        near_thumbnails=others.thumbnails,
        by_neighbors=found.by_neighbors.astype(np.float32),
        by_network=found.by_network.astype(np.float32),
        predicted=tuple(predicted[i] for i in found.places),
        probability=probability[found.places].astype(np.float32),
        provenance=source.made,
    )
