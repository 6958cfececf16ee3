"""What a row of a store keeps of a map: how concentrated it is, where its center is, and a thumbnail."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image

from ..results import Array

_SIDE = 64  # pixels of a thumbnail
_TOP = 0.1  # the share of the pixels that counts for the focus


def focus(sizes: Array) -> Array:
    """The share of the sum of each map (N, H, W) that is in its highest tenth, (N,); 0 for a map of zeros."""
    flat = np.sort(sizes.reshape(len(sizes), -1).astype(np.float64), axis=1)[:, ::-1]
    total = flat.sum(axis=1)
    top = flat[:, : max(1, round(_TOP * flat.shape[1]))].sum(axis=1)
    return np.asarray(top / np.where(total > 0, total, 1))


def centers(sizes: Array) -> tuple[Array, Array]:
    """The center of gravity, x and y in [0, 1], of each map (N, H, W); the middle for a map of zeros."""
    weights = sizes.astype(np.float64) + (sizes.sum(axis=(1, 2), keepdims=True) == 0)
    weights /= weights.sum(axis=(1, 2), keepdims=True)
    rows, columns = ((np.arange(n) + 0.5) / n for n in sizes.shape[1:])
    return weights.sum(axis=1) @ columns, weights.sum(axis=2) @ rows


def map_thumbnail(sizes: Array) -> bytes:
    """A map (H, W) as a gray JPEG, white where it is highest."""
    scaled = torch.from_numpy(np.ascontiguousarray(sizes))[None, None].float()
    small = torch.nn.functional.interpolate(scaled, (_SIDE, _SIDE), mode="area")[0, 0].numpy()
    data = io.BytesIO()
    Image.fromarray(np.uint8(255 * small / (small.max() or 1))).save(data, "JPEG", quality=90)
    return data.getvalue()
