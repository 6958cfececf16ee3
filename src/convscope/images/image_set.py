"""A sequence of images that are opened when they are looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from ..arguments import checks_arguments
from .opening import open_image
from .sources import WHITE, Color, Pixels, Source


@checks_arguments
class ImageSet(Sequence[Pixels]):
    """Images that are opened when they are looked at, so a folder of any size takes no memory.

    Indexing opens one image and returns an array (H, W, C). ``skip_errors`` tells a long run to go on
    after an image that cannot be read (the default for folders) instead of raising. ``notes`` are remarks on how
    they were found, as of files that are no images; ``unreadable`` are folders that could not be looked into.
    ``folders`` are those that were searched, ``tables`` those that listed images. ``remarks`` are on images that
    have been opened.
    """

    def __init__(
        self,
        sources: Sequence[Source],
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
        self._remarks: dict[str, dict[str, None]] = {}  # on images: those that each holds for

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
    def of(self, sources: Sequence[Source]) -> ImageSet:
        """Other sources, opened in the same way; what is remarked on them is remarked here, too."""
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
        """The same with further notes."""
        other = self.of(self.sources)
        other.notes = (*self.notes, *notes)
        return other

    def __iter__(self) -> Iterator[Pixels]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        classes = len({label for label in self.labels if label is not None})
        return f"ImageSet({len(self)} images, {classes} labels)"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(source.name for source in self.sources)

    @property
    def labels(self) -> tuple[str | None, ...]:
        return tuple(source.label for source in self.sources)

    def remark(self, text: str, name: str) -> None:
        """What `open_image` has to say of an image; images may be opened by several threads, and twice."""
        self._remarks.setdefault(text, {})[name] = None

    @property
    def remarks(self) -> tuple[str, ...]:
        """A line for each kind of remark on the images opened so far, with how many it holds for."""
        found = []
        for text, names in sorted(self._remarks.items()):
            n, first = len(names), min(list(names))
            found.append(f"{first}: {text}" if n == 1 else f"{n} images, as {first}: {text}")
        return tuple(found)
