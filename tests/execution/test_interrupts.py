"""Ctrl-C between any two lines: it comes, and nothing is left changed."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
import torch

from convscope import Model
from convscope.execution.interrupts import orderly_interrupts

from .interrupting import CALLS, IMAGES, Interruption, left_behind, length_of, state_of, tiny


@pytest.fixture(autouse=True)
def as_at_a_terminal() -> Iterator[None]:
    """Ctrl-C raises, also where the tests run in the background, which is deaf to it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# A call may be some lines shorter than when it was measured; Python itself loses an interrupt in a destructor.
_HARMLESS = {"not reached", "unraisable KeyboardInterrupt()"}


@pytest.mark.parametrize("name", ["predict", "saliency", "lrp"])
def test_ctrl_c_at_any_moment_leaves_all_as_it_was(name: str) -> None:
    model = Model(tiny())
    CALLS[name](model)
    length = length_of(CALLS[name], model)
    chance = random.Random(0)
    for at in (chance.randint(1, length) for _ in range(40)):
        assert set(left_behind(CALLS[name], model, at)) <= _HARMLESS, f"moment {at} of {length}"


@pytest.mark.slow
@pytest.mark.parametrize("is_known", [False, True], ids=["met the first time", "known"])
@pytest.mark.parametrize("name", CALLS)
def test_so_it_does_in_every_method(name: str, is_known: bool) -> None:
    chance, length = random.Random(1), 0
    for _ in range(60):
        model = Model(tiny())
        if is_known:
            CALLS[name](model)
        length = length or length_of(CALLS[name], Model(tiny()) if not is_known else model)
        at = chance.randint(1, length)
        assert set(left_behind(CALLS[name], model, at)) <= _HARMLESS, f"moment {at} of {length}"


@contextmanager
def entered(log: list[str]) -> Iterator[None]:
    """Ctrl-C comes while it is entered, and while it is left."""
    signal.raise_signal(signal.SIGINT)
    log.append("entered")
    try:
        yield
    finally:
        log.append("left")


def wait_for_it() -> None:
    """Until Ctrl-C comes."""
    for _ in range(10_000):
        time.sleep(0.001)


def test_it_waits_until_a_context_has_been_entered_and_comes_then() -> None:
    log: list[str] = []
    with orderly_interrupts():
        with pytest.raises(KeyboardInterrupt), entered(log):
            wait_for_it()
        assert log == ["entered", "left"]


def test_what_still_waits_comes_at_the_end_and_once() -> None:
    handler = signal.getsignal(signal.SIGINT)

    @contextmanager
    def leaving() -> Iterator[None]:
        yield
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt), orderly_interrupts(), leaving():
        pass
    assert signal.getsignal(signal.SIGINT) is handler
    time.sleep(0.05)  # a second one would come here


def test_a_context_that_never_ends_can_be_interrupted() -> None:
    class Endless:
        def __enter__(self) -> None:
            signal.raise_signal(signal.SIGINT)
            wait_for_it()

        def __exit__(self, *_: object) -> None:
            """Not reached."""

    with pytest.raises(KeyboardInterrupt), orderly_interrupts(), Endless():
        pass


def test_a_handler_of_the_users_own_decides() -> None:
    seen: list[int] = []

    def handler(signum: int, frame: FrameType | None) -> None:
        seen.append(signum)

    before = signal.signal(signal.SIGINT, handler)
    try:
        model = Model(tiny())
        for at in (500, 5000, 15000):
            with Interruption(at):
                model.predict(IMAGES)
        assert seen == [signal.SIGINT] * 3
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_what_python_does_not_handle_is_let_alone(handler: signal.Handlers) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        with orderly_interrupts():
            assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_have_nothing_to_do_with_it() -> None:
    model, handlers = Model(tiny()), []
    model.predict(IMAGES)
    before = state_of(model.module)

    def run() -> None:
        model.predict(IMAGES, progress=lambda *_: handlers.append(signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGINT)]
    assert state_of(model.module) == before


def test_hooks_that_nobody_had_yet_are_taken_off() -> None:
    net = tiny()
    before = state_of(net)
    model = Model(net)

    def progress(done: int, total: int) -> None:
        net[2].register_forward_hook(lambda *_: None)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.predict(torch.zeros(1, 3, 12, 12), progress=progress)
    assert state_of(net) == before
