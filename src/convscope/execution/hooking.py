"""Hooks on modules that are removed after use, also after an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn
from torch.utils.hooks import RemovableHandle


@contextmanager
def hooks() -> Iterator[list[RemovableHandle]]:
    """A list for hook handles, all of which are removed at the end."""
    handles: list[RemovableHandle] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()


class HookState:
    """The hooks that modules have now, to be restored later."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._kept = [
            hooks for child in modules for name in _HOOKS if (hooks := vars(child).get(name)) is not None
        ]
        self._before = {id(hooks): dict(hooks) for hooks in self._kept if hooks}  # most have none

    def restore(self) -> None:
        for hooks in self._kept:
            before = self._before.get(id(hooks), {})
            if hooks.keys() != before.keys():
                hooks.clear()
                hooks.update(before)


_HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
)
