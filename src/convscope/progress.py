"""Callbacks by which long work reports its progress."""

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called after each batch with the number of steps done and the number in total."""

StageProgress: TypeAlias = Callable[[str, int, int], None]
"""The same for work in several stages; the name of the stage comes first."""
