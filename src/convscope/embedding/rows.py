"""From an image file to its row in a store: what is read, and what is written."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImageError, UnavailableError
from ..images import ImageSet, Item, Pixels, Source, open_image, upright_size
from ..models import Preprocessing
from ..results import probabilities
from .features import Features
from .table import encode, is_finite_in, thumbnail_of, vector_column, vector_type

if TYPE_CHECKING:
    import pyarrow as pa

_FILE, _CONTENT = "file of ", "content "
_DIGEST = 16  # bytes of an id: two of a hundred million images share one with a chance of 1e-23


@dataclass(frozen=True)
class Picture:
    """An image as it was read: what its row says of it, and the pixels for the network, or why there are none."""

    path: str
    label: str | None
    stamp: str | None
    id: str | None = None
    size: tuple[int, int] | None = None  # height, width
    pixels: Pixels | None = None
    thumbnail: bytes | None = None  # JPEG
    error: str | None = None  # which comes without a stamp where another try may succeed


def as_key(name: str) -> str:
    """A name as a row has it: what is no Unicode, as in a file's name, is written as \\udcff."""
    return name.encode("utf-8", "backslashreplace").decode()


def key_of(path: str | Path) -> str:
    """The key of a file's row: its whole path."""
    return as_key(os.path.abspath(path))


def path_of(key: str) -> str:
    """The way back: the path of a row's file."""
    if "\\udc" not in key or os.path.lexists(key):  # a name may hold such a text by itself
        return key
    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda found: chr(0xDC00 + int(found[1], 16)), key)


def stamp_of(content: Any) -> str | None:
    """What tells whether an image is the one that was read: size and times of change of a file, else its content.

    The second time is of the file's entry: two that have changed places may have the same of the rest.

    None for a file that is gone.
    """
    if not isinstance(content, Path):
        return f"{_CONTENT}{digest_of(content)}"
    try:
        about = content.stat()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    return f"{_FILE}{about.st_size} bytes, changed {about.st_mtime_ns}, moved here {about.st_ctime_ns}"


def has_changed(key: str, stamp: str | None) -> bool:
    """Whether a row's file is there, and is not as it was when it was read."""
    now = stamp_of(Path(path_of(key))) if is_of_a_file(stamp) else None
    return now is not None and now != stamp


def size_in(stamp: str | None) -> int | None:
    """The size in bytes that a file's stamp tells."""
    found = re.match(rf"{_FILE}(\d+) bytes", stamp or "")
    return None if found is None else int(found[1])


def is_of_a_file(stamp: str | None) -> bool:
    """Whether a stamp is a file's, which may be gone one day."""
    return stamp is None or stamp.startswith(_FILE)


def read(source: Source, preprocessing: Preprocessing, images: ImageSet) -> Picture:
    """Open one of some images, and fit it to the network's input; what goes wrong is kept, not raised."""
    stamp = stamp_of(source.content)  # before it is read: a later change is seen the next time
    digest = None
    try:
        digest = digest_of(source.content)
        pixels = open_image(source, background=images.background, at_least=images.at_least, remark=images.remark)
        fitted = preprocessing.fit(pixels, source.name)
        size = (pixels.shape[0], pixels.shape[1])
        if images.at_least is not None and isinstance(source.content, Path):
            size = upright_size(source.content)
    except UnavailableError as error:
        return Picture(source.name, source.label, None, error=str(error))
    except ImageError as error:
        return Picture(source.name, source.label, stamp, digest, error=str(error))
    return Picture(source.name, source.label, stamp, digest, size, fitted, encode(thumbnail_of(fitted)))


def digest_of(content: Any) -> str | None:
    """A hash of a file's bytes, or of an image's pixels; None for a file that cannot be read."""
    if isinstance(content, Path):
        try:
            if not content.is_file():  # reading a pipe would wait forever
                return None
            with content.open("rb") as file:
                return str(hashlib.file_digest(file, _hash).hexdigest())
        except (OSError, ValueError):
            return None
    if isinstance(content, Item):
        content = content.image()
    array = np.ascontiguousarray(np.asarray(content))
    digest = _hash()
    digest.update(f"{array.shape} {array.dtype}".encode())
    digest.update(array.data)
    return str(digest.hexdigest())


def _hash() -> Any:
    return hashlib.blake2b(digest_size=_DIGEST)


def table_of(
    pictures: Sequence[Picture],
    features: Features | None,
    labels: Sequence[str],
    schema: pa.Schema,
) -> pa.Table:
    """Rows for pictures; the features are of those that could be read, in the same order.

    A vector with NaN or infinite values, also where float16 does not reach so far, is an error of its row.
    """
    import pyarrow as pa

    pictures, features = _without_bad_vectors(pictures, features, schema)
    given = iter(range(len(pictures)))
    place = [None if picture.error is not None else next(given) for picture in pictures]
    predicted, probabilities = _predictions(features, labels)

    def each(values: Sequence[Any] | None) -> list[Any]:
        return [None if at is None or values is None else values[at] for at in place]

    columns: dict[str, Any] = {
        "path": [p.path for p in pictures],
        "id": [p.id for p in pictures],
        "label": [p.label for p in pictures],
        "predicted": each(predicted),
        "probability": each(probabilities),
        "width": [p.size and p.size[1] for p in pictures],
        "height": [p.size and p.size[0] for p in pictures],
        "thumbnail": [p.thumbnail for p in pictures],
        "vector": vector_column(each(None if features is None else list(features.vectors)), schema),
        "error": [p.error for p in pictures],
        "stamp": [p.stamp for p in pictures],
    }
    arrays = [
        value if isinstance(value, pa.Array) else pa.array(value, schema.field(name).type)
        for name, value in columns.items()
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema([schema.field(name) for name in columns]))


def _without_bad_vectors(
    pictures: Sequence[Picture], features: Features | None, schema: pa.Schema
) -> tuple[Sequence[Picture], Features | None]:
    if features is None:
        return pictures, None
    is_good = is_finite_in(features.vectors, schema)
    if is_good.all():
        return pictures, features
    error = f"the network gives NaN or infinite values in {vector_type(schema)}"
    good = iter(is_good)
    marked = [p if p.error is not None or next(good) else replace(p, error=f"{p.path}: {error}") for p in pictures]
    scores = None if features.scores is None else features.scores[is_good]
    return marked, replace(features, vectors=features.vectors[is_good], scores=scores)


def _predictions(features: Features | None, labels: Sequence[str]) -> tuple[list[str] | None, list[float] | None]:
    """Name and probability of the best class of each image, where the network gives class scores."""
    if features is None or features.scores is None:
        return None, None
    best = features.scores.argmax(axis=1)
    found = probabilities(features.scores, features.normalization).max(axis=1)
    return [labels[i] if i < len(labels) else str(i) for i in best], found.tolist()
