"""Turn images of any form into batches of preprocessed tensors; threads decode them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..checks import InputShape, shown
from ..errors import ImageError, NotPicturesError
from ..images import ImageSet, Pixels, load_images, one_image
from .preprocessing import Preprocessing

_WORKERS = max(1, min(4, os.cpu_count() or 1))
_TURN = 16  # batches opened in one turn


@dataclass(frozen=True)
class Batch:
    """``x`` (n, C, H, W) is preprocessed; ``positions`` are the indices of its images among all of the call.

    Signals are (n, C, L), volumes (n, C, D, H, W).

    ``cuts`` are the n pictures it was made from, as cropped by `Preprocessing.fit`; empty for a given tensor.
    """

    x: torch.Tensor
    positions: tuple[int, ...]
    names: tuple[str, ...]
    labels: tuple[str | None, ...]
    cuts: tuple[Pixels, ...] = ()


class Inputs:
    """The images of one call: counted and named at once, but opened and preprocessed batch by batch.

    After iterating, ``skipped`` names the images and folders that could not be read, with the reason, and
    ``notes`` say how the others were found and opened.
    """

    def __init__(self, images: Any, preprocessing: Preprocessing | None, n_sides: int = 2) -> None:
        self.skipped: list[str] = []
        self._preprocessing = preprocessing
        self._tensor: torch.Tensor | None = None
        self._set: ImageSet | None = None
        if isinstance(images, torch.Tensor):
            only = "this model has the preprocessing of pictures" if preprocessing else ""
            self._tensor = check_tensor(images, preprocessing.n_channels if preprocessing else None, pictures=only)
            self.names = names_of(images)
        elif isinstance(images, Mapping):
            raise ImageError(f"{shown(list(images))} are several inputs, and the model has one: {_SEVERAL}")
        else:
            self._set = load_images(images)
            if preprocessing is None:
                raise ImageError(_how_to_give(images, n_sides))
            self.names = self._set.names

    def __len__(self) -> int:
        return len(self.names)

    @property
    def preprocessed(self) -> bool:
        """Whether a tensor was given, whose values are in the network's units."""
        return self._tensor is not None

    @property
    def notes(self) -> tuple[str, ...]:
        """Remarks on how the images were found, and on those opened so far."""
        return () if self._set is None else (*self._set.notes, *self._set.remarks)

    @property
    def shape(self) -> InputShape:
        """(C, H, W) of every preprocessed image, (C, L) of a signal, (C, D, H, W) of a volume."""
        if self._tensor is not None:
            return tuple(self._tensor.shape[1:])
        assert self._preprocessing is not None
        return (self._preprocessing.n_channels, *self._preprocessing.input_size)

    def need_pictures(self, method: str) -> None:
        """`NotPicturesError` for signals and volumes."""
        if len(self.shape) != 3:
            raise NotPicturesError(
                f"{method} needs pictures (N, C, H, W), and was given inputs of shape {self.shape}: occlusion, "
                "rise, saliency, integrated_gradients and the class activation maps take signals and volumes"
            )

    def batches(self, size: int, *, in_turns: bool = False) -> Iterator[Batch]:
        """Batches of at most ``size`` images, opened while the network waits, or while it runs; see `opened`."""
        read = 0
        self.skipped[:] = () if self._set is None else self._set.unreadable
        for batch in self._from_tensor(size) if self._tensor is not None else self._from_files(size, in_turns):
            read += len(batch.names)
            yield batch
        if not read:
            first = self.skipped[len(self._set.unreadable) if self._set else 0]
            raise ImageError(f"none of the {len(self)} images could be read; the first: {first}")

    def _from_tensor(self, size: int) -> Iterator[Batch]:
        assert self._tensor is not None
        for first in range(0, len(self), size):
            # A copy, because a network that begins with an in-place operation would change the caller's tensor;
            # outside inference mode, so that it can be changed later even if the caller is in inference mode.
            with torch.inference_mode(False):
                x = self._tensor[first : first + size].detach().clone()
            places = range(first, first + len(x))
            yield Batch(x, tuple(places), tuple(self.names[i] for i in places), (None,) * len(x))

    def _from_files(self, size: int, in_turns: bool) -> Iterator[Batch]:
        assert self._set is not None
        ready: list[tuple[int, Pixels]] = []
        for i, result in opened(self._open, len(self), size, in_turns=in_turns):
            if isinstance(result, ImageError):
                if not self._set.skip_errors:
                    raise result
                self.skipped.append(str(result))
            else:
                ready.append((i, result))
            if len(ready) == size:
                yield self._collect(ready)
                ready = []
        if ready:
            yield self._collect(ready)

    def _open(self, i: int) -> Pixels | ImageError:
        assert self._set is not None
        assert self._preprocessing is not None
        try:
            return self._preprocessing.fit(self._set[i], self.names[i])
        except ImageError as error:
            return error

    def _collect(self, ready: list[tuple[int, Pixels]]) -> Batch:
        assert self._set is not None
        assert self._preprocessing is not None
        places, cuts = zip(*ready, strict=True)
        return Batch(
            self._preprocessing.normalize(cuts),
            places,
            tuple(self.names[i] for i in places),
            tuple(self._set.sources[i].label for i in places),
            cuts,
        )


def _how_to_give(images: Any, n_sides: int) -> str:
    """What to do where pictures are given to a network without preprocessing, or to one of signals or volumes."""
    if n_sides == 2:
        return (
            "the preprocessing of this network is not known: give input_size=(H, W), mean=[...] and std=[...] to "
            "load_model or Model, or pass a preprocessed tensor (N, C, H, W)"
        )
    what = {1: "signals (N, C, L)", 3: "volumes (N, C, D, H, W)"}[n_sides]
    array = ": torch.from_numpy(array).float()" if isinstance(images, np.ndarray) else ""
    return f"this network takes {what}, and was given what is read as pictures: pass a preprocessed tensor{array}"


_SEVERAL = "give Model(net, inputs={'image': ..., 'meta': ...}), tensors by the names of forward's parameters"
_ANY = "(N, C, H, W) of pictures, (N, C, L) of signals or (N, C, D, H, W) of volumes and video"
_PICTURES_ONLY = {3: "signals (N, C, L) do", 5: "volumes and video (N, C, D, H, W) do"}
ONE_PICTURE = "One picture (C, H, W) is x[None]"


def check_tensor(
    x: torch.Tensor, n_channels: int | None, *, n_images: int | None = None, pictures: str = ""
) -> torch.Tensor:
    """A preprocessed batch of floats, or `ImageError`.

    Args:
        x: (N, C, H, W); or signals (N, C, L), volumes (N, C, D, H, W).
        n_channels: C, if it is known.
        n_images: N, if it is known.
        pictures: why only pictures will do, or "".
    """
    if not (x.ndim == 4 or (x.ndim in (3, 5) and not pictures)) or 0 in x.shape:
        only = f"; {_PICTURES_ONLY[x.ndim]} not fit: {pictures}" if pictures and x.ndim in _PICTURES_ONLY else ""
        one = f" {ONE_PICTURE}." if x.ndim in (2, 3) else ""
        raise ImageError(
            f"a tensor of shape {tuple(x.shape)}; a preprocessed batch is {'(N, C, H, W)' if pictures else _ANY}"
            f"{only}.{one} For pictures that are not preprocessed, pass an array (H, W, C), a PIL image or a path"
        )
    if x.layout != torch.strided or x.is_meta:
        kind = "on the meta device, without values" if x.is_meta else f"of layout {x.layout}"
        raise ImageError(f"a tensor {kind}; a preprocessed batch is dense, such as x.to_dense() gives")
    if not x.is_floating_point():
        raise ImageError(f"a tensor of {x.dtype}; a preprocessed batch is floating-point")
    if n_channels is not None and x.shape[1] != n_channels:
        raise ImageError(f"a tensor of {x.shape[1]} channels, but the network takes {n_channels}")
    if n_images is not None and len(x) != n_images:
        raise ImageError(f"a tensor of {len(x)} images; expected {n_images}")
    if not bool(torch.isfinite(x).all()):
        raise ImageError("the tensor holds NaN or infinite values")
    return x


def names_of(x: torch.Tensor, first: int = 0) -> tuple[str, ...]:
    """The names of preprocessed images, signals or volumes, counted from ``first``."""
    what = {3: "signal", 5: "volume"}.get(x.ndim, "image")
    return tuple(f"{what} {first + i}" for i in range(len(x)))


def opened(run: Callable[[int], Any], n: int, size: int, *, in_turns: bool) -> Iterator[tuple[int, Any]]:
    """(0, run(0)), (1, run(1)), ... computed by threads for a network that takes ``size`` at a time.

    ``in_turns``: threads open some batches, then the network has the processors for itself. On a CPU, threads that
    open images while the network runs would make its own threads wait for one another. Otherwise threads open
    images while the network runs, two batches ahead. Each call of ``run`` keeps its share of the memory for images
    (`one_image`) until it returns.
    """

    def run_one(i: int) -> Any:
        with one_image():
            return run(i)

    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="convscope-open") as pool:
        if in_turns:
            for first in range(0, n, _TURN * size):
                places = range(first, min(n, first + _TURN * size))
                yield from zip(places, list(pool.map(run_one, places)), strict=True)
            return
        waiting: deque[tuple[int, Future[Any]]] = deque()
        try:
            for i in range(n):
                waiting.append((i, pool.submit(run_one, i)))
                if len(waiting) > 2 * size:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()
