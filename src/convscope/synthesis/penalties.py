"""Penalties, which are subtracted from the objective, and what is done to pixels between steps.

Sources: Simonyan, Vedaldi, Zisserman, 2013, arXiv 1312.6034 (l2); Mahendran, Vedaldi, 2014, arXiv 1412.0035 (total
variation); Yosinski, Clune, Nguyen, Fuchs, Lipson, 2015, arXiv 1506.06579 (blur, small pixels).
"""

from __future__ import annotations

import torch


def l2(pictures: torch.Tensor) -> torch.Tensor:
    """||I||_2^2 of each picture, (B, C, H, W) -> (B,)."""
    return pictures.square().sum(dim=(1, 2, 3))


def l1(pictures: torch.Tensor) -> torch.Tensor:
    """||I||_1 of each picture, (B, C, H, W) -> (B,)."""
    return pictures.abs().sum(dim=(1, 2, 3))


def total_variation(pictures: torch.Tensor) -> torch.Tensor:
    """The sum of the absolute differences between neighbors, (B, C, H, W) -> (B,)."""
    down = pictures[:, :, 1:] - pictures[:, :, :-1]
    across = pictures[:, :, :, 1:] - pictures[:, :, :, :-1]
    return down.abs().sum(dim=(1, 2, 3)) + across.abs().sum(dim=(1, 2, 3))


def clear_small(pictures: torch.Tensor, share: float) -> torch.Tensor:
    """Set the ``share`` of each picture's pixels with the smallest norm over channels to zero."""
    norm = pictures.norm(dim=1, keepdim=True)
    least = torch.stack([torch.quantile(one, share) for one in norm])
    return torch.where(norm > least[:, None, None, None], pictures, 0.0)
