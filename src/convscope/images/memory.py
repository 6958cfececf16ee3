"""How much memory opening images may take, over all threads of a process together."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ..after_fork import after_fork
from ..errors import ImageError, ParameterError

VARIABLE = "CONVSCOPE_IMAGE_MEMORY"  # of the environment: megabytes
_MEGABYTE = 1 << 20
_DEFAULT = 1024 * _MEGABYTE


class _Shared:
    """Bytes that threads have taken, and the queue of those that wait for some."""

    def __init__(self) -> None:
        self.taken = 0
        self.changed = threading.Condition()
        self.queue = threading.Lock()  # first come, first served: else small images would let no large one in


_shared = _Shared()
_own = threading.local()


def _begin_anew() -> None:
    """In a process that was forked: what the threads of the old one had taken is not taken here."""
    global _shared
    _shared = _Shared()
    if hasattr(_own, "taken"):
        _own.taken = 0


after_fork(_begin_anew)


def limit() -> int:
    """Bytes that all images together may take while they are opened: `VARIABLE`, or 1 GiB."""
    given = os.environ.get(VARIABLE, "").strip()
    if not given:
        return _DEFAULT
    if not given.isdecimal() or int(given) < 1:
        raise ParameterError(f"{VARIABLE}={given!r}: expected megabytes, a whole number of at least 1")
    return int(given) * _MEGABYTE


@contextmanager
def one_image() -> Iterator[None]:
    """What is reserved inside is given back at its end: one image is opened, and made into what is kept of it.

    Where one stands inside another, the outer one counts.
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
    """Wait until so many bytes are free for this thread's image, in all; what it had before is in them.

    Raises:
        ImageError: it is more than there will ever be; ``what`` needs it.
    """
    most = limit()
    if n_bytes > most:
        raise ImageError(
            f"{what}: takes about {n_bytes // _MEGABYTE + 1:,} MB to open, and at most {most // _MEGABYTE:,} MB "
            f"are allowed; scale it down first, or set {VARIABLE} to more megabytes"
        )
    if n_bytes <= _own.taken:
        return
    _give_back()  # who waits holds nothing, so that no two wait for each other
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
