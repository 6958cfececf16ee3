"""Callbacks by which long work reports its progress."""

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called after each batch with the number of steps done and the number in total."""

StageProgress: TypeAlias = Callable[[str, int, int], None]
"""The same for work in several stages; the name of the stage comes first."""


def part_of(progress: Progress | None, i: int, n: int) -> Progress | None:
    """What reports part i of n equal parts as progress of the whole."""
    if progress is None:
        return None
    return lambda done, total: progress(i * total + done, n * total)
