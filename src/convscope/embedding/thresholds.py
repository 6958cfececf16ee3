"""The threshold from which two images count as nearly the same, found from how near images usually are."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from ..checks import Metric
from ..errors import ParameterError
from ..store import Block
from .nearest import nearest
from .source import rows_at

NEIGHBOR, SHARE = 10, 5  # a fifth of the distance to the tenth nearest
# Copies that were saved small and badly lie up to 1.1 times as far apart; see docs/duplicates.md.
_SAME_KIND = 1.2
_SAMPLE = 1000  # images whose neighbors are looked for


def check_known(metric: Metric) -> None:
    """Raise `ParameterError` for a metric whose values do not tell when two images are the same."""
    if metric == "dot":
        raise ParameterError(
            "metric='dot' has no threshold of its own, as long vectors are near to all: give a threshold, or use "
            "metric='cosine'"
        )


def usual_threshold(blocks: Callable[[], Iterable[Block]], n: int, metric: Metric) -> tuple[float, float, str]:
    """The scores at a fifth and at 1.2 times the usual distance from an image to its tenth nearest, and words.

    Nearer than the first, two images are nearly the same; nearer than the second, they are of one kind.

    Usually: the median over a thousand images, evenly spread. The tenth nearest is a different image even where
    each is there several times. A cosine s counts as the distance (2 - 2 s)^0.5, so that 1 - s is at most a
    twenty-fifth of the usual.

    Args:
        blocks: gives all different vectors.
        n: how many there are.
        metric: "cosine" or "euclidean".
    """
    k = min(NEIGHBOR, n - 1)
    if k < 1:
        same = 1.0 if metric == "cosine" else 0.0
        return same, same, "equal vectors only, as there is one vector"
    chosen = np.unique(np.linspace(0, n - 1, min(n, _SAMPLE)).astype(np.int64))
    sample = rows_at(blocks(), chosen)
    _, scores = nearest(blocks(), sample.vectors, k, metric, own=sample.rows)
    last = scores[:, -1].astype(np.float64)
    usual = float(np.median(last))
    how = f"a fifth of the median distance to the {k}th nearest image ({len(chosen)} images)"
    if metric == "euclidean":
        return usual / SHARE, usual * _SAME_KIND, how
    return 1 - (1 - usual) / SHARE**2, 1 - (1 - usual) * _SAME_KIND**2, how
