"""Occlusion as the definition says it, pixel by pixel and window by window, one forward pass each."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch


def occlusion(
    score: Callable[[torch.Tensor], float],
    image: torch.Tensor,
    window: tuple[int, int],
    stride: tuple[int, int],
    filler: torch.Tensor,
) -> np.ndarray:
    """image and filler (C, H, W) -> (H, W)."""
    _, height, width = image.shape
    whole = score(image)
    drops: list[list[list[float]]] = [[[] for _ in range(width)] for _ in range(height)]
    top = 0
    while True:
        left = 0
        while True:
            hidden = image.clone()
            pixels = [
                (y, x)
                for y in range(top, min(top + window[0], height))
                for x in range(left, min(left + window[1], width))
            ]
            for y, x in pixels:
                hidden[:, y, x] = filler[:, y, x]
            drop = whole - score(hidden)
            for y, x in pixels:
                drops[y][x].append(drop)
            if left + window[1] >= width:
                break
            left += stride[1]
        if top + window[0] >= height:
            break
        top += stride[0]
    return np.array([[sum(d) / len(d) for d in row] for row in drops])


def occlusion_any(
    score: Callable[[torch.Tensor], float],
    image: torch.Tensor,
    window: tuple[int, ...],
    stride: tuple[int, ...],
    filler: torch.Tensor,
) -> np.ndarray:
    """The same for any number of sides: image and filler (C, *sides) -> (*sides), place by place."""
    sides = image.shape[1:]
    whole = score(image)
    drops: dict[tuple[int, ...], list[float]] = {place: [] for place in itertools.product(*map(range, sides))}
    starts = [
        [at for at in range(0, length, step) if at == 0 or at - step + extent < length]
        for length, extent, step in zip(sides, window, stride, strict=True)
    ]
    for corner in itertools.product(*starts):
        inside = [
            range(at, min(at + extent, length)) for at, extent, length in zip(corner, window, sides, strict=True)
        ]
        hidden = image.clone()
        for place in itertools.product(*inside):
            hidden[(slice(None), *place)] = filler[(slice(None), *place)]
        drop = whole - score(hidden)
        for place in itertools.product(*inside):
            drops[place].append(drop)
    return np.array([np.mean(drops[place]) for place in itertools.product(*map(range, sides))]).reshape(sides)
