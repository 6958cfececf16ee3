"""Hide Pillow's warnings while images are opened: they do not name the file, so they help nobody."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from ..after_fork import after_fork

_here = threading.local()


class _OfPillowHere:
    """Replaces the module pattern in a warnings filter: matches Pillow's modules, in threads that are `quiet`.

    `warnings.catch_warnings` would not do: it changes what all threads show, and threads end in any order.
    """

    pattern = r"PIL\."  # which scikit-learn reads of all filters, to put them up in its workers

    def match(self, module: str) -> bool:
        return getattr(_here, "depth", 0) > 0 and module.startswith("PIL.")


_FILTERS: tuple[Any, ...] = (
    ("error", None, Image.DecompressionBombWarning, _OfPillowHere(), 0),  # for an image inside a file
    ("ignore", None, Warning, _OfPillowHere(), 0),
)
_lock = threading.Lock()


def _begin_anew() -> None:
    """After a fork: a thread that does not exist in this process may have held the lock."""
    global _lock
    _lock = threading.Lock()


after_fork(_begin_anew)


def _put_first(filters: Any) -> None:
    """Move the filters to the front; they affect only threads that are `quiet`."""
    if tuple(filters[: len(_FILTERS)]) == _FILTERS:
        return
    with _lock:
        for entry in reversed(_FILTERS):
            if entry in filters:
                filters.remove(entry)
            filters.insert(0, entry)


def _not_here(record: logging.LogRecord) -> bool:
    return getattr(_here, "depth", 0) == 0 or record.levelno < logging.WARNING


logging.getLogger("PIL.TiffImagePlugin").addFilter(_not_here)


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Pillow's warnings in this thread, and make an image beyond Pillow's size limit an error."""
    _put_first(warnings.filters)
    _here.depth = getattr(_here, "depth", 0) + 1
    try:
        yield
    finally:
        _here.depth -= 1
