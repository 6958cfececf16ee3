"""Gradients at noisy copies of an image: what SmoothGrad and VarGrad have in common."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .explained import Explained


def noisy_copies(x: torch.Tensor, noise: float, seed: int) -> Callable[[int, int], torch.Tensor]:
    """From (first, end) to those copies (m, C, H, W) of an image (C, H, W) with Gaussian noise.

    The standard deviation is ``noise`` times the image's range. Each copy has a generator of its own, on the CPU:
    it is the same on every device, and however many are made at once.
    """
    deviation = noise * float(x.max() - x.min())

    def drawn(number: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
        return torch.randn(x.shape, generator=generator, dtype=torch.float32, device="cpu")

    return lambda first, end: x + deviation * torch.stack([drawn(n) for n in range(first, end)]).to(x)


def mean_powers(images: Explained, i: int, samples: int, noise: float, seed: int, powers: int) -> torch.Tensor:
    """The means over noisy copies of image i of the gradient, its square, ... (powers, T, C, H, W), float64."""
    copies = noisy_copies(images.x[i], noise, seed)

    def term(first: int, end: int) -> torch.Tensor:
        _, gradients = images.gradients(copies(first, end), i)
        exact = gradients.double()
        return torch.stack([exact.pow(power).sum(dim=1) for power in range(1, powers + 1)])

    return images.mean_over(samples, term)
