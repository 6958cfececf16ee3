"""Targets of networks whose outputs are values, not classes: up, down, or towards a value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..arguments import checks_arguments
from ..checks import as_count, as_number
from ..errors import TargetError
from .classes import class_scores


@dataclass(frozen=True)
class Towards:
    """How near a network's value is to another one, for regression: S = -|y - value|, in the unit of y.

    For networks that return one value, (N, 1) or (N,), or several, (N, K), of which ``column`` is meant. What
    brings y nearer to the value is positive. At y = value there is no gradient. The plain targets "up" and "down"
    are y and -y of a network with one value.

    Args:
        value: the one to approach, in the unit of the output.
        column: which of the network's values.

    Example:
        >>> Towards(3.2).name
        'towards 3.2'
    """

    value: float
    column: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", as_number(self.value, "value"))
        object.__setattr__(self, "column", as_count(self.column, "column"))

    @property
    def name(self) -> str:
        of = f" of value {self.column}" if self.column else ""
        return f"towards {self.value:g}{of}"

    @checks_arguments
    def score(self, values: torch.Tensor) -> torch.Tensor:
        """The scores (N,) of values (N, K)."""
        _check_values(values)
        if self.column >= values.shape[1]:
            raise TargetError(f"{self.name}: the network returns {values.shape[1]} values, counted from 0")
        return -(values[:, self.column] - self.value).abs()


@dataclass(frozen=True)
class Direction:
    """What makes the one value of a network greater ("up") or less ("down"): S = y or -y."""

    name: str

    @checks_arguments
    def score(self, values: torch.Tensor) -> torch.Tensor:
        """The scores (N,) of values (N, 1)."""
        _check_values(values)
        if values.shape[1] != 1:
            raise TargetError(
                f"target={self.name!r} is for networks with one value, and this one returns {values.shape[1]}: an "
                "index is up for that value; for down, give a function such as lambda y: -y[:, 0]"
            )
        return values[:, 0] if self.name == "up" else -values[:, 0]


def _check_values(values: torch.Tensor) -> None:
    """`TargetError` unless these are values (N, K)."""
    if values.ndim != 2:
        raise TargetError(f"values of shape {tuple(values.shape)}; expected (N, K)")


def default_of_values(output: Any) -> Direction:
    """What a network of values is asked by default: its one value, upward; with several nothing is meant more."""
    n_values = class_scores(output).shape[1]
    if n_values == 1:
        return Direction("up")
    raise TargetError(
        f"no target: the network returns {n_values} values, of which none is the predicted one: give an "
        "index or a label, which is up for that value, or Towards(value, column=...)"
    )


def directed(target: Any, labels: Sequence[str] | None) -> Any:
    """The `Direction` that "up" and "down" stand for, where they are no labels; any other target as it is."""
    is_word = isinstance(target, str) and target in ("up", "down")
    return Direction(target) if is_word and target not in (labels or ()) else target
