"""A forked process has none of PyTorch's threads: its networks run in one."""

from __future__ import annotations

import torch

from ..forks import after_fork

_is_forked = False


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
