"""What a forked process lacks of the one that it comes from: its threads, and so whoever holds its locks."""

from __future__ import annotations

import os
from collections.abc import Callable

import torch

_is_forked = False


def after_fork(renew: Callable[[], None]) -> None:
    """Have this called in every forked process, where that exists; it must be quick, and run no network."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)


def in_one_thread_if_forked() -> None:
    """Before the first run in a forked process: PyTorch's threads are gone, and OpenMP would wait for them."""
    global _is_forked
    if _is_forked:
        _is_forked = False
        torch.set_num_threads(1)


def _note_fork() -> None:
    global _is_forked
    _is_forked = True


after_fork(_note_fork)
