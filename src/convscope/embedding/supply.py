"""What is embedded: files, which threads open, or tensors that are preprocessed already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import torch
from torch.utils.data import DataLoader

from ..checks import InputShape
from ..errors import ImageError
from ..execution.running import refuse_where_it_cannot_run
from ..images import ImageSet, ImageSource, load_images
from ..models import Model, check_tensor, names_of, opened
from ..results import Array
from ..store.keys import as_key, digest_of, key_of, stamp_of
from ..store.lance import as_place
from ..store.thumbnails import encode, thumbnail_of
from .features import Features
from .reading import Picture, read, read_for_store


@dataclass(frozen=True)
class Group:
    """Some pictures, and the network's input ``x`` for those without an error; ``n_done`` images are done then."""

    pictures: Sequence[Picture]
    x: torch.Tensor | None
    n_done: int
    n_all: int


class Keeper(AbstractContextManager[object], Protocol):
    """Says which images are to be embedded, and keeps their vectors.

    Memory takes all images, a store those that it does not hold yet. When the context ends, by an error or Ctrl-C
    too, nothing that was computed is lost.
    """

    def select(self, images: ImageSet) -> tuple[ImageSet, int]:
        """The images to open, and how many need not be opened."""

    def wants(self, picture: Picture) -> bool:
        """Whether an image that was read is to be kept."""

    def keep(self, pictures: Sequence[Picture], features: Features | None) -> None:
        """Take pictures, and the features of those without an error, in the same order."""


@dataclass(frozen=True)
class Files:
    """Images that threads open and preprocess; or, ``one_by_one``, the calling thread, as in a worker of Ray."""

    images: ImageSet
    model: Model
    for_store: bool
    one_by_one: bool = False
    has_pictures = True

    @property
    def shape(self) -> InputShape:
        return self.model.input_shape()

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on how the images were found and opened; complete once all are opened."""
        return (*self.images.notes, *self.images.remarks)

    def __len__(self) -> int:
        return len(self.images)

    def groups(self, size: int, keeper: Keeper) -> Iterator[Group]:
        """Groups of ``size`` readable images; the last may have fewer, or none."""
        todo, n_known = keeper.select(self.images)
        n_all, pictures, pixels = n_known + len(todo), list[Picture](), list[Array]()
        preprocessing = self.model.preprocessing
        assert preprocessing is not None
        for i, picture in self._read(todo, size):
            if picture.error is not None and not self.images.skip_errors:
                raise picture.error
            if keeper.wants(picture):
                pictures.append(replace(picture, pixels=None))
                if picture.pixels is not None:
                    pixels.append(picture.pixels)
            if len(pixels) == size:
                yield Group(pictures, preprocessing.normalize(pixels), n_known + i + 1, n_all)
                pictures, pixels = [], []
        yield Group(pictures, preprocessing.normalize(pixels) if pixels else None, n_all, n_all)

    def _read(self, images: ImageSet, size: int) -> Iterator[tuple[int, Picture]]:
        preprocessing, read_one = self.model.preprocessing, read_for_store if self.for_store else read
        assert preprocessing is not None

        def run(i: int) -> Picture:
            return read_one(images.sources[i], preprocessing, images)

        if self.one_by_one:
            return ((i, run(i)) for i in range(len(images)))
        return opened(run, len(images), size, in_turns=self.model.device.type == "cpu")


class Tensors:
    """Preprocessed images: a tensor (N, C, H, W), or a loader of batches, with labels or without.

    Signals have no pictures, volumes that of their middle plane, several inputs that of an image among them.
    """

    def __init__(self, images: torch.Tensor | DataLoader[Any], model: Model, for_store: bool) -> None:
        self._model, self._for_store = model, for_store
        self._classes: Sequence[str] = ()
        if isinstance(images, torch.Tensor):
            self._batches: Any = [images]
            first = check_tensor(images, None)
            self._n = len(images)
        else:
            self._batches = images
            self._n = len(images.dataset)  # type: ignore[arg-type]
            self._classes = getattr(images.dataset, "classes", ())
            found = next((_with_labels(batch)[0] for batch in images), None)
            if found is None:
                raise ImageError("the loader has no batches")
            first = found
        self.shape = model.inputs(first).shape
        packing = model.packing
        # A network of signals may begin with a spectrogram, whose channels are others.
        self._n_channels = model.n_channels if packing is None and len(self.shape) == 3 else None
        sides = self.shape if packing is None else packing.shapes[packing.picture]
        self.has_pictures = len(sides) > 2
        planes = "thumbnails and pixel space are those of the middle planes of volumes"
        self.notes: tuple[str, ...] = (planes,) if len(self.shape) == 4 else ()

    def __len__(self) -> int:
        return self._n

    def groups(self, size: int, keeper: Keeper) -> Iterator[Group]:
        """Groups as `Files.groups` yields them."""
        n_done = 0
        for batch in self._batches:
            every, labels = _with_labels(batch)
            for first in range(0, len(every), size):
                # A copy, as a network that begins with an in-place operation would change the caller's tensor.
                # Also where the caller is in inference mode, a tensor that may be changed outside of it.
                with torch.inference_mode(False):
                    some = every[first : first + size]
                    x = check_tensor(some, self._n_channels).detach().clone()
                marks = [None] * len(x) if labels is None else labels[first : first + size]
                pictures = self._pictures(x, marks, n_done)
                n_done += len(x)
                wanted = [i for i, picture in enumerate(pictures) if keeper.wants(picture)]
                if wanted:
                    yield Group([pictures[i] for i in wanted], x[wanted], n_done, self._n)
        yield Group([], None, self._n, self._n)

    def _pictures(self, x: torch.Tensor, labels: Sequence[Any], first: int) -> list[Picture]:
        found = []
        shown = self._model.to_pixels(x) if self.has_pictures else [None] * len(x)
        for i, (name, pixels, label) in enumerate(zip(names_of(x, first), shown, labels, strict=True)):
            if isinstance(label, int) and label < len(self._classes):
                label = self._classes[label]
            thumbnail = None
            if pixels is not None:
                thumbnail = thumbnail_of(pixels[len(pixels) // 2] if pixels.ndim == 4 else pixels)
            picture = Picture(name, None if label is None else str(label), thumbnail=thumbnail)
            found.append(_for_store(picture, x[i]) if self._for_store else picture)
        return found


Supply: TypeAlias = Files | Tensors


def supply_of(model: Model, images: Any, store: str | Path | None = None) -> Supply:
    """The images to embed, into memory or into the store at a place; nothing is opened yet."""
    refuse_where_it_cannot_run(model.module)
    if isinstance(images, torch.Tensor | DataLoader):
        return Tensors(images, model, store is not None)
    found = load_images(images)
    model.inputs(found)  # says what to do where there is no preprocessing
    return Files(found if store is None else keyed(found, store), model, store is not None)


def keyed(images: ImageSet, place: str | Path) -> ImageSet:
    """Images by the keys of a store, each once; the key of a file is its absolute path.

    If the store lies in the folder of the images, its own files are left out.
    """
    own = os.path.join(os.path.abspath(as_place(place)), "")
    found: dict[str, ImageSource] = {}
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


def _with_labels(batch: Any) -> tuple[torch.Tensor, Any]:
    if isinstance(batch, torch.Tensor):
        return batch, None
    if isinstance(batch, Sequence) and len(batch) == 2 and isinstance(batch[0], torch.Tensor):
        return batch[0], batch[1].tolist() if isinstance(batch[1], torch.Tensor) else list(batch[1])
    raise ImageError(f"a loader of {type(batch).__name__}; expected tensors (N, C, H, W), or pairs with labels")


def _for_store(picture: Picture, x: torch.Tensor) -> Picture:
    values = x.cpu().numpy()
    about = replace(picture, stamp=stamp_of(values), id=digest_of(values))
    if picture.thumbnail is None:
        return about
    return replace(about, size=(x.shape[-2], x.shape[-1]), jpeg=encode(picture.thumbnail))
