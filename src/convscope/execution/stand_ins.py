"""Stand-ins: tensors without values, for those that only one known call of the network will read.

A convolution that ran together with what follows it has no output of its own. The network gets a stand-in instead,
and the call that is expected next trades it for the result. Whatever else reads the stand-in, because the network
takes another path than when it was watched, gets the plain value, computed then. What reads it unseen gets NaN.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

Call: TypeAlias = tuple[Any, ...]  # a function, and the values that it is called with beside the stand-in

# Calls that read no values, and properties likewise.
_NO_VALUES = frozenset(("size", "dim", "numel", "__len__", "is_floating_point", "get_device"))
_NO_VALUES_OF = frozenset(("shape", "ndim", "dtype", "device", "layout"))


@dataclass
class _StandIn:
    """What a stand-in stands for: the result of the expected call, once, and the plain value for any other."""

    expected: Call
    result: torch.Tensor | None
    plain: Callable[[], torch.Tensor]
    value: torch.Tensor | None = None  # the plain value, kept, as the network may change it in place


class StandIns:
    """The stand-ins that a network holds; one that it lets go is forgotten, with all that it takes to fill it."""

    def __init__(self) -> None:
        self._by_id: dict[int, tuple[weakref.ref[torch.Tensor], _StandIn]] = {}
        self._nan: dict[Any, torch.Tensor] = {}  # by type and device

    def __len__(self) -> int:
        return len(self._by_id)

    def put(
        self, expected: Call, result: torch.Tensor, shape: torch.Size, plain: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """A new stand-in for a tensor of this shape.

        Args:
            expected: the call that will read it.
            result: what that call will return.
            shape: of the stand-in.
            plain: computes what the network would have in its place.
        """
        kind = result.dtype, result.device
        if kind not in self._nan:
            self._nan[kind] = result.new_full((1,), torch.nan)
        tensor = self._nan[kind].expand(shape)
        number = id(tensor)

        def forget(_: object) -> None:
            self._by_id.pop(number, None)

        self._by_id[number] = weakref.ref(tensor, forget), _StandIn(expected, result, plain)
        return tensor

    def trade(self, value: Any, call: Call, *, in_place: bool = False) -> torch.Tensor | None:
        """The result of a call that reads ``value``; None if that is no stand-in, or one for another call.

        A stand-in is traded once, and not after its plain value was read. ``in_place``: the call writes into its
        input, so that from now on the stand-in has the result as its plain value.
        """
        if (found := self._by_id.get(id(value))) is None:
            return None
        entry = found[1]
        if entry.result is None or entry.value is not None or not _is_same(entry.expected, call):
            return None
        result, entry.result = entry.result, None
        if in_place:
            entry.value = result
        return result

    def filled_in(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """The arguments of a call that nobody expected, with the plain values of all stand-ins that it reads."""
        if not self._by_id or _reads_no_values(func):
            return args, kwargs
        return self._filled(args), {
            name: self._filled(value) for name, value in kwargs.items()
        } if kwargs else kwargs

    def _filled(self, value: Any) -> Any:
        if isinstance(value, tuple | list):
            if not any(isinstance(item, tuple | list) or id(item) in self._by_id for item in value):
                return value
            filled = [self._filled(item) for item in value]
            return filled if isinstance(value, list) else tuple(filled)
        if (found := self._by_id.get(id(value))) is None:
            return value
        entry = found[1]
        if entry.value is None:
            entry.value = entry.plain()
        return entry.value


def _is_same(call: Call, other: Call) -> bool:
    """Whether both are the same function with the same tensors and equal options."""
    return len(call) == len(other) and all(
        a is b or (not (isinstance(a, torch.Tensor) or isinstance(b, torch.Tensor)) and a == b)
        for a, b in zip(call, other, strict=True)
    )


def _reads_no_values(func: Any) -> bool:
    name = func.__name__
    return name in _NO_VALUES or (name == "__get__" and func.__self__.__name__ in _NO_VALUES_OF)
