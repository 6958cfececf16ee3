"""What a click means: the connected region around a pixel."""

from __future__ import annotations

import numpy as np
import torch


def connected(masks: torch.Tensor, point: tuple[int, int]) -> torch.Tensor:
    """Of masks (N, h, w), the pixels that sides connect with the point (row, column); none if it is not in it."""
    from scipy import ndimage

    found = np.zeros(masks.shape, bool)
    for kept, mask in zip(found, masks.cpu().numpy(), strict=True):
        parts, _ = ndimage.label(mask)
        kept[:] = mask[point] & (parts == parts[point])
    return torch.as_tensor(found, device=masks.device)
