"""Parameterizations: from free variables, which the ascent changes, to pictures as the network takes them.

What is free decides which pictures are near, and so which the ascent finds. In pixels, noise is as near as shapes.
In the Fourier domain, with amplitudes that fall with the frequency as they do in photos, a step moves large shapes
most; with colors that are mixed as in photos, it moves brightness more than hue.

Sources: Olah, Mordvintsev, Schubert: Feature visualization, Distill 2017, and the library Lucid (Fourier, colors,
pyramid); Fel et al.: Unlocking feature visualization for deeper networks with MAgnitude Constrained Optimization,
2023, arXiv 2306.06805 (maco).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch.nn import functional

from ..models import Preprocessing
from .photo_statistics import PhotoStatistics

Domain: TypeAlias = Literal["pixels", "fourier", "pyramid", "maco"]

# The standard deviation of free variables at the start: faint, as a start of full contrast settles what goes where
# before the network has said anything.
START = 0.01
DECAY = 1.1  # of what a step moves: a little more of large shapes than 1 / frequency
LOWEST, HIGHEST = 1 / 512, 511 / 512  # inside of black and white, where the logit is finite


class Parameterization(NamedTuple):
    """``start`` draws free variables for B pictures; ``picture`` makes of these (B, C, H, W), as the network
    takes it.

    ``inverse`` finds the free variables of a picture, as near as they come to it. ``limits``: the values of
    black and white, to which the free variables are clamped where they are pixels.
    """

    start: Callable[[int, torch.Generator], torch.Tensor]
    picture: Callable[[torch.Tensor], torch.Tensor]
    inverse: Callable[[torch.Tensor], torch.Tensor]
    limits: tuple[torch.Tensor, torch.Tensor] | None = None


@dataclass(frozen=True)
class Canvas:
    """What pictures (C, H, W) are made on: how values become colors, and colors a network's input.

    ``values`` (B, C, H, W) have a standard deviation of 1 in a picture with the contrast of a photo. Without a
    known preprocessing, the network's input is taken to run from -2 to 2.
    """

    shape: tuple[int, int, int]
    preprocessing: Preprocessing | None
    statistics: PhotoStatistics
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def colors(self) -> torch.Tensor:
        """(C, C): from independent values to those of the channels, as logits."""
        return torch.tensor(self.statistics.colors, dtype=torch.float32, device=self.device)

    @property
    def mean(self) -> torch.Tensor:
        """(C, 1, 1), as logits."""
        return torch.tensor(self.statistics.mean, dtype=torch.float32, device=self.device).logit()[:, None, None]

    def picture(self, values: torch.Tensor) -> torch.Tensor:
        """The network's input for these values."""
        mixed = torch.einsum("cd,bdhw->bchw", self.colors, values) + self.mean
        return self.from_unit(mixed.sigmoid())

    def values(self, picture: torch.Tensor) -> torch.Tensor:
        """The inverse of ``picture``."""
        logits = self.to_unit(picture).float().clamp(LOWEST, HIGHEST).logit() - self.mean
        return torch.einsum("cd,bdhw->bchw", torch.linalg.inv(self.colors), logits)

    def from_unit(self, x: torch.Tensor) -> torch.Tensor:
        """From [0, 1] to the network's input."""
        return 4 * x - 2 if self.preprocessing is None else self.preprocessing.from_unit(x)

    def to_unit(self, x: torch.Tensor) -> torch.Tensor:
        """From the network's input to [0, 1]."""
        return (x + 2) / 4 if self.preprocessing is None else self.preprocessing.to_unit(x)


def parameterization(domain: Domain, canvas: Canvas, contrast: float | None) -> Parameterization:
    """The parameterization of this name; ``contrast``: the largest spread of the values, None for no limit."""
    return _MAKERS[domain](canvas, contrast)


def pixels(canvas: Canvas, contrast: float | None) -> Parameterization:
    """The network's input itself; it starts from zero, the mean image."""

    def start(n: int, generator: torch.Generator) -> torch.Tensor:
        return torch.zeros(n, *canvas.shape, dtype=torch.float32, device=canvas.device)

    limits = None
    if canvas.preprocessing is not None:
        black = torch.zeros(canvas.shape[0], 1, 1, dtype=torch.float32, device=canvas.device)
        limits = canvas.from_unit(black), canvas.from_unit(black + 1)
    return Parameterization(start, lambda free: free, lambda picture: picture, limits)


def fourier(canvas: Canvas, contrast: float | None) -> Parameterization:
    """Fourier coefficients (B, C, H, W // 2 + 1, 2), each divided by its frequency as amplitudes of photos are."""
    channels, height, width = canvas.shape
    scale = _amplitudes(canvas, DECAY)

    def values(free: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.fft.irfft2(torch.view_as_complex(free) * scale, s=(height, width))
        return found

    def inverse(picture: torch.Tensor) -> torch.Tensor:
        return torch.view_as_real(torch.fft.rfft2(canvas.values(picture)) / scale).contiguous()

    return Parameterization(
        _noise(canvas, (channels, height, width // 2 + 1, 2)),
        lambda free: canvas.picture(held(values(free), contrast)),
        inverse,
    )


def pyramid(canvas: Canvas, contrast: float | None) -> Parameterization:
    """A Laplacian pyramid: a picture is the sum of levels, each half as fine as the one before it."""
    channels, height, width = canvas.shape
    sizes = _halved(height, width)
    counts = [channels * h * w for h, w in sizes]

    def values(free: torch.Tensor) -> torch.Tensor:
        levels = zip(torch.split(free, counts, dim=1), sizes, strict=True)
        found = [_resized(level.reshape(-1, channels, *size), (height, width)) for level, size in levels]
        return torch.stack(found).sum(dim=0)

    def inverse(picture: torch.Tensor) -> torch.Tensor:
        rest, found = canvas.values(picture), []
        for size in reversed(sizes):  # from the coarsest; each finer level holds what is still missing
            level = functional.interpolate(rest, size=size, mode="area")
            rest = rest - _resized(level, (height, width))
            found.append(level.flatten(1))
        return torch.cat(found[::-1], dim=1)

    return Parameterization(
        _noise(canvas, (sum(counts),)), lambda free: canvas.picture(held(values(free), contrast)), inverse
    )


def maco(canvas: Canvas, contrast: float | None) -> Parameterization:
    """Phases (B, C, H, W // 2 + 1) only: the amplitude of every frequency stays that of photos."""
    channels, height, width = canvas.shape
    magnitude = canvas.statistics.magnitude
    if magnitude is None:
        amplitudes = 2**0.5 * _amplitudes(canvas, canvas.statistics.decay)  # for one part, not two
        amplitudes[0, 0] = 0.0  # the mean color stays that of photos
    else:
        amplitudes = functional.interpolate(
            magnitude[None].to(canvas.device), size=(height, width // 2 + 1), mode="bilinear"
        )[0]

    def values(free: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.fft.irfft2(torch.polar(amplitudes.expand_as(free), free), s=(height, width))
        return found

    def start(n: int, generator: torch.Generator) -> torch.Tensor:
        drawn = torch.rand(
            n, channels, height, width // 2 + 1, generator=generator, dtype=torch.float32, device="cpu"
        )
        return (2 * torch.pi * drawn).to(canvas.device)

    return Parameterization(
        start,
        lambda free: canvas.picture(held(values(free), contrast)),
        lambda picture: torch.fft.rfft2(canvas.values(picture)).angle(),
    )


_MAKERS: dict[Domain, Callable[[Canvas, float | None], Parameterization]] = {
    "pixels": pixels,
    "fourier": fourier,
    "pyramid": pyramid,
    "maco": maco,
}


def held(values: torch.Tensor, contrast: float | None) -> torch.Tensor:
    """Values, toned down in each picture whose root mean square is above ``contrast``; as they are for None."""
    if contrast is None:
        return values
    spread = values.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
    return values * (contrast / spread.clamp_min(contrast))


def _amplitudes(canvas: Canvas, decay: float) -> torch.Tensor:
    """1 / frequency ** decay, (H, W // 2 + 1); noise of variance 1 in each part then gives values of about 1."""
    _, height, width = canvas.shape
    rows = torch.fft.fftfreq(height, dtype=torch.float32, device=canvas.device)[:, None]
    columns = torch.fft.rfftfreq(width, dtype=torch.float32, device=canvas.device)[None]
    frequency = torch.hypot(rows, columns).clamp_min(1 / max(height, width))
    amplitude = frequency**-decay
    scaled: torch.Tensor = amplitude / amplitude.square().mean().sqrt() * (height * width / 2) ** 0.5
    return scaled


def _noise(canvas: Canvas, shape: tuple[int, ...]) -> Callable[[int, torch.Generator], torch.Tensor]:
    """A function that draws n starts of this shape."""

    def start(n: int, generator: torch.Generator) -> torch.Tensor:
        drawn = torch.randn(n, *shape, generator=generator, dtype=torch.float32, device="cpu")
        return (START * drawn).to(canvas.device)

    return start


def _halved(height: int, width: int) -> list[tuple[int, int]]:
    """The sizes of a pyramid's levels, from the picture's down to a few pixels."""
    sizes = [(height, width)]
    while min(sizes[-1]) > 4:
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))
    return sizes


def _resized(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return x if x.shape[2:] == size else functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
