"""What all results share: they show themselves, save themselves, and say where they come from."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np

from ..arguments import checks_arguments
from ..outputs import new_directory
from ..texts import printable
from .files import read, write
from .provenance import Provenance
from .renderer import renderer

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Result:
    """The base class of all results.

    ``has_picture`` is False for a kind that `convscope.render` does not draw; it is shown and saved without one.
    """

    has_picture: ClassVar[bool] = True

    provenance: Provenance

    @property
    def is_drawn(self) -> bool:
        """Whether there is a picture of this result, not only of its kind."""
        return self.has_picture

    def __repr__(self) -> str:
        parts = [
            text for f in fields(self) if f.name != "provenance" and (text := _describe(self, f.name)) is not None
        ]
        return f"{type(self).__name__}({', '.join(parts)})\n  {self.provenance.caption}"

    def _repr_html_(self) -> str:
        alt = html.escape(repr(self), quote=True)
        if not self.is_drawn:
            return f"<pre>{alt}</pre>"
        return f'<figure><img src="{renderer().data_uri(self)}" alt="{alt}"></figure>'

    def plot(self, ax: Any = None, *, title: str | None = None, **options: Any) -> Any:
        """Draw the main panel into matplotlib axes, by default of a new figure; never calls show.

        Args:
            ax: matplotlib axes. In a grid of `plt.subplots` nothing runs into the axes beside them.
            title: in place of the one that says what is drawn: the method and the target of a map.
            **options: of an `Attribution` ``n``, the image, ``cmap``, a color map of matplotlib, ``alpha``, how
                opaque the map is, in [0, 1], and ``as_video``, a volume as frames; of `FeatureMaps` ``n``,
                ``layer``, ``by``, ``channels``, ``channel``; of `Filters` ``scale`` and ``tiles``; of a
                `Prediction` ``n`` and ``k``; of `Neighbors` ``n``, the queries; of `Suspects` ``maps``, those of
                `convscope.suspect_maps`; of a `Projection` ``thumbnails``; of a `UnitScan` ``layer``; of
                `Necessity` and `Feeds` ``channel``.

        Returns:
            The axes.

        Raises:
            ParameterError: an option that this kind of result does not have, or one out of range.
        """
        return renderer().plot(self, ax, title=title, **options)

    @checks_arguments
    def save(self, directory: str | Path) -> Path:
        """Write arrays.npz, picture.png and manifest.json into a new directory: all of them or nothing.

        Raises:
            OutputError: the directory holds anything, or cannot be written.
        """
        with new_directory(directory) as partial:
            write(self, partial)
            if self.is_drawn:
                renderer().save_png(self, partial / "picture.png")
            self._save_more(partial)
        return Path(directory)

    def _save_more(self, directory: Path) -> None:
        """What else a kind of result is saved with: nothing, as a rule."""

    @classmethod
    @checks_arguments
    def load(cls, directory: str | Path) -> Self:
        """Read what `save` wrote; the arrays come back bit for bit. ``Result.load`` reads any kind.

        Raises:
            OutputError: the directory holds no saved result, or another kind of result.
        """
        return read(cls, directory)


def _describe(result: Result, name: str) -> str | None:
    """One field in a few words; None for a field with nothing to say."""
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
