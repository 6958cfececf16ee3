"""Transforms: each step shows the network other views of the picture, so that it has to hold in all of them.

All views of a step are one affine map of coordinates and one sampling, for any number of pictures and channels.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch.nn import functional

from ..checks import Pair

SHRUNK = 1.5  # a view that shrinks the picture by more than this is taken from a smaller copy, or it would alias


class Look(NamedTuple):
    """How views differ: ``crop`` is the range of a view's side as a share of the picture's, the rest in words.

    ``jitter``: the largest shift, as a share of the picture's side; ``rotate``: the largest angle in degrees;
    ``flip``: whether half of the views are mirrored; ``noise``: its standard deviation, in standard deviations
    of the input.
    """

    crop: tuple[float, float] = (1.0, 1.0)
    jitter: float = 0.0
    rotate: float = 0.0
    flip: bool = False
    noise: float = 0.0

    @property
    def moves(self) -> bool:
        """Whether a view is anything but the whole picture."""
        return self != Look(noise=self.noise)


def views(
    pictures: torch.Tensor, n_views: int, size: Pair, look: Look, generator: torch.Generator
) -> torch.Tensor:
    """Random views of pictures (B, C, H, W) as (B * n_views, C, *size), those of the first picture first.

    Beyond its border a picture is 0, the mean.
    """
    if look.moves or tuple(pictures.shape[2:]) != size:
        least, most = look.crop
        if most * min(pictures.shape[2] / size[0], pictures.shape[3] / size[1]) > SHRUNK:
            pictures, least, most = _one_scale(pictures, size, (least, most), generator)
        maps = _affine(len(pictures) * n_views, (least, most), look, generator).to(pictures)
        grid = functional.affine_grid(maps, [len(maps), pictures.shape[1], *size], align_corners=False)
        seen = functional.grid_sample(pictures.repeat_interleave(n_views, dim=0), grid, align_corners=False)
    else:
        seen = pictures.repeat_interleave(n_views, dim=0) if n_views > 1 else pictures
    if look.noise:
        noise = torch.randn(seen.shape, generator=generator, dtype=torch.float32, device="cpu")
        seen = seen + look.noise * noise.to(seen)
    return seen


def _affine(n: int, crop: tuple[float, float], look: Look, generator: torch.Generator) -> torch.Tensor:
    """Maps (n, 2, 3) from a view's coordinates to the picture's; both run from -1 to 1."""
    least, most = crop
    drawn = torch.rand(n, 6, generator=generator, dtype=torch.float32, device="cpu")
    side = least + (most - least) * drawn[:, 0]
    angle = math.radians(look.rotate) * (2 * drawn[:, 1] - 1)
    mirrored = torch.where(drawn[:, 2] < 0.5, -1.0, 1.0) if look.flip else torch.ones(n, device="cpu")
    # A crop lies anywhere inside of the picture; a jitter then moves it further.
    reach = (1 - side).clamp_min(0)[:, None] + 2 * look.jitter
    shift = (2 * drawn[:, 4:] - 1) * reach
    across = torch.stack([side * angle.cos() * mirrored, -side * angle.sin(), shift[:, 0]], dim=1)
    down = torch.stack([side * angle.sin() * mirrored, side * angle.cos(), shift[:, 1]], dim=1)
    return torch.stack([across, down], dim=1)


def _one_scale(
    pictures: torch.Tensor, size: Pair, crop: tuple[float, float], generator: torch.Generator
) -> tuple[torch.Tensor, float, float]:
    """Either a smaller copy of the pictures, for whole views, or the pictures with views that need no copy."""
    (least, most), factor = crop, min(pictures.shape[2] / size[0], pictures.shape[3] / size[1])
    if least * factor < SHRUNK and torch.rand((), generator=generator, device="cpu") < 0.5:
        return pictures, least, SHRUNK / factor
    shrunk = [round(side / (most * factor)) for side in pictures.shape[2:]]
    smaller = functional.interpolate(pictures, size=shrunk, mode="bilinear", antialias=True)
    return smaller, max(least, min(most, SHRUNK / factor)), most


def as_seen(pictures: torch.Tensor, resized: Pair, size: Pair) -> torch.Tensor:
    """Pictures (B, C, H, W) as the usual preprocessing shows them: resized to cover, and cropped at the center."""
    height, width = pictures.shape[2:]
    ratio = max(resized[0] / height, resized[1] / width)
    covering = [max(side, round(n * ratio)) for n, side in zip((height, width), size, strict=True)]
    if covering != [height, width]:
        pictures = functional.interpolate(pictures, size=covering, mode="bilinear", antialias=True)
    top, left = (covering[0] - size[0]) // 2, (covering[1] - size[1]) // 2
    return pictures[:, :, top : top + size[0], left : left + size[1]]
