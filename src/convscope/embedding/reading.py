"""From an image file to the network's input and to the facts that a row keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import ImageError, UnavailableError
from ..images import ImageSet, ImageSource, Pixels, open_image, upright_size
from ..models import Preprocessing
from ..results import Array
from ..store.keys import digest_of, stamp_of
from ..store.thumbnails import encode, thumbnail_of


@dataclass(frozen=True)
class Picture:
    """An image as it was read, or why it could not be.

    Only for a store: the ``stamp`` that tells whether a file has changed since, the ``id`` of the content, and the
    thumbnail's ``jpeg``.
    """

    name: str
    label: str | None
    pixels: Pixels | None = None  # as the network sees them; none of a tensor
    thumbnail: Array | None = None
    error: ImageError | None = None  # without a stamp where another try may succeed
    stamp: str | None = None
    id: str | None = None
    size: tuple[int, int] | None = None  # height, width of the image
    jpeg: bytes | None = None


def read(source: ImageSource, preprocessing: Preprocessing, images: ImageSet) -> Picture:
    """Open one of some images, and fit it to the network's input; an error is kept rather than raised."""
    try:
        pixels = open_image(source, background=images.background, at_least=images.at_least, remark=images.remark)
        fitted = preprocessing.fit(pixels, source.name)
    except ImageError as error:
        return Picture(source.name, source.label, error=error.with_traceback(None))
    size = (pixels.shape[0], pixels.shape[1])
    return Picture(source.name, source.label, fitted, thumbnail_of(fitted), size=size)


def read_for_store(source: ImageSource, preprocessing: Preprocessing, images: ImageSet) -> Picture:
    """The same with all that a row says of an image."""
    stamp = stamp_of(source.content)  # before it is read, so that a later change is seen the next time
    try:
        digest = digest_of(source.content)
    except ImageError as error:
        return Picture(source.name, source.label, error=error.with_traceback(None), stamp=stamp)
    picture = read(source, preprocessing, images)
    if isinstance(picture.error, UnavailableError):
        return picture
    if picture.thumbnail is None:
        return replace(picture, stamp=stamp, id=digest)
    size = picture.size
    if images.at_least is not None and isinstance(source.content, Path):  # it was opened at a part of its size
        size = upright_size(source.content)
    return replace(picture, stamp=stamp, id=digest, size=size, jpeg=encode(picture.thumbnail))
