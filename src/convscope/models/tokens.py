"""Which places of the image tokens, and maps, stand for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import torch

from .receptive_field import Geometry

Grid: TypeAlias = tuple[int, int]  # (height, width)

# Tokens before those of the patches: of the class, of a distillation, registers.
_PREFIX_AT_MOST = 16
_PREFIX_WITHOUT_MAP = 2  # where no map says how many patches there are: of the class, of a distillation
_STRETCH = 4 / 3  # how far a grid's proportions may be off those of the image
_LOCAL = 0.5  # share of a token's gradient that has to lie at its patch


def _adds_up_to_one(tensor: torch.Tensor) -> bool:
    sums = tensor.detach().float().sum(dim=-1)
    return bool((tensor >= 0).all() and ((sums - 1).abs() < 0.01).all())


class Patches:
    """Tokens of one run, with the graph that leads back to their ``image`` (1, C, H, W)."""

    def __init__(self, image: torch.Tensor, tokens: Mapping[int, torch.Tensor]) -> None:
        self._image = image
        self._tokens = tokens  # (1, T, D) by T: the first that there were so many of

    def are_local(self, n: int, prefix: int, grid: Grid) -> bool:
        """Whether of n tokens those after the prefix depend on the patch of this grid that has their number."""
        tokens = self._tokens.get(n)
        if tokens is None or tokens.grad_fn is None:
            return False
        down, across = (side / places for side, places in zip(self._image.shape[2:], grid, strict=True))
        for row, column in {(0, grid[1] - 1), (grid[0] - 1, 0), (grid[0] // 2, grid[1] // 2)}:
            token = tokens[0, prefix + row * grid[1] + column].square().sum()
            (gradient,) = torch.autograd.grad(token, self._image, retain_graph=True, allow_unused=True)
            if gradient is None or not gradient.any():
                return False
            top, left = math.floor(row * down), math.floor(column * across)
            patch = gradient[..., top : math.ceil(top + down), left : math.ceil(left + across)]
            if patch.abs().sum() < _LOCAL * gradient.abs().sum():
                return False
        return True


class Grids:
    """The grids that have been seen in one run on an image of this ``size``."""

    def __init__(self, size: Sequence[int], patches: Patches | None) -> None:
        self._size, self._patches = (size[0], size[1]), patches
        self._maps: list[Grid] = []
        self._tokens: dict[int, Grid | None] = {}  # by the number of tokens

    def add_map(self, grid: Grid) -> None:
        """A map of so many places has been put out."""
        if not self._tokens and grid[0] * grid[1] > 1:
            self._maps.append(grid)

    def is_channels_last(self, tensor: torch.Tensor, geometry: Geometry) -> bool:
        """Whether (1, a, b, c) are the channels c of a x b places, and not the other way around."""
        if not geometry.whole:
            return geometry.channels_last
        first, last = self._fits(tensor.shape[1:3]), self._fits(tensor.shape[2:4])
        return geometry.channels_last if first == last else first

    def of_tokens(self, n: int, width: int) -> Grid | None:
        """The grid of the patches that the last of n tokens stand for; None where they stand for none."""
        if width in self._tokens and n not in self._tokens:  # (1, D, T), as inside of a mixer
            return None
        if n not in self._tokens:
            self._tokens[n] = self._known_grid(n) or self._cut_grid(n)
        return self._tokens[n]

    def is_of_places(self, tensor: torch.Tensor) -> bool:
        """Whether it holds something at places, and not attention between tokens, or a part of one head."""
        if tensor.ndim == 4:  # (1, heads, T, T), (1, T, T, heads), (1, heads, T, D)
            return not any(n in self._tokens for n in tensor.shape[2:])
        return tensor.shape[2] not in self._tokens or not _adds_up_to_one(tensor)

    def _fits(self, grid: torch.Size) -> bool:
        stretch = (grid[0] * self._size[1]) / (grid[1] * self._size[0])
        return max(stretch, 1 / stretch) < _STRETCH

    def _known_grid(self, n: int) -> Grid | None:
        """That of a map which the tokens were made from, most likely."""
        for prefix in range(_PREFIX_AT_MOST + 1):
            for grid in reversed(self._maps):
                if grid[0] * grid[1] == n - prefix:
                    return grid
        return None

    def _cut_grid(self, n: int) -> Grid | None:
        """Square patches cut from the image without a convolution."""
        for prefix in range(_PREFIX_WITHOUT_MAP + 1):
            for side in range(1, min(self._size) + 1):
                for whole in (math.floor, math.ceil):
                    grid = (whole(self._size[0] / side), whole(self._size[1] / side))
                    fits = 1 < grid[0] * grid[1] == n - prefix
                    if fits and self._patches is not None and self._patches.are_local(n, prefix, grid):
                        return grid
        return None
