"""Feature vectors into a store: images that it holds are skipped, and what was computed is never lost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from ..images import ImageSet
from ..store import EmbeddingStore, VectorType
from ..store.account import Account, Tally
from .features import Extractor, Features
from .origins import origin_for
from .reading import Picture
from .rows import table_of

WRITE_ROWS = 256  # rows that are written at once ...
WRITE_SECONDS = 10.0  # ... or what was computed in this time: so much is computed again after a kill


class Filling:
    """Writes the rows of a store, some hundred at a time."""

    def __init__(self, place: str | Path, extractor: Extractor, vectors: VectorType) -> None:
        origin = origin_for(extractor.model, extractor.layer.name, extractor.precision)
        self.store = EmbeddingStore.create(place, origin, extractor.n_dims, vectors=vectors)
        self.schema = self.store.schema
        self._labels = extractor.model.labels or ()
        self._account: Account | Tally = Tally(self.store)  # until files are given
        self._rows: list[Any] = []  # Arrow tables, until they are written
        self._written = time.monotonic()

    def __enter__(self) -> Filling:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._write()  # also on Ctrl-C

    def select(self, images: ImageSet) -> tuple[ImageSet, int]:
        """New and changed images; before that, the rows of others follow their files."""
        self._account = account = Account(self.store, images)
        return account.images.of(account.todo), len(images) - len(account.todo)

    def wants(self, picture: Picture) -> bool:
        error = None if picture.error is None else str(picture.error)
        return self.is_to_be_written(picture.name, picture.stamp, error)

    def is_to_be_written(self, path: str, stamp: str | None, error: str | None) -> bool:
        """Whether a row is to be written; it is counted for `StoreChanges`."""
        return self._account.is_to_be_written(path, stamp, error)

    def keep(self, pictures: Sequence[Picture], features: Features | None) -> None:
        self._rows.append(table_of(pictures, features, self._labels, self.schema))
        if sum(map(len, self._rows)) >= WRITE_ROWS or time.monotonic() - self._written > WRITE_SECONDS:
            self._write()
            self._written = time.monotonic()

    def result(self) -> EmbeddingStore:
        """When all is embedded: the store, and what has changed in it."""
        self.store.changes = self._account.closed()
        self.store.compact()
        return self.store

    def _write(self) -> None:
        import pyarrow as pa

        # Taken off first, so that none is written a second time after an error.
        made = [self._rows.pop(0) for _ in range(len(self._rows))]
        if made:
            self.store.write(pa.concat_tables(made))
