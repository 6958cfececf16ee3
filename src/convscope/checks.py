"""Numbers that a caller gives: of the right kind and in the right range, or a `ParameterError` naming them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Literal, TypeAlias, get_args

from .errors import ParameterError

Pair: TypeAlias = tuple[int, int]
Engine: TypeAlias = Literal["local", "ray"]  # where a collection is worked on
Metric: TypeAlias = Literal["cosine", "euclidean", "dot"]  # what near means
HIGHER_IS_NEARER: dict[str, bool] = {"cosine": True, "euclidean": False, "dot": True}


def as_count(value: object, name: str, least: int = 0) -> int:
    """A whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ParameterError(f"{name}={value!r}: expected a whole number, at least {least}")
    return int(value)


def as_number(value: object, name: str, least: float = 0.0) -> float:
    """A finite number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value < least:
        raise ParameterError(f"{name}={value!r}: expected a number, at least {least:g}")
    return float(value)


def as_pair(value: object, name: str) -> Pair:
    """(height, width) in pixels from one number for both, or two."""
    pair = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value, value)
    if len(pair) != 2 or not all(
        isinstance(v, Integral) and not isinstance(v, bool) and int(v) >= 1 for v in pair
    ):
        raise ParameterError(f"{name}={value!r}: expected pixels, one number or (height, width), at least 1")
    return (int(pair[0]), int(pair[1]))


def check_metric(metric: str) -> None:
    """`ParameterError` for an unknown one."""
    if metric not in tuple(HIGHER_IS_NEARER):
        *names, last = map(repr, HIGHER_IS_NEARER)
        raise ParameterError(f"metric={metric!r}: expected {', '.join(names)} or {last}")


def which_is_nearer(metric: str) -> str:
    """How a score by a metric is read, in words."""
    return "higher is nearer" if HIGHER_IS_NEARER[metric] else "lower is nearer"


def check_engine(engine: str, address: str | None) -> None:
    """A known engine, and an address only of a cluster."""
    if engine not in get_args(Engine):
        raise ParameterError(f"engine={engine!r}: expected 'local' or 'ray'")
    if address is not None and engine != "ray":
        raise ParameterError("address belongs to engine='ray'")
