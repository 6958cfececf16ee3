"""Gradients at noisy copies of an image: the frame of SmoothGrad and VarGrad."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .scored import ScoredImage


def noisy_copies(
    x: torch.Tensor, noise: float, seed: int, spread: torch.Tensor | None = None
) -> Callable[[int, int], torch.Tensor]:
    """Copies of an image (C, H, W) with Gaussian noise; the result makes those from first to end, (m, C, H, W).

    The standard deviation is ``noise`` times the range of the image, or times ``spread``. Each copy has its own
    generator, on the CPU: it is the same on every device, and however many are made at once.
    """
    deviation = noise * (x.max() - x.min() if spread is None else spread)

    def drawn(number: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed((seed * 1_000_003 + number) % 2**63)
        return torch.randn(x.shape, generator=generator, dtype=torch.float32, device="cpu")

    return lambda first, end: x + deviation * torch.stack([drawn(n) for n in range(first, end)]).to(x)


def mean_powers(image: ScoredImage, n_samples: int, noise: float, seed: int, *, powers: int) -> torch.Tensor:
    """The means over noisy copies of the gradient, its square, ... (powers, T, C, H, W), float64."""
    copies = noisy_copies(image.x, noise, seed, image.spread)

    def total_of(first: int, end: int) -> torch.Tensor:
        gradients = image.gradients(copies(first, end)).double()
        return torch.stack([gradients.pow(power).sum(dim=1) for power in range(1, powers + 1)])

    return image.mean_over(n_samples, total_of)
