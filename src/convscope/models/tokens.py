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
        places = _some_places(grid)
        with torch.enable_grad():
            values = [tokens[0, prefix + row * grid[1] + column] for row, column in places]
        shares = [_share_at(v, self._image, grid, place)[0] for v, place in zip(values, places, strict=True)]
        return all(share > _LOCAL for share in shares)


def lie_in_place(maps: torch.Tensor, image: torch.Tensor) -> bool:
    """Whether values at places of maps (1, K, h, w) depend on their part of the image more than on the mean one.

    Where all depends on all, as behind attention, this tells a map from one whose places are in another order.
    """
    grid = (maps.shape[2], maps.shape[3])
    places = _some_places(grid)
    found = [_share_at(maps[0, :, row, column], image, grid, (row, column)) for row, column in places]
    return sum(share >= mean for share, mean in found) > len(places) / 2


def _some_places(grid: Grid) -> list[Grid]:
    """Corners, and places between: of other orders than row after row most of them are elsewhere."""
    rows, columns = (sorted({0, n // 3, (2 * n) // 3, n - 1}) for n in grid)
    return [(row, column) for i, row in enumerate(rows) for j, column in enumerate(columns) if (i + j) % 2][:7]


def _share_at(values: torch.Tensor, image: torch.Tensor, grid: Grid, place: Grid) -> tuple[float, float]:
    """Of the gradient of values at the image (1, C, H, W), the share at their place, and the mean of a place."""
    with torch.enable_grad():
        total = values.float().square().sum()
    (gradient,) = torch.autograd.grad(total, image, retain_graph=True, allow_unused=True)
    if gradient is None or not gradient.any():
        return 0.0, 0.0
    (top, down), (left, across) = (
        (math.floor(at * side / n), math.ceil((at + 1) * side / n))
        for at, side, n in zip(place, image.shape[2:], grid, strict=True)
    )
    magnitude = gradient.float().abs().sum(dim=(0, 1))
    patch = magnitude[top:down, left:across]
    return float(patch.sum() / magnitude.sum()), patch.numel() / magnitude.numel()


class Grids:
    """The grids that have been seen in one run on an image of this ``size``."""

    def __init__(self, size: Sequence[int], patches: Patches | None) -> None:
        self._size, self._patches = (size[0], size[1]), patches
        self._maps: list[Grid] = []
        self._tokens: dict[int, Grid | None] = {}  # by the number of tokens

    def add_map(self, grid: Grid) -> None:
        """A map of so many places has been put out."""
        if grid[0] * grid[1] > 1 and not self._tokens.keys() & set(grid):  # no attention
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
            self._tokens[n] = self._known_grid(n) or self._halved_grid(n) or self._cut_grid(n)
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
        """That of a map which the tokens were made from, most likely, or of the same tokens without a prefix."""
        known = [*self._maps, *filter(None, self._tokens.values())]
        for prefix in range(_PREFIX_AT_MOST + 1):
            for grid in reversed(known):
                if grid[0] * grid[1] == n - prefix:
                    return grid
        return None

    def _halved_grid(self, n: int) -> Grid | None:
        """Every second token of a grid, down and across."""
        for grid in filter(None, reversed(self._tokens.values())):
            halved = (math.ceil(grid[0] / 2), math.ceil(grid[1] / 2))
            if halved[0] * halved[1] in range(max(2, n - _PREFIX_WITHOUT_MAP), n + 1):
                return halved
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
