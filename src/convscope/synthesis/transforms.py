"""Transforms: each step shows the network other views of the picture, so that it has to hold in all of them.

All views of a step are one affine map of coordinates and one sampling, for any number of pictures and channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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
    pictures: torch.Tensor, n_views: int, size: Pair, look: Look, generators: Sequence[torch.Generator]
) -> torch.Tensor:
    """Random views of pictures (B, C, H, W) as (B * n_views, C, *size), those of the first picture first.

    Each picture has random numbers of its own, so that those of the others make no difference. Beyond its border
    a picture is 0, the mean.
    """
    if look.moves or tuple(pictures.shape[2:]) != size:
        least, most = look.crop
        if most * min(pictures.shape[2] / size[0], pictures.shape[3] / size[1]) > SHRUNK:
            seen = torch.cat(
                [
                    _sampled(smaller, n_views, size, look._replace(crop=crop), [generator])
                    for one, generator in zip(torch.split(pictures, 1), generators, strict=True)
                    for smaller, crop in [_one_scale(one, size, (least, most), generator)]
                ]
            )
        else:
            seen = _sampled(pictures, n_views, size, look, generators)
    else:
        seen = pictures.repeat_interleave(n_views, dim=0) if n_views > 1 else pictures
    if look.noise:
        shape = (n_views, *seen.shape[1:])
        noise = [torch.randn(shape, generator=one, dtype=torch.float32, device="cpu") for one in generators]
        seen = seen + look.noise * torch.cat(noise).to(seen)
    return seen


def _sampled(
    pictures: torch.Tensor, n_views: int, size: Pair, look: Look, generators: Sequence[torch.Generator]
) -> torch.Tensor:
    """Views of pictures at one scale."""
    maps = _affine(n_views, look, generators).to(pictures)
    grid = functional.affine_grid(maps, [len(maps), pictures.shape[1], *size], align_corners=False)
    return functional.grid_sample(pictures.repeat_interleave(n_views, dim=0), grid, align_corners=False)


def _affine(n_views: int, look: Look, generators: Sequence[torch.Generator]) -> torch.Tensor:
    """Maps (B * n_views, 2, 3) from a view's coordinates to the picture's; both run from -1 to 1."""
    least, most = look.crop
    each = [torch.rand(n_views, 6, generator=one, dtype=torch.float32, device="cpu") for one in generators]
    drawn = torch.cat(each)
    side = least + (most - least) * drawn[:, 0]
    angle = math.radians(look.rotate) * (2 * drawn[:, 1] - 1)
    mirrored = torch.where(drawn[:, 2] < 0.5, -1.0, 1.0) if look.flip else torch.ones_like(side)
    # A crop lies anywhere inside of the picture; a jitter then moves it further.
    reach = (1 - side).clamp_min(0)[:, None] + 2 * look.jitter
    shift = (2 * drawn[:, 4:] - 1) * reach
    across = torch.stack([side * angle.cos() * mirrored, -side * angle.sin(), shift[:, 0]], dim=1)
    down = torch.stack([side * angle.sin() * mirrored, side * angle.cos(), shift[:, 1]], dim=1)
    return torch.stack([across, down], dim=1)


def _one_scale(
    picture: torch.Tensor, size: Pair, crop: tuple[float, float], generator: torch.Generator
) -> tuple[torch.Tensor, tuple[float, float]]:
    """Either a smaller copy of a picture, for whole views, or the picture with views that need no copy."""
    (least, most), factor = crop, min(picture.shape[2] / size[0], picture.shape[3] / size[1])
    if least * factor < SHRUNK and torch.rand((), generator=generator, device="cpu") < 0.5:
        return picture, (least, SHRUNK / factor)
    shrunk = [round(side / (most * factor)) for side in picture.shape[2:]]
    smaller = functional.interpolate(picture, size=shrunk, mode="bilinear", antialias=True)
    return smaller, (max(least, min(most, SHRUNK / factor)), most)


def as_seen(pictures: torch.Tensor, resized: Pair, size: Pair) -> torch.Tensor:
    """Pictures (B, C, H, W) as the usual preprocessing shows them: resized to cover, and cropped at the center."""
    height, width = pictures.shape[2:]
    ratio = max(resized[0] / height, resized[1] / width)
    covering = [max(side, round(n * ratio)) for n, side in zip((height, width), size, strict=True)]
    if covering != [height, width]:
        pictures = functional.interpolate(pictures, size=covering, mode="bilinear", antialias=True)
    top, left = (covering[0] - size[0]) // 2, (covering[1] - size[1]) // 2
    return pictures[:, :, top : top + size[0], left : left + size[1]]
