"""Find operations that a network does not call from Python: in TorchScript, compiled code, other languages.

Rules and fused operations can replace only PyTorch functions that are called from Python; others run unchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch._ops import OpOverload, OpOverloadPacket
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

# Operations that change no values, which PyTorch adds around functions that define their own backward pass.
_IDLE = frozenset(
    ("detach", "detach_", "alias", "view", "view_as", "_to_copy", "clone", "_unsafe_view", "_reshape_alias",
     "expand", "empty_like", "lift", "lift_fresh")
)  # fmt: skip


@contextmanager
def watching_for_hidden() -> Iterator[set[str]]:
    """Collect, inside the context, the names of operations that were not called from Python."""
    found: set[str] = set()
    with (functions := _Functions()), _Operations(functions, found):
        yield found


class _Functions(TorchFunctionMode):
    """Knows whether a function called from Python is running, for which a rule could be found.

    An operation of ATen that is called as such, as exported programs do, is none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if isinstance(func, OpOverload | OpOverloadPacket):
            return func(*args, **(kwargs or {}))
        self.depth += 1
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.depth -= 1


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, functions: _Functions, found: set[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._functions, self._found = functions, found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        namespace, _, name = func._schema.name.partition("::")
        is_foreign = namespace not in ("aten", "prim", "prims")
        if is_foreign or (not self._functions.depth and name not in _IDLE):
            self._found.add(name)
        return func(*args, **(kwargs or {}))
