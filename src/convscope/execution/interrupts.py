"""Delay Ctrl-C while a context is being entered or left, so that every context entered is also left.

Python raises KeyboardInterrupt at whatever line runs. Between the last line of `__enter__` and the body of the
`with`, or on the first line of `__exit__`, nothing would undo what the context has changed.
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
_AT_MOST_S = 1.0  # then it is raised anyway: the program may be waiting for a lock or a connection


@contextmanager
def orderly_interrupts() -> Iterator[None]:
    """Inside, Ctrl-C waits until no context is being entered or left.

    It works only in the main thread, where Ctrl-C arrives, and only if a Python function handles it; Ctrl-C then
    goes to that function.
    """
    previous: Any = signal.getsignal(signal.SIGINT)
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or not callable(previous) or isinstance(previous, _Patient):
        yield
        return
    patient = _Patient(previous, _depth(_caller(sys._getframe(1))))
    signal.signal(signal.SIGINT, patient)  # from here on an interrupt waits until the caller has entered
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is patient:
            signal.signal(signal.SIGINT, previous)
        patient.deliver()


class _Patient:
    """A handler of SIGINT that calls the previous one once no context on the stack is being entered or left."""

    def __init__(self, previous: Callable[[int, FrameType | None], object], depth: int) -> None:
        self._previous, self._depth = previous, depth
        self._since: float | None = None  # when a pending Ctrl-C was pressed

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        is_new = self._since is None
        since = self._since = time.monotonic() if self._since is None else self._since
        if not self._is_between(frame) or time.monotonic() - since > _AT_MOST_S:
            self._since = None
            self._previous(signum, frame)
        elif is_new:
            _thread.start_new_thread(self._remind, ())

    def deliver(self) -> None:
        """Raise a pending interrupt."""
        if self._since is not None:
            self._since = None
            self._previous(signal.SIGINT, sys._getframe(1))

    def _is_between(self, frame: FrameType | None) -> bool:
        """Whether a function called inside `orderly_interrupts` is entering or leaving a context."""
        names = []
        while frame is not None:
            names.append(frame.f_code.co_name)
            frame = frame.f_back
        return not _BETWEEN.isdisjoint(names[: len(names) - self._depth])

    def _remind(self) -> None:
        """In a separate thread, send Ctrl-C again every few milliseconds until it is raised."""
        while True:
            time.sleep(_AGAIN_S)
            if self._since is None or signal.getsignal(signal.SIGINT) is not self:
                return
            _thread.interrupt_main()


def _caller(frame: FrameType) -> FrameType:
    """The function that contains the `with`, skipping contexts made of other contexts."""
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
