"""What a network predicts for an image, as text: classes with their probability, or values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .console import table

if TYPE_CHECKING:
    from convscope.results import Ranked


def in_words(ranked: Sequence[Ranked], *, are_values: bool) -> str:
    """One line: "tabby (62%) or lynx (20%)", or "age 34.5, height 1.82"."""
    if are_values:
        return ", ".join(f"{one.label} {one.score:.6g}" for one in ranked)
    return " or ".join(f"{one.label} ({one.probability:.0%})" for one in ranked)


def table_of(name: str, ranked: Sequence[Ranked], *, are_values: bool) -> Any:
    """A table with a row for each class or value of the image with this name."""
    if are_values:
        rows = [(f"{one.score:.6g}", f"{one.label} ({one.index})") for one in ranked]
        return table(name, ("value", "of"), rows)
    return table(name, ("probability", "score", "class"), [
        (f"{one.probability:.1%}", f"{one.score:.2f}", f"{one.label} ({one.index})") for one in ranked
    ])  # fmt: skip
