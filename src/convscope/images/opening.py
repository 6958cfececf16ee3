"""Open one image: a file, a PIL image, an array or an item of a data set."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import ConvscopeError, ImageError, UnavailableError
from . import memory_limit
from .bit_depth import depth_of
from .converting import is_on_its_side, to_rgb, turn_upright
from .formats import bytes_to_open, is_icon, opened_formats, reads_all, why_not
from .image_source import WHITE, Color, ImageSource, Item, Pixels
from .pillow_warnings import quiet

_RGB = 3  # torchvision's ImageReadMode.RGB
_PREFIX = 16  # bytes that identify the format of a file
_DAMAGE = (errno.EINVAL, errno.EOVERFLOW)  # a damaged file may point to offsets that do not exist
Remark: TypeAlias = Callable[[str, str], None]  # text, name of the image


def open_image(
    source: ImageSource, *, background: Color = WHITE, at_least: int | None = None, remark: Remark | None = None
) -> Pixels:
    """Open one image as uint8 (H, W, 3), or check and pass on an array.

    Args:
        source: the image.
        background: see `load_images`.
        at_least: see `load_images`.
        remark: called with (text, name) to report something about an image that could be opened.

    Raises:
        UnavailableError: the image cannot be reached now, but perhaps later.
        ImageError: the image cannot be read; the message names it.
    """
    name, content = source.name, source.content

    def remark_on_it(text: str) -> None:
        if remark is not None:
            remark(text, name)

    with _naming(name), quiet(), memory_limit.one_image():
        if isinstance(content, Item):
            content = content.image()
            if not isinstance(content, np.ndarray | Image.Image):
                raise ImageError(f"{name}: a {type(content).__name__}; expected a PIL image, an array or a tensor")
        if isinstance(content, np.ndarray):
            return _check_array(content, name)
        if isinstance(content, Image.Image):
            return _from_pil(content, background, name, remark_on_it)
        with _naming(str(content)):
            return _read_file(content, background, at_least, remark_on_it)


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of the upright image in a file, from its first bytes."""
    name = str(path)
    with _naming(name), quiet(), memory_limit.one_image(), Image.open(path, formats=opened_formats()) as image:
        _check_size(image, name)  # the tags of a PNG may follow its pixels, which are then decoded
        is_turned = image.format != "TIFF" and is_on_its_side(image)  # for a TIFF, Pillow gives the upright size
        return image.size if is_turned else (image.height, image.width)


def _read_file(path: Path, background: Color, at_least: int | None, remark: Callable[[str], None]) -> Pixels:
    about, name = path.stat(), str(path)
    if not stat.S_ISREG(about.st_mode):  # reading a pipe would wait forever
        raise ImageError(f"{name}: not a file")
    if about.st_size == 0:
        raise ImageError(f"{name}: the file is empty")
    with path.open("rb") as file:
        prefix = file.read(_PREFIX)
    if is_icon(prefix):
        memory_limit.reserve(memory_limit.limit(), name)
    elif reads_all(prefix):
        memory_limit.reserve(2 * about.st_size, name)
    try:
        opened = Image.open(path, formats=opened_formats())
    except UnidentifiedImageError:
        raise ImageError(f"{name}: {why_not(path, prefix)}") from None
    with opened as image:
        size = image.size
        if image.format == "JPEG" and at_least is not None:
            image.draft(None, (at_least, at_least))
        _check_size(image, name)
        is_plain = image.format in ("JPEG", "MPO") and image.mode in ("RGB", "L") and image.size == size
        # A file larger than its pixels contains other data as well; reading all of it at once does not pay.
        if is_plain and about.st_size <= _RGB * image.width * image.height + (1 << 20):
            pixels = _decode_jpeg(path)
            if pixels is not None:
                return turn_upright(pixels, image)
        return _from_pil(image, background, name, remark)


def _decode_jpeg(path: Path) -> Pixels | None:
    """Decode up to 2.5 times as fast as Pillow, to the same pixels; None if that is not possible.

    torchvision has deprecated the Python function around its decoder, so this calls the decoder itself. If the
    decoder is missing or refuses the file, Pillow takes over and says what is wrong with the file.
    """
    import torch
    import torchvision  # noqa: F401 -- registers its operations with torch

    try:
        data = torch.from_numpy(np.fromfile(path, np.uint8))
        decoded = torch.ops.image.decode_jpeg(data, _RGB, False)
    except (AttributeError, RuntimeError):
        return None
    return np.asarray(decoded.permute(1, 2, 0).contiguous().numpy())


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turn whatever goes wrong while an image is read into an `ImageError` that names it."""
    try:
        yield
    except ConvscopeError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ImageError(f"{name}: {_too_large()}") from None
    except MemoryError as error:
        raise UnavailableError(f"{name}: not enough memory to open it") from error
    except Exception as error:  # damaged files make Pillow's decoders raise all kinds of errors
        # Errors of the system have a number; errors about the content have none.
        if isinstance(error, OSError) and error.errno is not None and error.errno not in _DAMAGE:
            is_another = error.filename is not None and str(error.filename) != name
            reason = error if is_another or not error.strerror else error.strerror
            raise UnavailableError(f"{name}: cannot be reached ({reason})") from error
        raise ImageError(f"{name}: cannot be read ({error})") from error


def _from_pil(image: Image.Image, background: Color, name: str, remark: Callable[[str], None]) -> Pixels:
    _check_size(image, name)
    depth = depth_of(image)
    image.load()
    _check_size(image, name)  # the size of an icon is known only now
    return to_rgb(image, background, depth, name, remark)


def _check_size(image: Image.Image, name: str) -> None:
    """Check an image's size and reserve memory for it; `ImageError` if it is beyond the limit."""
    width, height = image.size
    if width < 1 or height < 1:
        raise ImageError(f"{name}: the image has no pixels ({width} x {height})")
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise ImageError(f"{name}: {width} x {height} pixels are {_too_large()}")
    memory_limit.reserve(bytes_to_open(image), f"{name}: {width} x {height}")


def _too_large() -> str:
    most = Image.MAX_IMAGE_PIXELS
    return f"more than {most:,} pixels; scale it down first, or set PIL.Image.MAX_IMAGE_PIXELS to more"


def _check_array(array: Pixels, name: str) -> Pixels:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or 0 in array.shape:
        raise ImageError(f"{name}: an array of shape {array.shape}; expected (H, W) or (H, W, C)")
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_ or not np.issubdtype(array.dtype, np.floating):
        raise ImageError(f"{name}: an array of {array.dtype}; expected uint8 in 0..255 or float in [0, 1]")
    if not (array.min() >= 0 and array.max() <= 1):  # written so that NaN fails too
        raise ImageError(
            f"{name}: float values from {array.min():g} to {array.max():g}; expected [0, 1] (divide "
            "by 255?). For an input that is already preprocessed, pass a torch tensor (N, C, H, W)"
        )
    return array.astype(np.float32)
