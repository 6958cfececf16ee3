"""Convert a decoded PIL image to 8-bit RGB, strip by strip, so that memory never holds a second copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from .bit_depth import Depth, is_gray_of_many_bits, remark_on_dark_colors
from .image_source import Color, Pixels

ORIENTATION = 0x0112  # EXIF tag
_FIRST_ON_ITS_SIDE = 5  # values of that tag from here on swap rows and columns
_STRIP = 1 << 20  # pixels converted at once

# For each value of the EXIF tag, a view of the upright image in the file's order: what is written to the view
# lands upright.
_AS_STORED: dict[int, Callable[[Pixels], Pixels]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, -1),
}


def is_on_its_side(image: Image.Image) -> bool:
    """Whether rows of the file are columns of the upright image."""
    return _orientation(image) >= _FIRST_ON_ITS_SIDE


def turn_upright(pixels: Pixels, image: Image.Image) -> Pixels:
    """Turn pixels in the order of the file as the image's EXIF tag says."""
    orientation = _orientation(image)
    if orientation == 1:
        return pixels
    upright, stored = _empty(image, pixels.shape[2])
    stored[:] = pixels
    return upright


def to_rgb(
    image: Image.Image, background: Color, depth: Depth, name: str, remark: Callable[[str], None]
) -> Pixels:
    """uint8 (H, W, 3), upright; ``depth`` says which value is white in an image of more than 8 bits."""
    image.load()  # also reads tags that follow the pixels
    upright, stored = _empty(image, 3)
    if is_gray_of_many_bits(image):
        low, high = _range(image)
        white = depth.white(low, high, name, remark)
        for rows, part in _strips(image):
            samples = np.asarray(part).astype(np.float64)
            samples *= 255.0 / white
            stored[rows] = np.rint(samples, out=samples)[:, :, None]
        return upright
    is_transparent = image.has_transparency_data
    for rows, part in _strips(image):
        if is_transparent:
            part = part.convert("RGBA")
            part = Image.alpha_composite(Image.new("RGBA", part.size, (*background, 255)), part)
        stored[rows] = np.asarray(part.convert("RGB"))
    remark_on_dark_colors(depth, upright, remark)
    return upright


def _orientation(image: Image.Image) -> int:
    found = image.getexif().get(ORIENTATION, 1)
    return found if isinstance(found, int) and found in _AS_STORED else 1


def _empty(image: Image.Image, n_channels: int) -> tuple[Pixels, Pixels]:
    """An empty upright image, and a view of it in the order of the file."""
    orientation = _orientation(image)
    height, width = image.size if orientation >= _FIRST_ON_ITS_SIDE else (image.height, image.width)
    upright = np.empty((height, width, n_channels), np.uint8)
    return upright, _AS_STORED[orientation](upright) if orientation != 1 else upright


def _strips(image: Image.Image) -> Iterator[tuple[slice, Image.Image]]:
    n_rows = max(1, _STRIP // image.width)
    if n_rows >= image.height:
        yield slice(None), image
        return
    for top in range(0, image.height, n_rows):
        end = min(top + n_rows, image.height)
        yield slice(top, end), image.crop((0, top, image.width, end))


def _range(image: Image.Image) -> tuple[float, float]:
    """The lowest and the highest sample; NaN if any sample is NaN."""
    ends: list[Any] = []
    for _, part in _strips(image):
        samples = np.asarray(part)
        ends += [samples.min(), samples.max()]
    return float(np.min(ends)), float(np.max(ends))
