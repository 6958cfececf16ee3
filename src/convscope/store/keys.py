"""The key of a row, and the stamp and digest that show whether its file has changed."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from ..images import Item

_FILE, _CONTENT = "file of ", "content "
_DIGEST = 16  # bytes of an id: two of a hundred million images share one with a chance of 1e-23


def as_key(name: str) -> str:
    """A name as a row has it: what is no Unicode, as in a file's name, is written as \\udcff."""
    return name.encode("utf-8", "backslashreplace").decode()


def key_of(path: str | Path) -> str:
    """The key of a file's row: its absolute path."""
    return as_key(os.path.abspath(path))


def path_of(key: str) -> str:
    """The way back: the path of a row's file."""
    if "\\udc" not in key or os.path.lexists(key):  # a name may hold such a text by itself
        return key
    return re.sub(r"\\udc([89a-f][0-9a-f])", lambda found: chr(0xDC00 + int(found[1], 16)), key)


def stamp_of(content: Any) -> str | None:
    """A text that changes when an image does: size and times of a file, a digest of anything else.

    The second time is that of the file's entry, as two files that were swapped may agree in the rest. None for a
    file that is gone.
    """
    if not isinstance(content, Path):
        return f"{_CONTENT}{digest_of(content)}"
    try:
        about = content.stat()
    except (OSError, ValueError):  # ValueError: a name that no file can have
        return None
    return f"{_FILE}{about.st_size} bytes, changed {about.st_mtime_ns}, moved here {about.st_ctime_ns}"


def has_changed(key: str, stamp: str | None) -> bool:
    """Whether a row's file exists and differs from what was read."""
    now = stamp_of(Path(path_of(key))) if is_of_a_file(stamp) else None
    return now is not None and now != stamp


def size_in(stamp: str | None) -> int | None:
    """The size in bytes that a file's stamp states."""
    found = re.match(rf"{_FILE}(\d+) bytes", stamp or "")
    return None if found is None else int(found[1])


def is_of_a_file(stamp: str | None) -> bool:
    """Whether a stamp is that of a file, which may be removed one day."""
    return stamp is None or stamp.startswith(_FILE)


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
