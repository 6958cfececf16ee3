"""How long work tells how far it is."""

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[int, int], None]
"""Called after each batch with the count that is done and the count in all."""

StageProgress: TypeAlias = Callable[[str, int, int], None]
"""The same for work of several stages, each of which has a name."""
