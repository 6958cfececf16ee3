"""What photos have in common: their mean color, how their colors go together, and how their amplitudes fall.

Built in for RGB, from seven of the sample photos (`convscope.samples`); or measured from images of one's own, of
any number of channels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

LOWEST, HIGHEST = 0.02, 0.98  # of a pixel: beyond, logits of photos are mostly those of clipped lights and shadows


@dataclass(frozen=True)
class PhotoStatistics:
    """``mean`` (C,) in [0, 1]; ``colors`` (C, C), whose product with its transpose is the covariance of logits.

    ``decay``: the amplitude of a frequency f is in proportion to f ** -decay. ``magnitude`` (C, H, W // 2 + 1) is
    the mean amplitude of each frequency instead, where it was measured.
    """

    mean: tuple[float, ...]
    colors: tuple[tuple[float, ...], ...]
    decay: float = 1.4
    magnitude: torch.Tensor | None = None


# Astronaut, cat, coffee, flower, motorcycle, rocket and temple: the photos of scenes, in color. The last of the
# independent values is brightness, the first a tint that is rare in photos.
RGB = PhotoStatistics(
    mean=(0.485, 0.388, 0.342),
    colors=((0.056, -0.705, -1.429), (-0.212, 0.197, -1.322), (0.148, 0.551, -1.354)),
)
SPREAD = 1.5  # of logits, for channels of which nothing is known


def built_in(n_channels: int) -> PhotoStatistics:
    """The statistics of photos for RGB; for other channels those of gray ones, independent of each other."""
    if n_channels == 3:
        return RGB
    colors = (SPREAD * torch.eye(n_channels, dtype=torch.float32, device="cpu")).tolist()
    return PhotoStatistics((0.4,) * n_channels, tuple(map(tuple, colors)))


def measured(batches: Callable[[], Iterable[torch.Tensor]]) -> PhotoStatistics:
    """The statistics of images (N, C, H, W) in [0, 1], all of one size, which are read batch by batch, twice."""
    n, zero = 0, torch.zeros((), dtype=torch.float64, device="cpu")
    mean = covariance = magnitude = zero
    for images in batches():
        channels = _centered(images).transpose(0, 1).flatten(1)
        covariance = covariance + channels @ channels.T
        mean = mean + images.double().mean(dim=(2, 3)).sum(dim=0)
        n += len(images)
    variances, axes = torch.linalg.eigh(covariance / (n * images.shape[2] * images.shape[3]))
    # Rare axes get at least a thousandth of the variance, so that a picture can be taken apart again.
    colors = axes * variances.clamp_min(float(variances.max()) / 1000 or 1e-6).sqrt()
    for images in batches():
        values = torch.einsum("cd,bdhw->bchw", torch.linalg.inv(colors), _centered(images))
        magnitude = magnitude + torch.fft.rfft2(values).abs().sum(dim=0)
    return PhotoStatistics(
        tuple((mean / n).clamp(LOWEST, HIGHEST).tolist()),
        tuple(map(tuple, colors.tolist())),
        magnitude=(magnitude / n).float(),
    )


def _centered(images: torch.Tensor) -> torch.Tensor:
    """Logits about the mean color of each image."""
    logits = images.double().clamp(LOWEST, HIGHEST).logit()
    return logits - logits.mean(dim=(2, 3), keepdim=True)
