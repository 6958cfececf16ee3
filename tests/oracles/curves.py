"""Deletion and insertion as the paper says it, pixel by pixel, one forward pass a point."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch


def curves(
    score: Callable[[torch.Tensor], float], image: torch.Tensor, behind: torch.Tensor, rank: np.ndarray, steps: int
) -> tuple[list[float], list[float]]:
    """image and behind (C, H, W), rank (H, W) with 0 for the highest pixel -> the scores at 0 .. steps."""
    height, width = rank.shape
    deletion, insertion = [], []
    for k in range(steps + 1):
        without, only = image.clone(), behind.clone()
        for y in range(height):
            for x in range(width):
                if rank[y, x] < round(k / steps * height * width):
                    without[:, y, x] = behind[:, y, x]
                    only[:, y, x] = image[:, y, x]
        deletion.append(score(without))
        insertion.append(score(only))
    return deletion, insertion


def area(curve: list[float]) -> float:
    """By trapezoids, over a share from 0 to 1."""
    steps = len(curve) - 1
    return sum((curve[k] + curve[k + 1]) / 2 / steps for k in range(steps))
