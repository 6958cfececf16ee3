"""Which image formats are opened: all that Pillow and its plugins know, except those that another program runs."""

from __future__ import annotations

import threading
from pathlib import Path

from PIL import Image

from ..after_fork import after_fork

# Opening one would run Ghostscript or the drawing functions of Windows. Of an IPTC envelope, Pillow opens whatever
# is inside.
_RUN = {
    "EPS": "a PostScript file, a program that would have to be run",
    "WMF": "a Windows metafile, which Windows would have to draw",
    "IPTC": "an IPTC envelope, which may contain anything",
}
_BYTES = {
    "1": 1,
    "L": 1,
    "P": 1,
    "I;16": 2,
    "I;16B": 2,
    "I;16L": 2,
    "I;16N": 2,
}  # of a pixel; else 4
_RESULT = 3  # bytes of a pixel once it is RGB
_FITTED = 7  # with the resized copy
# Bytes of a pixel that decoders need on top of the decoded image, measured; unknown for plugins of others.
_DECODING = {"BMP": 0, "DIB": 0, "JPEG": 0, "MPO": 0, "PNG": 0, "TIFF": 4, "GIF": 4, "WEBP": 10, "AVIF": 8,
             "JPEG2000": 12, "ICO": 4, "PPM": 8}  # fmt: skip
_DECODING_OTHERS = 12
_HINTS = {
    ".heic": "install pillow-heif and call pillow_heif.register_heif_opener() first",
    ".heif": "install pillow-heif and call pillow_heif.register_heif_opener() first",
    ".svg": "convert it to PNG",
    ".txt": "lists of images are .csv, .tsv or .parquet",
}
_lock = threading.Lock()


def _begin_anew() -> None:
    """After a fork: a thread that does not exist in this process may have held the lock."""
    global _lock
    _lock = threading.Lock()


after_fork(_begin_anew)


def opened_formats() -> tuple[str, ...]:
    """Names of the formats, in the order in which Pillow tries them."""
    with _lock:  # two threads loading Pillow's plugins at once would change the order
        Image.preinit()
        Image.init()
    return tuple(name for name in Image.ID if name not in _RUN)


def why_not(path: Path, prefix: bytes) -> str:
    """Why a file cannot be opened, by its first bytes and its name."""
    for name in ("EPS", "WMF"):
        _, accept = Image.OPEN.get(name, (None, None))
        if accept is not None and accept(prefix) is True:
            return f"not opened because it is {_RUN[name]}; convert it to PNG"
    if prefix[:1] == b"\x1c" and prefix[1:2] in (b"\x01", b"\x02", b"\x03"):
        return f"not an image, or {_RUN['IPTC']}"
    hint = _HINTS.get(path.suffix.lower())
    return "not an image, or in a format that cannot be read" + (f"; {hint}" if hint else "")


def reads_all(prefix: bytes) -> bool:
    """Whether Pillow has to read the whole file to learn the size of the image: WebP, AVIF and HEIF."""
    return prefix[:4] == b"RIFF" or prefix[4:8] == b"ftyp"


def is_icon(prefix: bytes) -> bool:
    """Whether it is an icon file, whose images show their size only when decoded."""
    return prefix[:4] in (b"\0\0\1\0", b"icns")


def bytes_to_open(image: Image.Image) -> int:
    """The most bytes an image takes while it is decoded, converted to RGB and resized, with all copies."""
    each = _RESULT
    if image.format not in ("JPEG", "MPO") or image.mode not in ("RGB", "L"):  # these are decoded to RGB directly
        each += _BYTES.get(image.mode, 4)
    if image.format is not None:
        each += _DECODING.get(image.format, _DECODING_OTHERS)
    if "progressive" in image.info:  # the decoder keeps all coefficients, in 16 bits
        each += 2 * len(image.getbands())
    return image.width * image.height * max(each, _FITTED)
