"""A limit on the memory for opening images, shared by all threads of a process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..after_fork import after_fork
from ..errors import ImageError, ParameterError

VARIABLE = "CONVSCOPE_IMAGE_MEMORY"  # environment variable, in megabytes
_MEGABYTE = 1 << 20
_DEFAULT = 1024 * _MEGABYTE


class _Shared:
    """The bytes that threads have reserved, and the queue of threads that wait for memory."""

    def __init__(self) -> None:
        self.taken = 0
        self.changed = threading.Condition()
        self.queue = threading.Lock()  # first come, first served: small images must not starve a large one


_shared = _Shared()
_own = threading.local()


def _begin_anew() -> None:
    """After a fork: the threads that had reserved memory do not exist in this process."""
    global _shared
    _shared = _Shared()
    if hasattr(_own, "taken"):
        _own.taken = 0


after_fork(_begin_anew)


def limit() -> int:
    """The most bytes that all images being opened may take together: `VARIABLE`, or 1 GiB."""
    given = os.environ.get(VARIABLE, "").strip()
    if not given:
        return _DEFAULT
    if not given.isdecimal() or int(given) < 1:
        raise ParameterError(f"{VARIABLE}={given!r}: expected megabytes, a whole number of at least 1")
    return int(given) * _MEGABYTE


@contextmanager
def one_image() -> Iterator[None]:
    """Enclose the work on one image; at the end, release the memory reserved inside.

    If these contexts are nested, the outermost one counts.
    """
    if hasattr(_own, "taken"):
        yield
        return
    _own.taken = 0
    try:
        yield
    finally:
        _give_back()
        del _own.taken


def reserve(n_bytes: int, what: str) -> None:
    """Wait until this thread's image may take ``n_bytes`` in all, including what it reserved before.

    Raises:
        ImageError: ``what`` needs more than the limit.
    """
    most = limit()
    if n_bytes > most:
        raise ImageError(
            f"{what}: takes about {n_bytes // _MEGABYTE + 1:,} MB to open, and at most {most // _MEGABYTE:,} MB "
            f"are allowed; scale it down first, or set {VARIABLE} to more megabytes"
        )
    if n_bytes <= _own.taken:
        return
    _give_back()  # a waiting thread holds nothing, so that no two wait for each other
    shared = _shared
    with shared.queue, shared.changed:
        shared.changed.wait_for(lambda: shared.taken + n_bytes <= most)
        shared.taken += n_bytes
        _own.taken = n_bytes


def _give_back() -> None:
    shared = _shared
    with shared.changed:
        shared.taken -= _own.taken
        _own.taken = 0
        shared.changed.notify_all()
