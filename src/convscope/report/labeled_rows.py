"""What the labels and the predictions of a collection tell: accuracy, confusion, class by class, errors."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..embedding.label_checks import RIGHT, WRONG, verdicts
from ..embedding.source import Source, predictions_of
from ..results import Array

EXAMPLES = 5  # pictures of each label


@dataclass(frozen=True)
class ClassRow:
    """One label: how many images have it, how many predictions could be judged and are right.

    ``answers`` are the most frequent predictions, each with its count. ``neighbors_agree`` is the mean share of an
    image's nearest that have the label, NaN where it was not measured. ``examples`` are positions of some of the
    images, spread over all of the label, or over those that are predicted right.
    """

    label: str
    count: int
    n_judged: int
    n_right: int
    answers: tuple[tuple[str, int], ...]
    neighbors_agree: float
    examples: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class LabeledRows:
    """Labels and predictions of N images.

    ``verdicts`` (N,) are 1 right, 0 wrong, -1 not judged; None where labels are no classes of the network, so that
    nothing can be judged (see `verdicts`). ``probability`` (N,) is that of the prediction, NaN for none;
    ``neighbors_agree`` (N,) the share of the nearest that have the image's label, NaN where unknown.
    """

    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    predicted: tuple[str | None, ...]
    probability: Array
    verdicts: Array | None
    neighbors_agree: Array

    @property
    def has_labels(self) -> bool:
        return any(label is not None for label in self.labels)

    @cached_property
    def errors(self) -> tuple[int, ...]:
        """The positions of wrong predictions, the most confident first."""
        if self.verdicts is None:
            return ()
        wrong = np.flatnonzero(self.verdicts == WRONG)
        order = np.argsort(-np.nan_to_num(self.probability[wrong]), kind="stable")
        return tuple(int(i) for i in wrong[order])

    @property
    def n_judged(self) -> int:
        return 0 if self.verdicts is None else int((self.verdicts >= 0).sum())

    @property
    def n_right(self) -> int:
        return 0 if self.verdicts is None else int((self.verdicts == RIGHT).sum())

    @cached_property
    def confusions(self) -> tuple[tuple[str, str, int], ...]:
        """(label, predicted, count) of the wrong predictions, the most frequent first."""
        counts = Counter((str(self.labels[i]), str(self.predicted[i])) for i in self.errors)
        return tuple((*pair, n) for pair, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    @cached_property
    def classes(self) -> tuple[ClassRow, ...]:
        """One row for each label; of judged labels those with the most errors come first, else by name."""
        places: dict[str, list[int]] = {}
        for i, label in enumerate(self.labels):
            if label is not None:
                places.setdefault(label, []).append(i)
        rows = [self._row(label, np.array(at)) for label, at in sorted(places.items())]
        return tuple(sorted(rows, key=lambda row: row.n_right / row.n_judged if row.n_judged else 2.0))

    def _row(self, label: str, at: Array) -> ClassRow:
        judged = np.full(len(at), -1) if self.verdicts is None else self.verdicts[at]
        answers = Counter(answer for i in at if (answer := self.predicted[i]) is not None)
        agree = self.neighbors_agree[at]
        return ClassRow(
            label=label,
            count=len(at),
            n_judged=int((judged >= 0).sum()),
            n_right=int((judged == RIGHT).sum()),
            answers=tuple(answers.most_common(3)),
            neighbors_agree=float(np.nanmean(agree)) if np.isfinite(agree).any() else float("nan"),
            examples=_spread(at[judged == RIGHT] if (judged == RIGHT).any() else at),
        )


def _spread(places: Array) -> tuple[int, ...]:
    chosen = np.unique(np.linspace(0, len(places) - 1, min(EXAMPLES, len(places))).round().astype(int))
    return tuple(int(i) for i in places[chosen])


def labeled_rows(source: Source, neighbors_agree: Array) -> LabeledRows:
    """What a source knows; only a store knows predictions."""
    labels, (predicted, probability) = tuple(source.labels), predictions_of(source)
    judged = verdicts(labels, predicted)
    return LabeledRows(tuple(source.names), labels, predicted, probability, judged, neighbors_agree)
