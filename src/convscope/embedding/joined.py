"""Two collections asked as one, and which images belong to the second."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import unfit
from ..errors import ParameterError
from ..results import Array, Provenance
from ..store import Block, Column, Space, Taken
from ..store.keys import key_of
from .copies import contents_of
from .source import Source, is_source


class Joined:
    """What `duplicates` needs of a `Source`, for the images of one and then of another.

    A row's number is its place.
    """

    held = None

    def __init__(self, first: Source, second: Source) -> None:
        second.check_comparable(first.made)
        if first.n_dims != second.n_dims:  # of the same name, but other vectors
            raise ParameterError(
                f"vectors of {first.n_dims} and of {second.n_dims} values cannot be compared: give "
                "collections of the same network and layer"
            )
        self._parts = (first, second)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for part in self._parts for name in part.names)

    @property
    def ids(self) -> tuple[str | None, ...]:
        return tuple(content for part in self._parts for content in contents_of(part))

    @property
    def rows(self) -> Array:
        return np.arange(sum(len(part.rows) for part in self._parts))

    @property
    def made(self) -> Provenance:
        return self._parts[0].made

    def column(self, name: Column) -> tuple[Any, ...]:
        return tuple(value for part in self._parts for value in part.column(name))

    @contextmanager
    def reading(self) -> Iterator[None]:
        with ExitStack() as stack:
            for part in self._parts:
                stack.enter_context(part.reading())
            yield

    def blocks(self, space: Space = "feature", where: str | None = None) -> Iterator[Block]:
        n = 0
        for part in self._parts:
            for block in part.blocks(space, where):
                yield Block(np.arange(n, n + len(block)), block.vectors)
                n += len(block)

    def take(self, rows: Array, *, n_thumbnails: int | None = None) -> Taken:
        """What is known of some rows, with thumbnails of the first of them."""
        shown = rows[:n_thumbnails]
        numbers = [part.rows for part in self._parts]
        is_second = shown >= len(numbers[0])
        taken = (
            self._parts[0].take(numbers[0][shown[~is_second]]),
            self._parts[1].take(numbers[1][shown[is_second] - len(numbers[0])]),
        )
        sizes = {part.thumbnails.shape[1:] for part in taken if len(part.names)}
        thumbnails = np.zeros((len(shown), *max(sizes, default=(0, 0, 3))), np.uint8)
        has_thumbnail = np.zeros(len(shown), bool)
        for chosen, part in zip((~is_second, is_second), taken, strict=True):
            if part.thumbnails.size:
                thumbnails[chosen], has_thumbnail[chosen] = part.thumbnails, part.has_thumbnail
        names, labels, ids, stamps = self.names, self.column("label"), self.ids, self.column("stamp")
        return Taken(
            tuple(names[row] for row in rows),
            tuple(labels[row] for row in rows),
            tuple(ids[row] for row in rows),
            tuple(stamps[row] for row in rows),
            thumbnails,
            has_thumbnail,
        )


def two_sides(source: Source, against: object) -> tuple[Any, Array | None]:
    """What is compared, and which (N,) of its images are on the other side; None to compare all with all.

    Args:
        source: a collection.
        against: another one, or a folder: its images are compared with the rest of the collection. Or None.
    """
    if against is None:
        return source, None
    if is_source(against):
        n, m = len(source.rows), len(against.rows)
        return Joined(source, against), np.repeat([False, True], [n, m])
    if not isinstance(against, str | Path):
        raise unfit(against, "against", "Embeddings, an EmbeddingStore, or a folder of the source's own images")
    folder = os.path.join(key_of(against), "")
    is_inside = np.array([key_of(name).startswith(folder) for name in source.names], bool)
    if is_inside.all() or not is_inside.any():
        n, absent = int(is_inside.sum()), "" if os.path.exists(folder) else ", which does not exist"
        raise ParameterError(
            f"against={str(against)!r}: {n} of {len(is_inside)} images are in that folder{absent}; expected "
            "a folder with a part of them, or another collection"
        )
    return source, is_inside
