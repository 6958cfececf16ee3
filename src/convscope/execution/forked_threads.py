"""Run networks in one thread in a forked process, which has lost PyTorch's threads."""

from __future__ import annotations

import torch

from ..after_fork import after_fork

_is_forked = False


def in_one_thread_if_forked() -> None:
    """Before the first run in a forked process, use one thread: OpenMP would wait for threads that are gone."""
    global _is_forked
    if _is_forked:
        _is_forked = False
        torch.set_num_threads(1)


def _note_fork() -> None:
    global _is_forked
    _is_forked = True


after_fork(_note_fork)
