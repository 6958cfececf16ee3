"""What Pillow remarks on a file does not name it, so that it helps nobody: it is not shown."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from PIL import Image

from ..forks import after_fork

_here = threading.local()


class _OfPillowHere:
    """Stands for the pattern of module names in a filter of warnings: fits Pillow's, in a thread that is `quiet`.

    `warnings.catch_warnings` would change what is shown in all threads, and those end in no order.
    """

    pattern = r"PIL\."  # which scikit-learn reads of all filters, to put them up in its workers

    def match(self, module: str) -> bool:
        return getattr(_here, "depth", 0) > 0 and module.startswith("PIL.")


_FILTERS: tuple[Any, ...] = (
    ("error", None, Image.DecompressionBombWarning, _OfPillowHere(), 0),  # of an image inside of a file
    ("ignore", None, Warning, _OfPillowHere(), 0),
)
_lock = threading.Lock()


def _begin_anew() -> None:
    """In a process that was forked: a thread of the old one may have held the lock, and is not here."""
    global _lock
    _lock = threading.Lock()


after_fork(_begin_anew)


def _put_first(filters: Any) -> None:
    """The filters before all others, wherever they stood; they concern no thread that is not `quiet`."""
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
    """In this thread, Pillow's warnings are not shown, and an image beyond its limit of size is an error."""
    _put_first(warnings.filters)
    _here.depth = getattr(_here, "depth", 0) + 1
    try:
        yield
    finally:
        _here.depth -= 1
