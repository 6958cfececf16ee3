"""Which value is white in an image of more than 8 bits: the file says so, or the samples suggest it.

A file of 16 bits often holds 10, 12 or 14 bits of a sensor; divided by 65,535, the image would be nearly black. If
the file says how many bits count, that decides. Otherwise white is the end of the smallest of these ranges that
covers all samples, and a remark says so: a photo that really is so dark becomes brighter than it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..errors import ImageError
from .image_source import Pixels

_MOST = 0xFFFF  # integers have 16 bits, even if they are stored in 32
_BITS = (8, 10, 12, 14)  # bits that samples stored in 16 really use: bytes, and what sensors give
_MANY_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_SCALED_BY_PILLOW = ("PPM", "JPEG2000")  # Pillow scales these to all 16 bits, as the file says
_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE = 258, 281  # TIFF tags


@dataclass(frozen=True)
class Depth:
    """What a file says about its samples before it is decoded.

    ``stated``: the value it declares as white. ``is_real``: samples are floats, and 1 is white. ``halved``: Pillow
    keeps only 8 of 16 bits, as it does for colors.
    """

    stated: int | None = None
    is_real: bool = False
    halved: bool = False

    def white(self, low: float, high: float, name: str, remark: Callable[[str], None]) -> float:
        """The value of white in a gray image with samples from ``low`` to ``high``."""
        most = 1 if self.is_real else _MOST
        if not (low >= 0 and high <= most):  # written so that NaN fails too
            raise ImageError(
                f"{name}: samples from {low:g} to {high:g} in an image of "
                f"{'floats' if self.is_real else 'integers'}, expected 0 to {most}; "
                "scale it and pass it as a float array in [0, 1]"
            )
        if self.is_real or high == 0:
            return most
        if self.stated is not None and high <= self.stated:
            return self.stated
        bits = next((bits for bits in _BITS if high < 1 << bits), None)
        if bits is None:
            return most
        remark(
            f"16-bit samples use only {bits} bits, so {(1 << bits) - 1:,} counts as white; if the image is meant "
            "to be that dark, pass it as a float array in [0, 1]"
        )
        return (1 << bits) - 1


def depth_of(image: Image.Image) -> Depth:
    """The depth that an image declares before it is decoded."""
    if image.mode == "F":
        return Depth(is_real=True)
    if is_gray_of_many_bits(image):
        if image.format in _SCALED_BY_PILLOW:
            return Depth(stated=_MOST)
        return Depth(stated=_of_tiff(image) if image.format == "TIFF" else _of_png(image))
    tiles = getattr(image, "tile", ())
    return Depth(halved=any(";16" in str(tile[3]) for tile in tiles))


def is_gray_of_many_bits(image: Image.Image) -> bool:
    return image.mode in _MANY_BITS


def remark_on_dark_colors(depth: Depth, pixels: Pixels, remark: Callable[[str], None]) -> None:
    """Pillow keeps the upper 8 bits of 16-bit colors: not much if the lower ones hold the picture."""
    if not depth.halved:
        return
    high = int(pixels.max())
    bits = next((bits for bits in _BITS if high < 1 << max(bits - 8, 0)), None)
    if bits is not None:
        remark(
            f"16-bit colors use only {bits} bits, so the image is dark; scale it and pass it as a float array "
            "in [0, 1]"
        )


def _of_tiff(image: Any) -> int | None:
    """White by the tags of a TIFF: fewer than 16 bits per sample, or the largest value allowed."""
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0]
    if isinstance(bits, int) and 8 < bits < 16:
        return (1 << bits) - 1
    most = image.tag_v2.get(_MAX_SAMPLE_VALUE)
    most = most[0] if isinstance(most, tuple) and most else most
    return most if isinstance(most, int) and 0 < most < _MOST else None


def _of_png(image: Any) -> int | None:
    """White by the chunk sBIT of a PNG, which precedes the pixels and says how many bits of a sample count."""
    file = getattr(image, "fp", None)
    if image.format != "PNG" or file is None:
        return None
    place = file.tell()
    try:
        file.seek(8)  # after the signature
        while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
            length = int.from_bytes(head[:4])
            if head[4:] == b"sBIT":
                bits = (file.read(1) or b"\0")[0]
                return (1 << bits) - 1 if 8 <= bits < 16 else None
            file.seek(length + 4, 1)  # its data, and its check sum
    finally:
        file.seek(place)
    return None
