"""What every result shares: it shows itself, saves itself, and says where it comes from."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np

from ..arguments import checks_arguments
from ..texts import printable

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from: enough to make it again, and to doubt it.

    ``model`` names the network, the SHA-256 of its weights and its preprocessing; ``measured`` holds what the
    method chose and found about its own run; ``notes`` remarks that the reader of the result should see;
    ``skipped`` the images that could not be read.
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
        """Method, parameters and time in one line, as it stands under every figure."""
        options = ", ".join(f"{name}={value}" for name, value in self.parameters.items() if value is not None)
        return printable(
            f"{self.method}({options}) on {self.model.get('name', 'a network')}, {self.seconds:.2f} s"
        )


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Result:
    """The base of all results: shows itself, saves itself, and says where it comes from.

    ``has_picture`` is False for a kind that `convscope.render` does not draw: it shows and saves itself without.
    """

    has_picture: ClassVar[bool] = True

    provenance: Provenance

    def __repr__(self) -> str:
        parts = [
            text for f in fields(self) if f.name != "provenance" and (text := _describe(self, f.name)) is not None
        ]
        return f"{type(self).__name__}({', '.join(parts)})\n  {self.provenance.caption}"

    def _repr_html_(self) -> str:
        alt = html.escape(repr(self), quote=True)
        if not self.has_picture:
            return f"<pre>{alt}</pre>"
        from ..render import data_uri  # results show themselves through render; see the import contract

        caption = html.escape(self.provenance.caption)
        return f'<figure><img src="{data_uri(self)}" alt="{alt}"><figcaption>{caption}</figcaption></figure>'

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw into a matplotlib axes (a new figure without one) and return the axes; never calls show."""
        from ..render import plot

        return plot(self, ax, **options)

    @checks_arguments
    def save(self, directory: str | Path) -> Path:
        """Write arrays.npz, picture.png and manifest.json into a new directory, all of it or nothing."""
        from .files import save

        return save(self, directory)

    @classmethod
    @checks_arguments
    def load(cls, directory: str | Path) -> Self:
        """Read back what `save` wrote; the arrays are the same, bit for bit."""
        from .files import load

        return load(cls, directory)


def _describe(result: Result, name: str) -> str | None:
    value = getattr(result, name)
    if isinstance(value, np.ndarray):
        if value.size == 1:
            return f"{name}: {value.item():.4g}"
        if np.issubdtype(value.dtype, np.floating) and not np.isnan(value).all():
            return f"{name}: {value.shape} from {np.nanmin(value):.4g} to {np.nanmax(value):.4g}"
        return f"{name}: {value.shape} {value.dtype}"
    if isinstance(value, Mapping) and value:
        return printable(f"{name}: " + "; ".join(f"{key} {array.shape}" for key, array in value.items()))
    if isinstance(value, str):
        return printable(f"{name}: {value}")
    if isinstance(value, float) and not np.isnan(value):
        return f"{name}: {value:.3g}"
    if isinstance(value, tuple) and value:
        return printable(f"{name}: {', '.join(map(str, value[:3]))}{', ...' if len(value) > 3 else ''}")
    return None
