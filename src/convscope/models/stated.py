"""What a network states of the images it takes, and what the caller gives instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..checks import Sides
from ..errors import ParameterError
from ..texts import counted
from .preprocessing import Preprocessing


@dataclass(frozen=True)
class Stated:
    """What is known of a network's images; None where nothing is.

    ``fixed_size``: whether it takes no other ``input_size``.
    """

    input_size: tuple[int, int] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    n_channels: int | None = None
    fixed_size: bool = False
    notes: tuple[str, ...] = ()


def settled(
    name: str,
    stated: Preprocessing | Stated | None,
    input_size: Sides | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> tuple[Preprocessing | None, tuple[str, ...]]:
    """The preprocessing by what is stated and what is given, which wins, and notes on the difference.

    None if not everything is known, and neither mean nor std is given.

    Raises:
        ParameterError: mean or std is given, but not all that is not stated, or it does not fit the network.
    """
    known = {key: getattr(stated, key, None) for key in ("input_size", "mean", "std")}
    given: dict[str, Any] = {"input_size": input_size, "mean": mean, "std": std}
    given = {key: tuple(value) for key, value in given.items() if value is not None}
    if not given and isinstance(stated, Preprocessing):
        return stated, ()
    values = {**known, **given}
    if "input_size" in given:
        _check_size(name, stated, given["input_size"])
    missing = [f"{key}=" for key, value in values.items() if value is None]
    if missing and given.keys() - {"input_size"}:
        raise ParameterError(f"{name} does not state all of its preprocessing: give {' and '.join(missing)} too")
    if missing:
        return None, ()
    if len(values["input_size"]) != 2:
        raise ParameterError(
            f"input_size={values['input_size']}: mean and std prepare pictures, of (height, width); for signals "
            "and volumes give input_size alone, and preprocessed tensors"
        )
    _check_channels(name, stated, values["mean"])
    notes = tuple(
        f"{key}={value}, as given, in place of {known[key]}, as {name} states"
        for key, value in given.items()
        if known[key] is not None and value != known[key]
    )
    if isinstance(stated, Preprocessing):  # resized in the same proportion to what is cropped
        resize = tuple(
            round(side * new / old)
            for side, new, old in zip(stated.resize_px, values["input_size"], stated.input_size, strict=True)
        )
        return replace(stated, **values, resize_px=resize), notes
    return Preprocessing(**values, resize_px=values["input_size"]), notes


def _check_size(name: str, stated: Preprocessing | Stated | None, size: Sides) -> None:
    if isinstance(stated, Stated) and stated.fixed_size and size != stated.input_size:
        raise ParameterError(
            f"input_size={size}: {name} takes images of {stated.input_size} (height, width) alone"
        )


def _check_channels(name: str, stated: Preprocessing | Stated | None, mean: Sequence[float]) -> None:
    n_channels = getattr(stated, "n_channels", None)
    if n_channels is not None and len(mean) != n_channels:
        values = counted(len(mean), "value")
        raise ParameterError(f"mean has {values}, but {name} takes {counted(n_channels, 'channel')}")
