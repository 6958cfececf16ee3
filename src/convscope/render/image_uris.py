"""Bare pictures as data URIs, for pages that draw titles and color bars themselves."""

from __future__ import annotations

import base64
import io
from typing import Literal

from PIL import Image

from ..results import Array


def image_uri(pixels: Array, kind: Literal["png", "jpeg"] = "png", *, at_most_px: int | None = None) -> str:
    """Pixels (H, W, 3) uint8 as a data URI: "png" is exact, for maps; "jpeg" is smaller, for photos.

    A picture whose longer side exceeds ``at_most_px`` is averaged down to that.
    """
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    if at_most_px is not None:
        image.thumbnail((at_most_px, at_most_px), Image.Resampling.BOX)
    if kind == "jpeg":
        image.save(buffer, "JPEG", quality=88, optimize=True)
    else:
        image.save(buffer, "PNG", optimize=True)
    return f"data:image/{kind};base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
