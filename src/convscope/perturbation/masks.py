"""Masks: windows on a grid, superpixels, or the user's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import torch

from ..checks import Pair, as_pair
from ..errors import ParameterError
from ..incremental import IntArray
from ..results import Array

Shape: TypeAlias = Literal["rectangle", "ellipse", "superpixel"]

_AT_ONCE = 64


@dataclass(frozen=True)
class Masks:
    """M masks (H, W), True where the image is hidden; made on request, never all at once."""

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
        """The rectangle around each mask, (M, 4): top, left, bottom, right; the last two are not included."""
        return np.concatenate([_around(masks.numpy()) for _, masks in self])


def _around(masks: Array) -> IntArray:
    """The rectangle around each of these masks (m, H, W); a single pixel for a mask that hides nothing."""
    sides = []
    for hidden in (np.asarray(masks.any(axis=2)), np.asarray(masks.any(axis=1))):
        start = hidden.argmax(axis=1)
        end = np.where(hidden.any(axis=1), hidden.shape[1] - hidden[:, ::-1].argmax(axis=1), 1)
        sides.append((start, end))
    (top, bottom), (left, right) = sides
    return np.stack([top, left, bottom, right], axis=1)


def windows(size: Pair, window: Pair, stride: Pair, *, shape: str = "rectangle") -> Masks:
    """Windows on a grid, row by row.

    Windows start at 0, stride, 2 * stride, ...; the last one reaches the border and is cut there. An ellipse is
    inscribed in its window.
    """
    tops, lefts = starts(size[0], window[0], stride[0]), starts(size[1], window[1], stride[1])
    places = torch.cartesian_prod(*(torch.tensor(v, device="cpu") for v in (tops, lefts))).reshape(-1, 2)
    rows, columns = (torch.arange(length, device="cpu") for length in size)

    def some(numbers: IntArray) -> torch.Tensor:
        down = rows[None, :] - places[numbers, :1]  # (m, H): rows below the window's top
        right = columns[None, :] - places[numbers, 1:]
        if shape == "ellipse":
            # Pixel centers relative to the center of the window, in units of its half-axes.
            y = (down + 0.5) / (window[0] / 2) - 1
            x = (right + 0.5) / (window[1] / 2) - 1
            return (y**2)[:, :, None] + (x**2)[:, None, :] <= 1
        inside_y = (down >= 0) & (down < window[0])
        inside_x = (right >= 0) & (right < window[1])
        return inside_y[:, :, None] & inside_x[:, None, :]

    return Masks(len(places), some)


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


def given(masks: Array, size: Pair) -> Masks:
    """The user's own masks, booleans (M, H, W)."""
    if masks.ndim != 3 or masks.shape[1:] != size or not len(masks):
        raise ParameterError(f"masks of shape {masks.shape}; expected (M, {size[0]}, {size[1]}), M at least 1")
    if masks.dtype != np.bool_:
        raise ParameterError(f"masks of {masks.dtype}; expected booleans, True where the image is hidden")
    return Masks(len(masks), lambda numbers: torch.from_numpy(masks[numbers]))


def tried_windows(size: Pair) -> list[int]:
    """Windows worth trying on an image (H, W): 16, 24, 32, 48 and 64 px for 224 px, scaled for other sizes."""
    return sorted({max(1, round(share * min(size))) for share in (1 / 14, 3 / 28, 1 / 7, 3 / 14, 2 / 7)})


def check_windows(
    size: Pair, window: int | Pair | None, stride: int | Pair | None, patch: Pair = (1, 1)
) -> tuple[Pair, Pair]:
    """Window and stride as pairs; by default 32 px but at most a quarter of the side, and half the window.

    Defaults are whole numbers of patches (height, width), for a network that sees the image in patches.
    """
    if window is None:
        near = [min(32, max(1, side // 4)) for side in size]
        window = _in_patches(near[0], patch[0], round), _in_patches(near[1], patch[1], round)
    window = as_pair(window, "window")
    if stride is None:
        stride = _half(window[0], patch[0]), _half(window[1], patch[1])
    stride = as_pair(stride, "stride")
    if window[0] > size[0] or window[1] > size[1]:
        raise ParameterError(f"window={window}: larger than the image the network sees, {size}")
    if stride[0] > window[0] or stride[1] > window[1]:
        raise ParameterError(f"stride={stride}: larger than window={window}, so some pixels would not be covered")
    return window, stride


def _in_patches(length: float, patch: int, rounded: Callable[[float], int]) -> int:
    return max(1, rounded(length / patch)) * patch


def _half(window: int, patch: int) -> int:
    """Half a window, in whole patches if the window consists of them."""
    return max(1, window // 2) if window % patch else _in_patches(window / 2, patch, math.floor)
