"""Run blocks under `torch.utils.checkpoint` without checkpointing.

A checkpointed block keeps no activations; its backward pass runs it again. That second run would happen outside
the rules, hooks and fused operations that a method has put around the first, and reentrant checkpointing does not
support `torch.autograd.grad` at all. Without checkpointing the values are the same, but take more memory.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils import checkpoint as torch_checkpoint

from ..after_fork import after_fork

_REENTRANT = "CheckpointFunction"
_GENERATORS = "_checkpoint_without_reentrant_generator"  # and, in later versions, also with the suffix "_impl"

_lock = threading.Lock()
_inside = threading.local()  # .depth: how many contexts this thread is in
_originals: dict[str, Any] = {}
_n_contexts = 0


@contextmanager
def uncheckpointed() -> Iterator[None]:
    """Inside, in this thread only, checkpointed blocks are called directly."""
    global _n_contexts
    with _lock:
        if not _n_contexts:
            _install()
        _n_contexts += 1
    _inside.depth = _depth() + 1
    try:
        yield
    finally:
        _inside.depth -= 1
        with _lock:
            _n_contexts -= 1
            if not _n_contexts:
                vars(torch_checkpoint).update(_originals)


def _depth() -> int:
    return getattr(_inside, "depth", 0)


def _forked() -> None:
    """A forked process has only this thread; contexts of the others will never end."""
    global _lock, _n_contexts
    _lock = threading.Lock()
    if _n_contexts and not _depth():
        vars(torch_checkpoint).update(_originals)
    _n_contexts = _depth()


after_fork(_forked)


def _install() -> None:
    names = [n for n in vars(torch_checkpoint) if n == _REENTRANT or n.startswith(_GENERATORS)]
    _originals.update({name: getattr(torch_checkpoint, name) for name in names})
    for name in names:
        stand_in = _Direct if name == _REENTRANT else _generator(_originals[name])
        setattr(torch_checkpoint, name, stand_in)


class _Direct:
    """Replaces the autograd function of the reentrant kind."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return function(*args) if _depth() else _originals[_REENTRANT].apply(function, preserve, *args)


def _generator(original: Callable[..., Iterator[None]]) -> Callable[..., Iterator[None]]:
    """Replaces the generator of the non-reentrant kind, which yields while the block runs."""

    def prepare(*args: Any, **kwargs: Any) -> Iterator[None]:
        if _depth():
            yield
        else:
            yield from original(*args, **kwargs)

    return prepare
