"""Ctrl-C that waits while a context is entered or left, which would otherwise be entered and never left.

Python raises KeyboardInterrupt wherever it happens to be. Between the last line of `__enter__` and the body of the
`with`, or on the first line of `__exit__`, nothing puts right again what the context has changed.
"""

from __future__ import annotations

import _thread
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from inspect import CO_GENERATOR
from types import FrameType
from typing import Any

_BETWEEN = frozenset(("__enter__", "__exit__", "enter_context"))
_AGAIN_S = 0.005
_AT_MOST_S = 1.0  # after which it comes all the same: somebody waits for a lock, or for a network


@contextmanager
def orderly_interrupts() -> Iterator[None]:
    """Inside, Ctrl-C waits until no context is being entered or left, and comes then.

    In the main thread, which alone is interrupted, and where Ctrl-C is handled by Python. What it does is up to
    the handler that was there.
    """
    previous: Any = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not callable(previous) or isinstance(previous, _Patient):
        yield
        return
    patient = _Patient(previous, _depth(_caller(sys._getframe(1))))
    signal.signal(signal.SIGINT, patient)  # from here on nothing comes before the caller has entered
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is patient:
            signal.signal(signal.SIGINT, previous)
        patient.deliver()


class _Patient:
    """A handler of SIGINT that has the previous one called when it suits, which the stack tells."""

    def __init__(self, previous: Callable[[int, FrameType | None], object], depth: int) -> None:
        self._previous, self._depth = previous, depth
        self._since: float | None = None  # when Ctrl-C was pressed that still waits

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        is_new = self._since is None
        since = self._since = time.monotonic() if self._since is None else self._since
        if not self._is_between(frame) or time.monotonic() - since > _AT_MOST_S:
            self._since = None
            self._previous(signum, frame)
        elif is_new:
            _thread.start_new_thread(self._remind, ())

    def deliver(self) -> None:
        """What still waits comes now."""
        if self._since is not None:
            self._since = None
            self._previous(signal.SIGINT, sys._getframe(1))

    def _is_between(self, frame: FrameType | None) -> bool:
        """Whether one of the functions that have been called since is entering or leaving a context."""
        names = []
        while frame is not None:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        return not _BETWEEN.isdisjoint(names[: len(names) - self._depth])

    def _remind(self) -> None:
        """In a thread of its own: Ctrl-C once more in a moment, until it has come."""
        while True:
            time.sleep(_AGAIN_S)
            if self._since is None or signal.getsignal(signal.SIGINT) is not self:
                return
            _thread.interrupt_main()


def _caller(frame: FrameType) -> FrameType:
    """The function that has a `with`, also where that is around a context made of others."""
    while frame.f_back is not None and (
        frame.f_code.co_name in _BETWEEN
        or (frame.f_code.co_flags & CO_GENERATOR and frame.f_back.f_code.co_name in _BETWEEN)
    ):
        frame = frame.f_back
    return frame


def _depth(frame: FrameType | None) -> int:
    depth = 0
    while frame is not None:
        depth, frame = depth + 1, frame.f_back
    return depth
