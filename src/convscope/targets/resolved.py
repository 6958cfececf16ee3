"""Resolved targets: the scores of a batch, from the network's output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch

from ..errors import TargetError
from ..execution.capture import main_output
from ..results import Normalization
from .classes import OutputScores, class_scores

Score: TypeAlias = Literal["logit", "probability"]


@dataclass(frozen=True)
class Targets:
    """The resolved targets of a batch of N images, one for each.

    Classes are ``indices`` (N,), and in contrasts those they are compared with are ``against`` (N,). Otherwise
    ``function`` computes scores from the output. The target of a single image also applies to any number of its
    variants.
    """

    indices: torch.Tensor | None
    function: OutputScores | None
    names: tuple[str, ...]
    score: Score
    against: torch.Tensor | None = None
    normalization: Normalization = "softmax"
    notes: tuple[str, ...] = ()

    @property
    def n_each(self) -> int:
        """The number of targets per image."""
        return 1

    def of(self, output: Any, n_rows: int | None = None) -> torch.Tensor:
        """The scores (M, T) from the network's output for M = ``n_rows`` inputs: (M, K), or what a callable takes.

        M defaults to the length of the output. Row m belongs to image m of the batch, or, in a batch of one
        image, all rows belong to that image. T is the number of targets per image.
        """
        n_rows = len(output) if n_rows is None else n_rows
        if self.function is not None:
            scores = self.function(output)
            if not isinstance(scores, torch.Tensor) or scores.shape != (n_rows,):
                found = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
                raise TargetError(f"the target callable returned {found}; expected one score per row, ({n_rows},)")
            return scores[:, None]
        assert self.indices is not None
        output = class_scores(output, n_rows)
        values = _probabilities(output, self.normalization) if self.score == "probability" else output
        picked = _pick(values, self.indices)
        return picked if self.against is None else picked - _pick(values, self.against)


_ON_SCORES: dict[Normalization, str] = {
    "sigmoid": "the probability of a class is the sigmoid of its score, whatever the scores of other classes",
    "exp": "the network ends in a log-softmax: its scores are the logarithms of probabilities",
    "none": "the scores lie from 0 to 1, as after a softmax or a sigmoid, and are taken for probabilities",
}
_MAY_BE_A_VALUE = "the only score is read as the logit of a class; if this is a value, say regression=True"


def n_classes_of(output: Any) -> int:
    """The number of classes K of an output (N, K, ...); 1 for any other output."""
    main = main_output(output)
    return main.shape[1] if main is not None and main.ndim > 1 else 1


def note_on_scores(normalization: Normalization) -> tuple[str, ...]:
    """A result's note on scores that are not logits under a softmax."""
    note = _ON_SCORES.get(normalization)
    return (note,) if note else ()


def note_on_single_score(normalization: Normalization, n_classes: int) -> tuple[str, ...]:
    """A result's note that a network's only output, which nothing bounds, might as well be a value."""
    return (_MAY_BE_A_VALUE,) if normalization == "sigmoid" and n_classes == 1 else ()


def unit_of(score: Score, normalization: Normalization) -> str:
    """The unit of a class score, or of a value."""
    if normalization == "values":
        return "unit of the output"
    if score == "probability" or normalization == "none":
        return "probability"
    return "log-probability" if normalization == "exp" else "logit"


def _probabilities(output: torch.Tensor, normalization: Normalization) -> torch.Tensor:
    """The probabilities of scores (M, K), computed as in `results.probabilities`."""
    if normalization == "softmax":
        return output.softmax(dim=1)
    if normalization == "sigmoid":
        return output.sigmoid()
    return output.exp() if normalization == "exp" else output


def _pick(values: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """The value of each row's class, (M, K) -> (M, 1)."""
    return values.gather(1, indices.to(values.device).expand(len(values))[:, None])


@dataclass(frozen=True)
class SeveralTargets(Targets):
    """``parts`` are the T targets of each image."""

    parts: tuple[Targets, ...] = ()

    @property
    def n_each(self) -> int:
        return len(self.parts)

    def of(self, output: Any, n_rows: int | None = None) -> torch.Tensor:
        return torch.cat([part.of(output, n_rows) for part in self.parts], dim=1)
