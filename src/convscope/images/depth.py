"""What is white in an image of more than 8 bits: what its file says, or else what its samples look like.

A file of 16 bits often holds what a sensor gave in 10, 12 or 14, which divided by 65,535 would be nearly black.
Where the file says how many bits count, that is believed. Otherwise the smallest of these ranges that holds all
samples is taken, and that is remarked: a photo that is truly so dark becomes brighter than it was.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..errors import ImageError
from .sources import Pixels

_MOST = 0xFFFF  # integers are 16-bit, also those that come in 32
_BITS = (8, 10, 12, 14)  # of samples in 16: bytes, and what sensors give
_MANY_BITS = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")
_SCALED_BY_PILLOW = ("PPM", "JPEG2000")  # to all 16 bits, by what the file says
_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE = 258, 281  # TIFF tags


@dataclass(frozen=True)
class Depth:
    """What a file says of its samples, before it is decoded.

    ``stated`` is what it calls white; ``is_real`` whether samples are floats, of which 1 is white; ``halved``
    whether Pillow keeps only 8 of 16 bits, as it does of colors.
    """

    stated: int | None = None
    is_real: bool = False
    halved: bool = False

    def white(self, low: float, high: float, name: str, remark: Callable[[str], None]) -> float:
        """The sample that is white in a gray image with samples from ``low`` to ``high``."""
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
            f"its samples have 16 bits and use only {bits}, so that {(1 << bits) - 1:,} is taken for white; if it "
            "is meant to be as dark, pass it as a float array in [0, 1]"
        )
        return (1 << bits) - 1


def depth_of(image: Image.Image) -> Depth:
    """What an image says that has not been decoded yet."""
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
    """Of 16-bit colors Pillow keeps the upper 8 bits: not much, where the lower ones hold the picture."""
    if not depth.halved:
        return
    high = int(pixels.max())
    bits = next((bits for bits in _BITS if high < 1 << max(bits - 8, 0)), None)
    if bits is not None:
        remark(
            f"its colors have 16 bits and use only {bits}, so that it is dark; scale it and pass it as a "
            "float array in [0, 1]"
        )


def _of_tiff(image: Any) -> int | None:
    """By its tags: fewer bits than 16, or the largest value that may occur."""
    bits = image.tag_v2.get(_BITS_PER_SAMPLE, (16,))[0]
    if isinstance(bits, int) and 8 < bits < 16:
        return (1 << bits) - 1
    most = image.tag_v2.get(_MAX_SAMPLE_VALUE)
    most = most[0] if isinstance(most, tuple) and most else most
    return most if isinstance(most, int) and 0 < most < _MOST else None


def _of_png(image: Any) -> int | None:
    """By its chunk sBIT, which stands before the pixels: how many bits of a sample count."""
    file = getattr(image, "fp", None)
    if image.format != "PNG" or file is None:
        return None
    place = file.tell()
    try:
        file.seek(8)  # behind the signature
        while len(head := file.read(8)) == 8 and head[4:] not in (b"IDAT", b"IEND"):
            length = int.from_bytes(head[:4])
            if head[4:] == b"sBIT":
                bits = (file.read(1) or b"\0")[0]
                return (1 << bits) - 1 if 8 <= bits < 16 else None
            file.seek(length + 4, 1)  # its data, and its check sum
    finally:
        file.seek(place)
    return None
