"""A store that is filled by the workers of a Ray cluster: each embeds some files, and writes their rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch

from ..errors import ImageError
from ..images import ImageSet, ImageSource
from ..progress import Progress
from ..store import EmbeddingStore, VectorType
from ..store.conditions import is_one_of
from ..store.keys import path_of
from ..store.schema import padded
from .distributed import ray_running
from .extracting import extract_each
from .features import Extractor, Features
from .filling import Filling
from .reading import Picture
from .rows import table_of
from .supply import Files, Supply

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 64  # images that one worker takes at once: so much is computed again where it dies
_COMMIT = 8192  # images that are written at once: so much is computed again where this process dies


def fill_by_ray(
    supply: Supply,
    extractor: Extractor,
    place: str | Path,
    vectors: VectorType,
    *,
    address: str | None = None,
    progress: Progress | None = None,
) -> EmbeddingStore:
    """Embed the files that a store does not hold yet, or that have changed since.

    A worker that dies costs time, not rows: Ray gives its images to another. Every worker must be able to read
    the files and to write to the store: in a folder that all share, or in an object store.

    Args:
        supply: files; ImageError for anything else.
        extractor: is sent to the workers.
        place: of the store.
        vectors: how it holds them.
        address: of the cluster; by default Ray is started on this machine.
        progress: called with (images done, images in all), each time that some thousands are written.
    """
    if not isinstance(supply, Files) or any(not isinstance(s.content, Path) for s in supply.images.sources):
        raise ImageError("Ray embeds files: give a folder, a pattern, a table or paths")
    filling = Filling(place, extractor, vectors)
    todo, n_done = filling.select(supply.images)
    store, n_all, known = filling.store, n_done + len(todo), filling.store.by_path("stamp")
    if not len(todo):
        return filling.result()
    with ray_running(address) as n_workers:
        n_expected = len(known)
        for first in range(0, len(todo), _COMMIT):
            part = todo[first : first + _COMMIT]
            made = _made(part, extractor, filling.schema, n_workers)
            if len(store) == n_expected and not any(name in known for name in part.names):
                _append(store, made)
            else:  # some rows are replaced, or another process has written meanwhile
                _replace(filling, made)
            n_expected += sum(name not in known for name in part.names)
            n_done += len(part)
            if not supply.images.skip_errors:
                _raise_unread(store, part.sources)
            if progress:
                progress(n_done, n_all)
    return filling.result()


def _made(images: ImageSet, extractor: Extractor, schema: pa.Schema, n_workers: int) -> Any:
    """A Ray data set of rows, which are computed when they are asked for."""
    import pyarrow as pa
    import ray

    columns = {"path": pa.array(images.names, pa.string()), "label": pa.array(images.labels, pa.string())}
    return ray.data.from_arrow(pa.table(columns)).map_batches(
        _Worker,
        fn_constructor_args=(extractor, schema, images.of(())),
        batch_size=_BLOCK,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=max(1, min(n_workers, -(-len(images) // _BLOCK)))),
        num_cpus=1,
        num_gpus=1 if extractor.model.device.type == "cuda" else 0,
    )


class _Worker:
    """Holds the network, and turns paths into rows."""

    def __init__(self, extractor: Extractor, schema: pa.Schema, images: ImageSet) -> None:
        torch.set_num_threads(1)
        self._extractor, self._schema = extractor, schema
        self._images = images  # none of them: how they are opened

    def __call__(self, batch: pa.Table) -> pa.Table:
        sources = [ImageSource(row["path"], Path(path_of(row["path"])), row["label"]) for row in batch.to_pylist()]
        images = self._images.of(sources)
        images.skip_errors = True  # an error is of its row, and raised where all rows are
        rows = _Rows(self._extractor, self._schema)
        extract_each(Files(images, self._extractor.model, True, one_by_one=True), self._extractor, rows)
        return rows.table()


class _Rows:
    """Keeps the rows that a worker gives back."""

    def __init__(self, extractor: Extractor, schema: pa.Schema) -> None:
        self._labels, self._schema = extractor.model.labels or (), schema
        self._tables: list[pa.Table] = []

    def __enter__(self) -> _Rows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def select(self, images: ImageSet) -> tuple[ImageSet, int]:
        return images, 0

    def wants(self, picture: Picture) -> bool:
        return True

    def keep(self, pictures: Sequence[Picture], features: Features | None) -> None:
        self._tables.append(padded(table_of(pictures, features, self._labels, self._schema), self._schema))

    def table(self) -> pa.Table:
        import pyarrow as pa

        return pa.concat_tables(self._tables)


def _append(store: EmbeddingStore, made: Any) -> None:
    """New rows, by all workers at once, as Lance commits them together."""
    import lance_ray

    with store.table.writing():
        lance_ray.write_lance(made, store.table.uri, mode="append", schema=store.schema)


def _replace(filling: Filling, made: Any) -> None:
    """Rows of which some are there already, by this process."""
    for batch in made.iter_batches(batch_size=_COMMIT, batch_format="pyarrow"):
        given = (batch[name].to_pylist() for name in ("path", "stamp", "error"))
        wanted = [filling.is_to_be_written(*row) for row in zip(*given, strict=True)]
        filling.store.write(batch.filter(wanted))


def _raise_unread(store: EmbeddingStore, sources: Sequence[ImageSource]) -> None:
    """`ImageError` where one of these could not be read; their rows say so, too."""
    for first in range(0, len(sources), _BLOCK):
        chosen = is_one_of("path", [source.name for source in sources[first : first + _BLOCK]])
        unread = store.to_arrow(["error"], f"error IS NOT NULL AND {chosen}")["error"].to_pylist()
        if unread:
            raise ImageError(unread[0])
