"""Which part of the image each token, or each position of a map, represents."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import torch

from .receptive_field import Geometry

Grid: TypeAlias = tuple[int, ...]  # places along each side; those of tokens are (height, width)

# Tokens before those of the patches: a class token, a distillation token, registers.
_PREFIX_AT_MOST = 16
_PREFIX_WITHOUT_MAP = 2  # if no map shows how many patches there are: a class token, a distillation token
_STRETCH = 4 / 3  # how far a grid's proportions may differ from the image's
_LOCAL = 0.5  # more than this share of a local token's gradient lies at its patch


def _adds_up_to_one(tensor: torch.Tensor) -> bool:
    sums = tensor.detach().float().sum(dim=-1)
    return bool((tensor >= 0).all() and ((sums - 1).abs() < 0.01).all())


class Patches:
    """Tokens of one run, with the autograd graph back to their ``image`` (1, C, H, W)."""

    def __init__(self, image: torch.Tensor, tokens: Mapping[int, torch.Tensor]) -> None:
        self._image = image
        self._tokens = tokens  # T -> the first tokens (1, T, D) of the run

    def are_local(self, n: int, prefix: int, grid: Grid) -> bool:
        """Whether each of n tokens, after the prefix, depends mostly on the patch of the grid with its number."""
        tokens = self._tokens.get(n)
        if tokens is None or tokens.grad_fn is None:
            return False
        places = _some_places(grid)
        with torch.enable_grad():
            values = [tokens[0, prefix + row * grid[1] + column] for row, column in places]
        shares = [_share_at(v, self._image, grid, place)[0] for v, place in zip(values, places, strict=True)]
        return all(share > _LOCAL for share in shares)


def lie_in_place(maps: torch.Tensor, image: torch.Tensor) -> bool:
    """Whether values in maps (1, K, *grid) depend more on their own part of the image than on an average part.

    After attention every value depends on the whole image; this still distinguishes maps in the image's order from
    maps whose positions are permuted.
    """
    grid = tuple(maps.shape[2:])
    places = _some_places(grid)
    values = maps[0].flatten(1)  # of each channel, one place after another
    numbers = [int(np.ravel_multi_index(place, grid)) for place in places]
    found = [_share_at(values[:, n], image, grid, place) for n, place in zip(numbers, places, strict=True)]
    return sum(share >= mean for share, mean in found) > len(places) / 2


def _some_places(grid: Grid) -> list[Grid]:
    """Positions on and between the borders: in any order but row by row, most of them lie elsewhere."""
    sides = [sorted({0, n // 3, (2 * n) // 3, n - 1}) for n in grid]
    every = [
        tuple(side[i] for side, i in zip(sides, numbers, strict=True))
        for numbers in itertools.product(*(range(len(side)) for side in sides))
        if len(grid) == 1 or sum(numbers) % 2
    ]
    return every[:: math.ceil(len(every) / 8) or 1][:7]


def _share_at(values: torch.Tensor, image: torch.Tensor, grid: Grid, place: Grid) -> tuple[float, float]:
    """The share of the values' gradient at their place in the image (1, C, *sides), and an average place's."""
    with torch.enable_grad():
        total = values.float().square().sum()
    (gradient,) = torch.autograd.grad(total, image, retain_graph=True, allow_unused=True)
    if gradient is None or not gradient.any():
        return 0.0, 0.0
    here: tuple[slice, ...] = tuple(
        slice(math.floor(at * side / n), math.ceil((at + 1) * side / n))
        for at, side, n in zip(place, image.shape[2:], grid, strict=True)
    )
    magnitude = gradient.float().abs().sum(dim=(0, 1))
    patch = magnitude[here]
    return float(patch.sum() / magnitude.sum()), patch.numel() / magnitude.numel()


class Grids:
    """The grids of maps and tokens in one run on an image of this ``size``; only pictures are cut into tokens."""

    def __init__(self, size: Sequence[int], patches: Patches | None) -> None:
        self._size, self._patches = tuple(size), patches
        self._maps: list[Grid] = []
        self._tokens: dict[int, Grid | None] = {}  # by the number of tokens

    def add_map(self, grid: Grid) -> None:
        """Record the (height, width) of a map, or its places along as many sides as the image has."""
        if math.prod(grid) > 1 and not self._tokens.keys() & set(grid):  # not attention
            self._maps.append(grid)

    def is_channels_last(self, tensor: torch.Tensor, geometry: Geometry) -> bool:
        """Whether (1, a, b, c) is a map with a x b positions and c channels, rather than channels-first."""
        if not geometry.whole:
            return geometry.channels_last
        first, last = self._fits(tensor.shape[1:-1]), self._fits(tensor.shape[2:])
        return geometry.channels_last if first == last else first

    def of_tokens(self, n: int, width: int) -> Grid | None:
        """The grid of the patches that the last of n tokens represent; None if they represent none."""
        if len(self._size) != 2:
            return None
        is_known = n in self._tokens or any(math.prod(grid) == n for grid in self._maps)
        if width in self._tokens and not is_known:  # (1, D, T), as inside a mixer
            return None
        if width == 1:  # (1, D, 1), pooled; a single number is no token
            return None
        if n not in self._tokens:
            self._tokens[n] = self._known_grid(n) or self._halved_grid(n) or self._cut_grid(n)
        return self._tokens[n]

    def is_of_places(self, tensor: torch.Tensor, places: Grid) -> bool:
        """Whether it is a map of the image with these places, not attention between tokens or part of one head."""
        if len(self._size) != 2:
            return tensor.shape[-1] != tensor.shape[-2] or not _adds_up_to_one(tensor)
        if tensor.ndim == 4:  # (1, heads, T, T), (1, T, T, heads), (1, heads, T, D)
            return not any(n in self._tokens for n in places)
        return tensor.shape[2] not in self._tokens or not _adds_up_to_one(tensor)

    def _fits(self, grid: torch.Size) -> bool:
        """Whether it may be the places of a map: by the image's proportions, or as many as another map has."""
        if len(self._size) != 2:
            return grid in self._maps
        stretch = (grid[0] * self._size[1]) / (grid[1] * self._size[0])
        return max(stretch, 1 / stretch) < _STRETCH

    def _known_grid(self, n: int) -> Grid | None:
        """The grid of a map that the tokens were probably made from, or of the same tokens without a prefix."""
        known = [*self._maps, *filter(None, self._tokens.values())]
        for prefix in range(_PREFIX_AT_MOST + 1):
            for grid in reversed(known):
                if grid[0] * grid[1] == n - prefix:
                    return grid
        return None

    def _halved_grid(self, n: int) -> Grid | None:
        """The grid of every second token, down and across, of another grid."""
        for grid in filter(None, reversed(self._tokens.values())):
            halved = (math.ceil(grid[0] / 2), math.ceil(grid[1] / 2))
            if halved[0] * halved[1] in range(max(2, n - _PREFIX_WITHOUT_MAP), n + 1):
                return halved
        return None

    def _cut_grid(self, n: int) -> Grid | None:
        """The grid of square patches cut from the image without a convolution."""
        for prefix in range(_PREFIX_WITHOUT_MAP + 1):
            for side in range(1, min(self._size) + 1):
                for whole in (math.floor, math.ceil):
                    grid = (whole(self._size[0] / side), whole(self._size[1] / side))
                    fits = 1 < grid[0] * grid[1] == n - prefix
                    if fits and self._patches is not None and self._patches.are_local(n, prefix, grid):
                        return grid
        return None
