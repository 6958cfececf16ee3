"""Keep and restore what a run may change in a network: buffers, cached tensors, counters, random generators."""

from __future__ import annotations

from collections import deque
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import nn

from .members import Members, members_of
from .random_numbers import Restore, kept_generator
from .tensor_values import KeptValues

# Set by `nn.Module` itself. A forward pass may add or remove parameters and modules; the rest are hooks and flags.
_FRAME = frozenset(nn.Module().__dict__)
_MEMBERS = ("_buffers", "_parameters", "_modules")
_FIXED = frozenset((int, float, bool, str, type(None), nn.Parameter))
_LONG = 1000


class ModuleState:
    """The present state of a network's modules, to be restored later.

    It covers attributes that a run sets, replaces or deletes, the contents of lists, dicts and sets, tensors that
    are changed in place, and the network's own random generators. Parameters are assumed not to change. Objects of
    a user's class, such as a cache, are covered, but not further such objects inside them.
    """

    def __init__(self, module: nn.Module, members: Members | None = None) -> None:
        self._attributes: list[tuple[dict[str, Any], dict[str, Any]]] = []  # of each module, and a copy
        self._empty: list[Any] = []  # empty containers, as most in a network are
        self._filled: list[tuple[Any, Any]] = []  # other containers, and a copy of each
        self._arrays: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]] = []
        self._generators: list[Restore] = []
        tensors: list[torch.Tensor] = []
        self._keep_members(members or members_of(module), set(), tensors)
        self._values = KeptValues(tensors)

    def restore(self, *, generators: bool = True) -> None:
        """Restore what has changed, and write nothing else; random generators only with ``generators``."""
        for attributes, before in self._attributes:
            if not _is_same(attributes, before):
                _put_back(attributes, before)
        for container in self._empty:
            if len(container):
                container.clear()
        for container, before in self._filled:
            if not _is_same(container, before):
                container.clear()
                (container.extend if isinstance(container, list | deque) else container.update)(before)
        self._values.restore()
        for array, values in self._arrays:
            if array.flags.writeable and array.tobytes() != values.tobytes():
                np.copyto(array, values)
        for restore in self._generators if generators else ():
            restore()

    def _keep_members(self, members: Members, seen: set[int], tensors: list[torch.Tensor]) -> None:
        """Keep a network, or a module that is not registered but held in a list or by an object."""
        seen.update(map(id, members.modules))
        for child in members.modules:
            before = dict(child.__dict__)
            self._attributes.append((child.__dict__, before))
            for name in before.keys() - _FRAME:
                if type(value := before[name]) not in _FIXED:
                    self._keep(value, seen, tensors)
            for name in _MEMBERS:
                if isinstance(own := before.get(name), dict):
                    self._keep_container(own)
        for buffer in members.buffers:
            if id(buffer) not in seen:
                self._keep(buffer, seen, tensors)

    def _keep(self, value: Any, seen: set[int], tensors: list[torch.Tensor], *, depth: int = 0) -> None:
        """Keep a value and what is inside it; ``tensors`` collects the tensors among them."""
        if isinstance(value, int | float | str | None) or id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            if not isinstance(value, nn.Parameter):
                tensors.append(value)
        elif isinstance(value, list | tuple | dict | set | deque):
            if not isinstance(value, tuple):
                self._keep_container(value)
            if len(value) <= _LONG:  # longer ones hold numbers or names
                for item in value.values() if isinstance(value, dict) else value:
                    if type(item) not in _FIXED:
                        self._keep(item, seen, tensors, depth=depth)
        elif isinstance(value, nn.Module):
            self._keep_members(members_of(value), seen, tensors)
        elif (restore := kept_generator(value)) is not None:
            self._generators.append(restore)
        elif isinstance(value, np.ndarray):
            self._arrays.append((value, value.copy()))
        elif depth == 0 and _is_plain_object(value):
            self._keep_container(vars(value))
            for item in vars(value).values():
                self._keep(item, seen, tensors, depth=1)

    def _keep_container(self, container: Any) -> None:
        if not len(container):
            self._empty.append(container)
        elif isinstance(container, dict):
            self._filled.append((container, dict(container)))
        else:
            self._filled.append((container, (set if isinstance(container, set) else list)(container)))


def _is_same(now: Any, before: Any) -> bool:
    """Whether a container, or the attributes of a module, hold the same objects in the same order."""
    if len(now) != len(before):
        return False
    if isinstance(now, dict) and not all(map(is_, now.values(), before.values())):
        return False
    return now == before if isinstance(now, set) else all(map(is_, now, before))


def _put_back(attributes: dict[str, Any], before: dict[str, Any]) -> None:
    """Restore the attributes of a module, but not its mode."""
    for name in attributes.keys() - before.keys():
        del attributes[name]
    for name, value in before.items():
        if name != "training" and (name not in attributes or attributes[name] is not value):
            attributes[name] = value


def _is_plain_object(value: Any) -> bool:
    """Whether it is an instance of a user's class, such as a cache, not a function, class or library object."""
    library = type(value).__module__.partition(".")[0] in (
        "builtins",
        "torch",
        "numpy",
        "collections",
        "functools",
    )
    return not library and not callable(value) and hasattr(value, "__dict__")
