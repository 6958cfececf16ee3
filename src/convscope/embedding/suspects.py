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
    by: Evidence = "all",
    k: int = 20,
    limit: int = 200,
    progress: Progress | None = None,
) -> Suspects:
    """The images of a collection to look at first: their label may be wrong, or they may not belong there.

    A label is doubtful if the images that the network finds most alike have another one, if a linear classifier
    trained on the vectors of all other images gives another one, or if the network, where it knows the labels as
    classes, takes the image for something else. An image has no say about itself. Copies of an image are one
    image: those with the same label do not back each other, and those with another label speak against it. With
    the k nearest j of an image, their labels y_j and cosine similarities s_j, and a class c:

        w_j = exp(-4 (2 - 2 s_j) / h^2),   h^2: the median of 2 - 2 s to the tenth nearest of all images
        V(c) = sum of w_j over the neighbors with label c / sum of all w_j
        L(c) = share of c in the prediction of a ridge regression of the labels, trained without the image
        N(c) = p, the probability of the predicted class, if c is that class, else 0
        P(c) = the mean of those that have a say, or one alone, see ``by``

    Args:
        source: `Embeddings`, or an `EmbeddingStore`.
        kind: what is suspected, and what ``scores`` are. "label": the doubt, 1 minus P(own label), in [0, 1];
            images without a label are left out. "outlier": 1 minus the mean cosine similarity to the k nearest
            different images, in [0, 2]. "uncertain": 1 minus the probability of the predicted class, in [0, 1], of
            images with a prediction.
        by: the evidence against a label: the votes of the "neighbors", the "linear" classifier, the prediction of
            the "network", or the mean of "all". The network has a say about labels that are its classes, the
            classifier where vectors have at most 4,096 numbers. Negative parts of its prediction count as 0, and
            shares below 0.01, too, but for the largest.
        k: neighbors that vote, or whose similarity counts; fewer where there are fewer.
        limit: images, the most suspect, whose neighbors and thumbnails are kept as reasons. All are ranked.
        progress: called with (vectors compared, all).

    Returns:
        `Suspects`: all images that can be judged, the most suspect first; equal scores go by their order in the
        source.

    Raises:
        ParameterError: an option out of range, no or only one label, no labels that are classes of the network
            (``by="network"``), no predictions (``kind="uncertain"``), NaN, or fewer than two different images.

    Cost: N^2 * D multiplications for the neighbors, 2 N * D^2 + D^3 and 2 N * D * C with C labels for the
    classifier; memory for 65,536 vectors, N * k neighbors and D^2 numbers. A store that takes more than a quarter
    of the free memory is read once for every 65,536 rows, and four times more for the classifier.

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
    and Chuang, Confident Learning, 2021, arXiv:1911.00068 (self-confidence). Rifkin, Yeo and Poggio, Regularized
    least-squares classification, 2003 (predictions without each image).
    """
    started = time.perf_counter()
    asked = as_source(source)
    with asked.reading():
        ranking = ranked(asked, kind, by, k, progress)
        made = _described(asked, ranking, kind, k, limit)
    parameters = {"kind": kind, "by": by, "k": k, "limit": limit, "layer": asked.made.parameters["layer"]}
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
        by_linear=found.by_linear.astype(np.float32),
        by_network=found.by_network.astype(np.float32),
        predicted=tuple(predicted[i] for i in found.places),
        probability=probability[found.places].astype(np.float32),
        provenance=source.made,
    )
