"""Thumbnails: made from pixels, and kept as JPEG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ..images import Pixels
from ..results import Array

THUMBNAIL_PX = 64
_QUALITY = 90  # of the JPEG: 2 to 3 KB


def thumbnail_of(pixels: Pixels) -> Array:
    """(H, W, C) uint8, or float in [0, 1] -> the center square, area-averaged, uint8 (64, 64, 3).

    Other than three channels become their average, in gray.
    """
    rows, columns, channels = pixels.shape
    side = min(rows, columns)
    top, left = (rows - side) // 2, (columns - side) // 2
    square = pixels[top : top + side, left : left + side]
    if channels != 3:
        gray = square.mean(axis=2, dtype=np.float32, keepdims=True).repeat(3, axis=2)
        square = np.rint(gray).astype(np.uint8) if pixels.dtype == np.uint8 else gray
    if square.dtype != np.uint8:
        square = np.rint(square.clip(0, 1) * 255).astype(np.uint8)
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    return np.asarray(Image.fromarray(square).resize(size, Image.Resampling.BOX))


def encode(thumbnail: Array) -> bytes:
    """(64, 64, 3) uint8 as JPEG."""
    data = io.BytesIO()
    Image.fromarray(thumbnail).save(data, "JPEG", quality=_QUALITY)
    return data.getvalue()


def decode(data: bytes | None) -> Array:
    """JPEG as (64, 64, 3) uint8; white for None."""
    if not data:
        return np.full((THUMBNAIL_PX, THUMBNAIL_PX, 3), 255, np.uint8)
    return np.asarray(Image.open(io.BytesIO(data), formats=("JPEG",)).convert("RGB"))
