"""Where a result comes from: the call, the network, the machine, and what its reader should know."""

from __future__ import annotations

import functools
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..texts import printable

_LISTED = 4  # values of an option that a caption shows; of more, the first
_PACKAGES = ("convscope", "torch", "torchvision", "timm", "pillow", "numpy")


@dataclass(frozen=True)
class Provenance:
    """Enough to make a result again, and to doubt it.

    ``model`` holds the network's name, the SHA-256 of its weights, and its preprocessing; ``measured`` what the
    method chose and found out while it ran; ``notes`` what the reader of the result should know; ``skipped`` the
    images that could not be read. ``seconds`` is how long the whole call took.
    """

    method: str
    parameters: Mapping[str, Any]
    model: Mapping[str, Any]
    device: str
    versions: Mapping[str, str]
    seconds: float
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)

    @property
    def caption(self) -> str:
        """The call, the network and the time in one line, shown under every figure."""
        given = {name: value for name, value in self.parameters.items() if value is not None}
        options = ", ".join(f"{name}={_shortened(value)}" for name, value in given.items())
        return printable(
            f"{self.method}({options}) on {self.model.get('name', 'a network')}, {self.seconds:.2f} s"
        )


def _shortened(value: Any) -> Any:
    """A value for a line of text: of a long list, such as a target for each of many images, only the first."""
    if isinstance(value, list | tuple) and len(value) > _LISTED:
        return f"[{value[0]!r} and {len(value) - 1} more]"
    return value


class Remark:
    """One note of a list, rewritten as more becomes known while images are still coming in."""

    def __init__(self, notes: list[str]) -> None:
        self._notes = notes
        self._text: str | None = None

    def say(self, text: str) -> None:
        """Replace what this remark said before."""
        if self._text is None:
            self._notes.append(text)
        else:
            self._notes[self._notes.index(self._text)] = text
        self._text = text


@functools.cache
def versions() -> dict[str, str]:
    """The installed versions of the packages that a result can depend on."""
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def plain_values(value: Any) -> Any:
    """NumPy numbers as Python's, which JSON reads back unchanged."""
    if isinstance(value, list | tuple):
        return type(value)(plain_values(item) for item in value)
    return value.item() if isinstance(value, np.generic) else value
