"""Transforms that keep a picture from turning into noise, applied before or between the steps.

Source: Yosinski, Clune, Nguyen, Fuchs, Lipson: Understanding neural networks through deep visualization, 2015,
arXiv 1506.06579 (blur, small pixels); Mordvintsev, Olah, Tyka: Inceptionism, 2015 (jitter).
"""

from __future__ import annotations

import torch


def clear_small(image: torch.Tensor, share: float) -> torch.Tensor:
    """Set the ``share`` of pixels with the smallest norm over channels to zero."""
    norm = image.norm(dim=1, keepdim=True)
    return torch.where(norm > torch.quantile(norm, share), image, 0.0)


def shift(image: torch.Tensor, jitter_px: int, generator: torch.Generator) -> torch.Tensor:
    """The image shifted by up to ``jitter_px`` each way, wrapping around at the borders."""
    down, right = torch.randint(-jitter_px, jitter_px + 1, (2,), generator=generator, device="cpu").tolist()
    rolled: torch.Tensor = image.roll((down, right), dims=(2, 3))
    return rolled
