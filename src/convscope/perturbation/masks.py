"""Masks: windows on a grid, superpixels, or the user's own."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import Any, Literal, TypeAlias

import numpy as np
import torch

from ..checks import Pair, Sides, as_sides
from ..errors import ParameterError
from ..incremental import IntArray
from ..results import Array

Shape: TypeAlias = Literal["rectangle", "ellipse", "superpixel"]

_AT_ONCE = 64


@dataclass(frozen=True)
class Masks:
    """M masks (H, W), True where the image is hidden; made on request, never all at once.

    Those of signals are (L,), of volumes (D, H, W).
    """

    n: int
    some: Callable[[IntArray], torch.Tensor]  # from m numbers to the masks with these numbers, (m, H, W)

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[tuple[IntArray, torch.Tensor]]:
        """Numbers and masks, batch by batch."""
        for first in range(0, self.n, _AT_ONCE):
            numbers = np.arange(first, min(first + _AT_ONCE, self.n))
            yield numbers, self.some(numbers)

    @cached_property
    def rectangles(self) -> IntArray:
        """The rectangle around each mask, (M, 4): top, left, bottom, right; the last two are not included.

        For signals and volumes (M, 2 * sides): where it starts along each side, then where it ends.
        """
        return np.concatenate([_around(masks.numpy()) for _, masks in self])


def _around(masks: Array) -> IntArray:
    """The rectangle around each of these masks (m, H, W); a single pixel for a mask that hides nothing."""
    first, last = [], []
    for side in range(1, masks.ndim):
        hidden = np.asarray(masks.any(axis=tuple(axis for axis in range(1, masks.ndim) if axis != side)))
        start = hidden.argmax(axis=1)
        end = np.where(hidden.any(axis=1), hidden.shape[1] - hidden[:, ::-1].argmax(axis=1), 1)
        first.append(start)
        last.append(end)
    return np.stack([*first, *last], axis=1)


def windows(size: Sides, window: Sides, stride: Sides, *, shape: str = "rectangle") -> Masks:
    """Windows on a grid, row by row.

    Windows start at 0, stride, 2 * stride, ...; the last one reaches the border and is cut there. An ellipse is
    inscribed in its window.
    """
    every = [torch.tensor(starts(*side), device="cpu") for side in zip(size, window, stride, strict=True)]
    places = torch.cartesian_prod(*every).reshape(-1, len(size))
    steps = [torch.arange(length, device="cpu") for length in size]

    def some(numbers: IntArray) -> torch.Tensor:
        # (m, side) for each side: pixels behind the window's start.
        behind = [step[None, :] - places[numbers, n : n + 1] for n, step in enumerate(steps)]
        if shape == "ellipse":
            # Pixel centers relative to the center of the window, in units of its half-axes.
            off = [(at + 0.5) / (length / 2) - 1 for at, length in zip(behind, window, strict=True)]
            return _combined([at**2 for at in off], operator.add) <= 1
        inside = [(at >= 0) & (at < length) for at, length in zip(behind, window, strict=True)]
        return _combined(inside, operator.and_)

    return Masks(len(places), some)


def _combined(sides: Sequence[torch.Tensor], combine: Callable[[Any, Any], Any]) -> torch.Tensor:
    """From what holds at the places along each side, (m, side), to what holds at each pixel, (m, *sides)."""
    spread = [
        values.view(len(values), *(1,) * n, -1, *(1,) * (len(sides) - n - 1)) for n, values in enumerate(sides)
    ]
    found: torch.Tensor = reduce(combine, spread)
    return found


def starts(length: int, window: int, stride: int) -> list[int]:
    """The positions along one side at which windows start, so that they cover every pixel."""
    return list(range(0, max(length - window, 0) + stride, stride))


def superpixels(pixels: Array, window: Pair) -> Masks:
    """One mask per SLIC superpixel of a picture (H, W, 3); about as many as windows that tile the picture.

    Source: Achanta et al., SLIC superpixels, 2012, as scikit-image computes it (compactness 10).
    """
    from skimage.segmentation import slic

    height, width = pixels.shape[:2]
    n_segments = max(1, round(height * width / (window[0] * window[1])))
    labels = slic(pixels, n_segments=n_segments, compactness=10, start_label=0)
    return segments(np.asarray(labels))


def segments(labels: Array) -> Masks:
    """One mask per number in a label image (H, W)."""
    numbers, numbered = np.unique(labels, return_inverse=True)
    places = torch.from_numpy(numbered.reshape(labels.shape))

    return Masks(len(numbers), lambda some: places[None] == torch.from_numpy(some)[:, None, None])


def given(masks: Array, size: Sides) -> Masks:
    """The user's own masks, booleans (M, H, W)."""
    if masks.shape[1:] != size or not len(masks):
        raise ParameterError(
            f"masks of shape {masks.shape}; expected (M, {', '.join(map(str, size))}), M at least 1"
        )
    if masks.dtype != np.bool_:
        raise ParameterError(f"masks of {masks.dtype}; expected booleans, True where the image is hidden")
    return Masks(len(masks), lambda numbers: torch.from_numpy(masks[numbers]))


def tried_windows(size: Sides) -> list[int | Sides]:
    """Windows worth trying on an image (H, W): 16, 24, 32, 48 and 64 px for 224 px, scaled for other sizes.

    Of a volume, whose sides may differ much, and which many small windows would fill: a 6th, a quarter and a third
    of each side.
    """
    if len(size) == 3:
        parts = [tuple(max(1, round(share * side)) for side in size) for share in (1 / 6, 1 / 4, 1 / 3)]
        return list(dict.fromkeys(parts))
    return sorted({max(1, round(share * min(size))) for share in (1 / 14, 3 / 28, 1 / 7, 3 / 14, 2 / 7)})


def check_windows(
    size: Sides, window: int | Sides | None, stride: int | Sides | None, patch: Pair = (1, 1)
) -> tuple[Sides, Sides]:
    """Window and stride along each side; by default that of `_usual` and half the window.

    Defaults are whole numbers of patches (height, width), for a network that sees the image in patches.
    """
    patches = patch if len(size) == 2 else (1,) * len(size)
    if window is None:
        window = tuple(_in_patches(side, of, round) for side, of in zip(_usual(size), patches, strict=True))
    window = as_sides(window, "window", len(size))
    if stride is None:
        stride = tuple(_half(side, of) for side, of in zip(window, patches, strict=True))
    stride = as_sides(stride, "stride", len(size))
    if any(of > whole for of, whole in zip(window, size, strict=True)):
        raise ParameterError(f"window={window}: larger than the image the network sees, {size}")
    if any(step > of for step, of in zip(stride, window, strict=True)):
        raise ParameterError(f"stride={stride}: larger than window={window}, so some pixels would not be covered")
    return window, stride


def _usual(size: Sides) -> Sides:
    """Of a picture 32 px but at most a quarter of the side, of a signal a 16th, of a volume a quarter."""
    if len(size) == 2:
        return tuple(min(32, max(1, side // 4)) for side in size)
    return tuple(max(1, side // (16 if len(size) == 1 else 4)) for side in size)


def _in_patches(length: float, patch: int, rounded: Callable[[float], int]) -> int:
    return max(1, rounded(length / patch)) * patch


def _half(window: int, patch: int) -> int:
    """Half a window, in whole patches if the window consists of them."""
    return max(1, window // 2) if window % patch else _in_patches(window / 2, patch, math.floor)
