"""By Ray what one machine does, with the same result: fill a store, sum it up, work on its files."""

from __future__ import annotations

import importlib.util
import logging
import operator
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..errors import ImageError, ParameterError, StoreError
from ..images import ImageSet, Source, load_images
from ..models import Model
from ..progress import Progress
from ..results import Array
from ..store import EmbeddingStore, VectorType
from ..store.account import Account
from ..store.conditions import is_one_of
from ..store.keys import path_of
from ..store.lance import is_local
from ..store.schema import padded
from .features import Precision, batch_size, choose_layer, extracting
from .filling import keyed
from .moments import Moments, moments_of
from .origins import origin_for
from .rows import Picture, read, table_of

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 64  # images that one worker takes at once: so much is computed again where it dies
_PART = 1 << 18  # vectors that one worker sums up before it sends D x D numbers back ...
_FEWEST_PARTS = 16  # ... or a share of them all, so that no worker waits long for another
_BLOCK_ROWS = 2048  # of a part, read at once
_COMMIT = 8192  # images that are written at once: so much is computed again where this process dies


def fill_by_ray(
    place: str | Path,
    model: Model,
    images: Any,
    *,
    layer: str | None = None,
    vectors: VectorType = "float32",
    precision: Precision = "float32",
    address: str | None = None,
    n_workers: int | None = None,
    progress: Progress | None = None,
) -> EmbeddingStore:
    """Embed the files that are not in a store yet, or have changed since, by workers of a Ray cluster.

    A worker that dies costs time, not rows: Ray gives its images to another.

    Args:
        place: of the store, where every worker can write: a folder that all share, or an object store.
        model: the network, which is sent to the workers.
        images: files, where every worker can read them; see `convscope.load_images`.
        layer, vectors, precision: see `convscope.embed`.
        address: of the cluster; by default Ray is started on this machine.
        n_workers: each has one processor; by default as many as there are.
        progress: called with (images done, images in all), each time that some thousands are written.

    Raises:
        ParameterError: Ray is not installed.
        ImageError: something that is no file was given.
    """
    every = keyed(load_images(images), place)
    if model.preprocessing is None:
        raise ImageError(
            "how this network wants its images is not known: wrap it as Model(module, input_size=...)"
        )
    if any(not isinstance(source.content, Path) for source in every.sources):
        raise ImageError("Ray embeds files: give a folder, a pattern, a table or paths")
    shape = model.input_shape()
    found = choose_layer(model, shape, layer)
    store = EmbeddingStore.create(place, origin_for(model, found.name, precision), found.shape[0], vectors=vectors)
    store.model = model
    account = Account(store, every)
    todo, known = account.todo, store.by_path("stamp")
    done = len(every) - len(todo)
    if not todo:
        store.changes = account.closed()
        return store
    n_added = 0
    with _running(address) as n_processors:
        for first in range(0, len(todo), _COMMIT):
            part = todo[first : first + _COMMIT]
            made = _made(every.of(part), model, found.name, precision, store, n_workers or n_processors)
            _write(store, account, made, part, known, len(known) + n_added)
            n_added += sum(source.name not in known for source in part)
            done += len(part)
            if not every.skip_errors:
                _raise_unread(store, part)
            if progress:
                progress(done, len(every))
    store.changes = account.closed()
    store.compact()
    return store


@contextmanager
def _running(address: str | None) -> Iterator[int]:
    """Ray, and the number of its processors; what was started here is stopped again."""
    if missing := [name for name in ("ray", "lance_ray") if importlib.util.find_spec(name) is None]:
        raise ParameterError(f"{missing[0]} is not installed: pip install 'convscope[ray]'")
    import ray

    was_running = ray.is_initialized()
    if not was_running:
        with warnings.catch_warnings():  # Lance warns of forks; what Ray starts are new programs
            warnings.filterwarnings("ignore", message=".*fork")
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, include_dashboard=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        if not was_running:
            ray.shutdown()


def _made(
    images: ImageSet,
    model: Model,
    layer: str,
    precision: Precision,
    store: EmbeddingStore,
    n_workers: int,
) -> Any:
    """A Ray data set of rows."""
    import pyarrow as pa
    import ray

    n_workers = max(1, min(n_workers, -(-len(images) // _BLOCK)))
    text = pa.string()
    columns = {
        "path": pa.array(images.names, text),
        "label": pa.array(images.labels, text),
    }
    items = ray.data.from_arrow(pa.table(columns))
    return items.map_batches(
        _Worker,
        fn_constructor_args=(model, layer, precision, store.schema, images.of(())),
        batch_size=_BLOCK,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=n_workers),
        num_cpus=1,
        num_gpus=1 if model.device.type == "cuda" else 0,
    )


class _Worker:
    """Has the network, and turns paths into rows."""

    def __init__(
        self, model: Model, layer: str, precision: Precision, schema: pa.Schema, images: ImageSet
    ) -> None:
        torch.set_num_threads(1)
        self._images = images  # none of them: how they are opened
        self._model, self._precision, self._schema = model, precision, schema
        self._layer = choose_layer(model, model.input_shape(), layer)

    def __call__(self, batch: pa.Table) -> pa.Table:
        import pyarrow as pa

        model, shape = self._model, self._model.input_shape()
        assert model.preprocessing is not None
        pictures = [
            read(
                Source(row["path"], Path(path_of(row["path"])), row["label"]),
                model.preprocessing,
                self._images,
            )
            for row in batch.to_pylist()
        ]
        readable = [p for p in pictures if p.pixels is not None]
        size = batch_size(model, shape, self._precision, False)
        with extracting(model, self._layer, shape, scores=True, precision=self._precision) as extract:

            def rows(some: list[Picture]) -> pa.Table:
                x = model.preprocessing.normalize([p.pixels for p in some if p.pixels is not None])  # type: ignore[union-attr]
                return padded(table_of(some, extract(x), model.labels or (), self._schema), self._schema)

            made = [rows(readable[first : first + size]) for first in range(0, len(readable), size)]
        failed = [p for p in pictures if p.pixels is None]
        if failed:
            made.append(padded(table_of(failed, None, (), self._schema), self._schema))
        return pa.concat_tables(made)


def _write(
    store: EmbeddingStore,
    account: Account,
    made: Any,
    sources: Sequence[Source],
    known: dict[str, str | None],
    n_expected: int,
) -> None:
    """New rows by all workers at once, as Lance commits them together; changed ones by this process.

    So, too, where another process has written to the store since ``known`` was read.
    """
    import lance_ray

    if any(source.name in known for source in sources) or len(store) != n_expected:
        for batch in made.iter_batches(batch_size=_COMMIT, batch_format="pyarrow"):
            given = (batch[name].to_pylist() for name in ("path", "stamp", "error"))
            store.write(batch.filter([account.is_to_be_written(*row) for row in zip(*given, strict=True)]))
        return
    with store.writing():
        lance_ray.write_lance(made, store.rows_uri, mode="append", schema=store.schema)


def _raise_unread(store: EmbeddingStore, sources: Sequence[Source]) -> None:
    """`ImageError` where one of these could not be read; their rows say so, too."""
    for first in range(0, len(sources), _BLOCK):
        chosen = is_one_of("path", [source.name for source in sources[first : first + _BLOCK]])
        unread = store.to_arrow(["error"], f"error IS NOT NULL AND {chosen}")["error"].to_pylist()
        if unread:
            raise ImageError(unread[0])


def moments_by_ray(store: EmbeddingStore, address: str | None = None) -> Moments:
    """The moments of all vectors of a store, each part summed by a worker of a Ray cluster and added up here.

    Every worker opens the store, and has memory for D x D numbers and some thousand vectors.
    """
    row_ids = np.concatenate(
        [b["_rowid"].to_numpy() for b in store.batches(["path"], store.in_use(), row_ids=True)]
    )
    n_parts = max(_FEWEST_PARTS, -(-len(row_ids) // _PART))
    place = os.path.abspath(store.place) if is_local(store.place) else store.place
    parts = [part for part in np.array_split(row_ids, n_parts) if len(part)]
    found: Moments = reduce(operator.add, (moments for _, moments in on_ray(_Summing(place), parts, 1, address)))
    if found.n != len(row_ids):
        raise StoreError(f"{store.place} was written to while it was read; try again when that is done")
    return found


class _Summing:
    """Sums up rows of a store, which are given by their _rowid."""

    def __init__(self, place: str) -> None:
        self._place = place

    def __call__(self, parts: Sequence[Array]) -> Moments:
        store = EmbeddingStore.open(self._place)

        def blocks() -> Iterator[Array]:
            for row_ids in parts:
                for first in range(0, len(row_ids), _BLOCK_ROWS):
                    yield store.vectors_of(row_ids[first : first + _BLOCK_ROWS])

        return moments_of(blocks())


def on_ray(
    work: Callable[[Sequence[Any]], Any], items: Sequence[Any], n_at_once: int, address: str | None = None
) -> Iterator[tuple[int, Any]]:
    """``work`` on items, some at a time, by workers of a Ray cluster: (how many, what came out), in order."""
    if not items:
        return
    with _running(address) as n_processors:
        import ray
        from ray.util import ActorPool

        n_workers = max(1, min(n_processors, -(-len(items) // n_at_once)))
        parts = [list(items[first : first + n_at_once]) for first in range(0, len(items), n_at_once)]
        actor = ray.remote(max_restarts=-1, max_task_retries=-1, num_cpus=1)(_Calling)
        pool = ActorPool([actor.remote(work) for _ in range(n_workers)])
        yield from pool.map(lambda a, part: a.run.remote(part), parts)


class _Calling:
    """Holds the work of `on_ray`, and the network in it."""

    def __init__(self, work: Callable[[Sequence[Any]], Any]) -> None:
        torch.set_num_threads(1)
        self._work = work

    def run(self, items: Sequence[Any]) -> tuple[int, Any]:
        return len(items), self._work(items)
