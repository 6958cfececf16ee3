"""Fill a store on this machine: what is in it is left out, what was computed is kept whatever happens."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch.utils.data import DataLoader

from ..errors import ImageError
from ..execution import check_weights, in_batches
from ..images import ImageSet, Source, load_images
from ..models import Inputs, Model, check_tensor, opened
from ..progress import Progress
from ..results import Array
from ..store import EmbeddingStore, VectorType
from ..store.account import Account, Changes
from ..store.keys import as_key, digest_of, key_of, stamp_of
from ..store.lance import as_place
from ..store.thumbnails import encode
from .features import Precision, batch_size, choose_layer, extracting, thumbnails_of
from .origins import origin_for
from .rows import Picture, read, table_of

# Pictures, and what the network takes in for those of them that could be read.
Group: TypeAlias = tuple[list[Picture], torch.Tensor | None]

WRITE_ROWS = 256  # rows that are written at once ...
WRITE_SECONDS = 10.0  # ... or what was computed in this time: so much is computed again after a kill


def fill(
    place: str | Path,
    model: Model,
    images: Any,
    *,
    layer: str | None = None,
    vectors: VectorType = "float32",
    precision: Precision = "float32",
    compiled: bool = False,
    progress: Progress | None = None,
) -> EmbeddingStore:
    """Embed the images that are not in a store yet, or have changed since, into it; see `convscope.embed`."""
    is_ready = isinstance(images, torch.Tensor | DataLoader)
    supply = _Tensors(model, images) if is_ready else _Files(model, images, place)
    found = choose_layer(model, supply.shape, layer)
    store = EmbeddingStore.create(place, origin_for(model, found.name, precision), found.shape[0], vectors=vectors)
    store.model = model
    schema = store.schema
    written = time.monotonic()
    rows: list[Any] = []  # Arrow tables, until they are written

    def write() -> None:
        import pyarrow as pa

        made = [rows.pop(0) for _ in range(len(rows))]  # so that none is written a second time after an error
        check_weights(model.module)  # or the store would hold vectors of two networks
        if made:
            store.write(pa.concat_tables(made))

    size = batch_size(model, supply.shape, precision, compiled)
    extraction = extracting(model, found, supply.shape, scores=True, precision=precision, compiled=compiled)
    with extraction as extract:

        def add(pictures: Sequence[Picture], x: torch.Tensor | None) -> None:
            if not pictures:
                return
            features = None if x is None else extract(x)
            rows.append(table_of(pictures, features, model.labels or (), schema))

        def add_readable(pictures: Sequence[Picture], x: torch.Tensor) -> None:
            for _ in in_batches(len(x), len(x), lambda first, end: add(pictures[first:end], x[first:end])):
                pass

        try:
            for done, (pictures, x) in supply.groups(store, size):
                if x is None:
                    add(pictures, None)
                else:
                    add_readable([picture for picture in pictures if picture.error is None], x)
                    add([picture for picture in pictures if picture.error is not None], None)
                if sum(map(len, rows)) >= WRITE_ROWS or time.monotonic() - written > WRITE_SECONDS:
                    write()
                    written = time.monotonic()
                if progress:
                    progress(done, supply.n)
        finally:  # also on Ctrl-C
            write()
    store.changes = supply.changes()
    if progress:
        progress(supply.n, supply.n)
    store.compact()
    return store


def keyed(images: ImageSet, place: str | Path) -> ImageSet:
    """Images as they are keyed in a store: files by their whole path wherever one stands, and each of them once.

    The store's own files, where it stands in the folder of the images, are none of them.
    """
    own = os.path.join(os.path.abspath(as_place(place)), "")
    found: dict[str, Source] = {}
    twice: dict[str, str | None] = {}
    for source in images.sources:
        name = source.name
        if isinstance(source.content, Path):
            name = key_of(source.content)
            if name.startswith(own):
                continue
        elif name in found:
            raise ImageError(f"two images are called {name!r}, which is the key of a row; give files")
        name = as_key(name)
        if name in found and found[name].label != source.label:
            twice[name] = source.label
        found.setdefault(name, replace(source, name=name))
    notes = [
        f"{len(twice)} files have two labels, and keep the first: {name} is {found[name].label!r} and {label!r}"
        for name, label in list(twice.items())[:1]
    ]
    return images.of(list(found.values())).noted(notes)


class _Files:
    """Images that are opened and preprocessed by threads."""

    def __init__(self, model: Model, images: Any, place: str | Path) -> None:
        self._set = keyed(load_images(images), place)
        self._inputs = Inputs(self._set, model.preprocessing)  # says what to do where there is no preprocessing
        assert model.preprocessing is not None
        self._preprocessing = model.preprocessing
        self._in_turns = model.device.type == "cpu"
        self.shape = self._inputs.shape
        self.n = len(self._set)

    def groups(self, store: EmbeddingStore, size: int) -> Iterator[tuple[int, Group]]:
        """How many images are done, and the next group, without those that the store knows."""
        self._account = account = Account(store, self._set)
        todo, n_known, pictures = account.todo, self.n - len(account.todo), list[Picture]()

        def open_one(i: int) -> Picture:
            return read(todo[i], self._preprocessing, account.images)

        for i, picture in opened(open_one, len(todo), size, in_turns=self._in_turns):
            if picture.error is not None and not self._set.skip_errors:
                raise ImageError(picture.error)
            if account.is_to_be_written(picture.path, picture.stamp, picture.error):
                pictures.append(picture)
            if len(pictures) == size or i == len(todo) - 1:
                fitted = [p.pixels for p in pictures if p.pixels is not None]
                x = self._preprocessing.normalize(fitted) if fitted else None
                yield n_known + i + 1, (pictures, x)
                pictures = []

    def changes(self) -> Changes:
        return self._account.closed()


class _Tensors:
    """Preprocessed images: a tensor (N, C, H, W), or a loader of batches, with labels or without."""

    def __init__(self, model: Model, images: torch.Tensor | DataLoader[Any]) -> None:
        self._model = model
        self._n_new = self._n_changed = 0
        if isinstance(images, torch.Tensor):
            self._batches: Any = [images]
            self.n, first = len(images), images
            self._classes: Sequence[str] = ()
        else:
            self._batches = images
            self.n = len(images.dataset)  # type: ignore[arg-type]
            self._classes = getattr(images.dataset, "classes", ())
            found = next((self._split(batch)[0] for batch in images), None)
            if found is None:
                raise ImageError("the loader has no batches")
            first = found
        channels, height, width = check_tensor(first, model.n_channels).shape[1:]
        self.shape = (channels, height, width)

    def groups(self, store: EmbeddingStore, size: int) -> Iterator[tuple[int, Group]]:
        known, done = store.by_path("stamp"), 0
        for batch in self._batches:
            every, labels = self._split(batch)
            for part in range(0, len(every), size):
                x = check_tensor(every[part : part + size], self._model.n_channels).detach().clone()
                thumbnails = thumbnails_of(self._model, x)
                pictures = [
                    self._picture(done + i, x[i], thumbnails[i], None if labels is None else labels[part + i])
                    for i in range(len(x))
                ]
                done += len(x)
                new = [i for i, p in enumerate(pictures) if known.get(p.path, "") != p.stamp]
                self._n_changed += sum(pictures[i].path in known for i in new)
                self._n_new += sum(pictures[i].path not in known for i in new)
                if new:
                    yield done, ([pictures[i] for i in new], x[new])

    def changes(self) -> Changes:
        return Changes(self.n, self._n_new, self._n_changed)

    def _split(self, batch: Any) -> tuple[torch.Tensor, Any]:
        if isinstance(batch, torch.Tensor):
            return batch, None
        if isinstance(batch, Sequence) and len(batch) == 2 and isinstance(batch[0], torch.Tensor):
            return batch[0], batch[1].tolist() if isinstance(batch[1], torch.Tensor) else list(batch[1])
        raise ImageError(
            f"a loader of {type(batch).__name__}; expected tensors (N, C, H, W), or pairs with labels"
        )

    def _picture(self, i: int, x: torch.Tensor, thumbnail: Array, label: Any) -> Picture:
        if isinstance(label, int) and label < len(self._classes):
            label = self._classes[label]
        digest = digest_of(x.cpu().numpy())
        name = None if label is None else str(label)
        stamp, size = stamp_of(x.cpu().numpy()), (x.shape[1], x.shape[2])
        return Picture(f"image {i}", name, stamp, digest, size, thumbnail=encode(thumbnail))
