"""`ImageSet`: a sequence of images, each opened when it is indexed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from ..arguments import checks_arguments
from ..texts import counted
from .image_source import WHITE, Color, ImageSource, Pixels
from .opening import open_image


@checks_arguments
class ImageSet(Sequence[Pixels]):
    """Images that are opened only when indexed, so a folder of any size takes no memory.

    Indexing opens one image and returns an array (H, W, C). With ``skip_errors`` (the default for folders) a
    long run continues after an image that cannot be read instead of raising. ``notes`` are remarks on the search,
    such as files left out; ``unreadable`` lists folders that could not be read, ``folders`` those that were
    searched, and ``tables`` the tables that were read. ``remarks`` concern images that have been opened.
    """

    def __init__(
        self,
        sources: Sequence[ImageSource],
        *,
        background: Color = WHITE,
        skip_errors: bool = False,
        at_least: int | None = None,
        notes: Sequence[str] = (),
        unreadable: Sequence[str] = (),
        folders: Sequence[Path] = (),
        tables: Sequence[Path] = (),
    ):
        self.notes = tuple(notes)
        self.unreadable = tuple(unreadable)
        self.folders = tuple(folders)
        self.tables = tuple(tables)
        self.sources = tuple(sources)
        self.background = background
        self.skip_errors = skip_errors
        self.at_least = at_least
        self._remarks: dict[str, dict[str, None]] = {}  # text -> names of images

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> Pixels: ...
    @overload
    def __getitem__(self, index: slice) -> ImageSet: ...
    def __getitem__(self, index: int | slice) -> Pixels | ImageSet:
        if isinstance(index, slice):
            return self.of(self.sources[index])
        source = self.sources[index]
        return open_image(source, background=self.background, at_least=self.at_least, remark=self.remark)

    @checks_arguments
    def of(self, sources: Sequence[ImageSource]) -> ImageSet:
        """A set of other sources, opened in the same way; it shares its remarks with this set."""
        other = ImageSet(
            sources,
            background=self.background,
            skip_errors=self.skip_errors,
            at_least=self.at_least,
            notes=self.notes,
            unreadable=self.unreadable,
            folders=self.folders,
            tables=self.tables,
        )
        other._remarks = self._remarks
        return other

    @checks_arguments
    def noted(self, notes: Sequence[str]) -> ImageSet:
        """The same set with further notes."""
        other = self.of(self.sources)
        other.notes = (*self.notes, *notes)
        return other

    def __iter__(self) -> Iterator[Pixels]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        n_labels = len({label for label in self.labels if label is not None})
        return f"ImageSet({counted(len(self), 'image')}, {counted(n_labels, 'label')})"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(source.name for source in self.sources)

    @property
    def labels(self) -> tuple[str | None, ...]:
        return tuple(source.label for source in self.sources)

    def remark(self, text: str, name: str) -> None:
        """Record a remark of `open_image`; several threads may open images, and an image may be opened twice."""
        self._remarks.setdefault(text, {})[name] = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """The remarks on the images opened so far: one line for each text, with the number of images."""
        found = []
        for text, names in sorted(self._remarks.items()):
            n, first = len(names), min(list(names))
            found.append(f"{first}: {text}" if n == 1 else f"{n} images, such as {first}: {text}")
        return tuple(found)
