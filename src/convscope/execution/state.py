"""What a run of a network may change besides its output: buffers, cached tensors, counters, random numbers."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy

Restore: TypeAlias = Callable[[], None]

# Kept by `nn.Module` itself; of these a forward pass may change which tensors and modules there are, and no
# others.
_FRAME = frozenset(nn.Module().__dict__) - {"_buffers"}
_MEMBERS = ("_parameters", "_modules")


class ModuleState:
    """What the modules of a network hold now, to be put back later.

    Attributes that a run sets, replaces or deletes, the contents of lists, dicts and sets, tensors that it changes
    in place, and random generators of its own. Parameters are taken to stay as they are, and objects of other
    classes are not looked into.
    """

    def __init__(self, module: nn.Module) -> None:
        self._attributes: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._contents: list[Restore] = []
        self._generators: list[Restore] = []
        self._keep(module, set())

    def restore(self, *, generators: bool = True) -> None:
        """Put everything back; what has not changed is not written. Random generators only if they are meant."""
        for now, before in self._attributes:
            for name in now.keys() - before.keys():
                del now[name]
            for name, value in before.items():
                if name != "training" and now.get(name, _MISSING) is not value:
                    now[name] = value
        for restore in (*self._contents, *(self._generators if generators else ())):
            restore()

    def _keep(self, value: Any, seen: set[int], *, depth: int = 0) -> None:
        """Remember what is inside of a value, and inside of that."""
        if isinstance(value, _FIXED) or id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, nn.Module):
            self._keep_module(value, seen)
        elif isinstance(value, torch.Tensor):
            self._contents.append(_tensor(value))
        elif (generator := _GENERATORS.get(type(value))) is not None:
            self._generators.append(generator(value))
        elif isinstance(value, np.ndarray):
            self._contents.append(_array(value))
        elif isinstance(value, list | tuple | dict | set | deque):
            kind = next((keep for types, keep in _CONTAINERS if isinstance(value, types)), None)
            if kind is not None:
                self._contents.append(kind(value))
            if len(value) <= _LONG:  # a long one holds numbers or names
                for item in value.values() if isinstance(value, dict) else value:
                    self._keep(item, seen, depth=depth)
        elif depth == 0 and _is_plain_object(value):
            self._contents.append(_mapping(vars(value)))
            for item in vars(value).values():
                self._keep(item, seen, depth=1)

    def _keep_module(self, module: nn.Module, seen: set[int]) -> None:
        """Also one that is not registered, but kept in a list or under a name of its own."""
        for child in module.modules():
            seen.add(id(child))
            self._attributes.append((child.__dict__, dict(child.__dict__)))
            for name, value in child.__dict__.items():
                if name not in _FRAME:
                    self._keep(value, seen)
                elif name in _MEMBERS and isinstance(value, dict):
                    self._contents.append(_mapping(value))
        for buffer in module.buffers():  # TorchScript keeps them elsewhere
            self._keep(buffer, seen)


_MISSING = object()
_LONG = 1000
_FIXED = (int, float, str, type(None), nn.Parameter)


def _tensor(tensor: torch.Tensor) -> Restore:
    if tensor.layout != torch.strided or tensor.is_quantized or is_lazy(tensor):
        return _nothing  # whose values cannot be compared; that it is the same tensor is seen to elsewhere
    before = tensor.detach().clone()

    def restore() -> None:
        now = tensor.detach()
        if now.shape == before.shape and bool(((now == before) | ((now != now) & (before != before))).all()):
            return
        with torch.no_grad(), torch.inference_mode(tensor.is_inference()):
            now.resize_(before.shape).copy_(before)

    return restore


def _array(array: np.ndarray[Any, Any]) -> Restore:
    before = array.copy()

    def restore() -> None:
        if array.flags.writeable and array.tobytes() != before.tobytes():
            np.copyto(array, before)

    return restore


def _is_plain_object(value: Any) -> bool:
    """Whether it is an object of a class of somebody's own, as a cache is, and no function, class or library's."""
    library = type(value).__module__.partition(".")[0] in (
        "builtins",
        "torch",
        "numpy",
        "collections",
        "functools",
    )
    return not library and not callable(value) and hasattr(value, "__dict__")


def _nothing() -> None:
    """Puts nothing back."""


def _sequence(values: Any) -> Restore:
    before = list(values)

    def restore() -> None:
        if len(values) != len(before) or any(a is not b for a, b in zip(values, before, strict=True)):
            values.clear()
            values.extend(before)

    return restore


def _mapping(values: Any) -> Restore:
    before = dict(values)

    def restore() -> None:
        if values.keys() != before.keys() or any(values[key] is not before[key] for key in before):
            values.clear()
            values.update(before)

    return restore


def _set(values: Any) -> Restore:
    before = set(values)

    def restore() -> None:
        if values != before:
            values.clear()
            values.update(before)

    return restore


def _torch_generator(generator: torch.Generator) -> Restore:
    before = generator.get_state()
    return lambda: _ignored(generator.set_state(before))


def _numpy_generator(generator: np.random.Generator) -> Restore:
    before = generator.bit_generator.state
    return lambda: setattr(generator.bit_generator, "state", before)


def _numpy_random(generator: np.random.RandomState) -> Restore:
    before = generator.get_state()
    return lambda: generator.set_state(before)


def _python_random(generator: random.Random) -> Restore:
    before = generator.getstate()
    return lambda: generator.setstate(before)


def _ignored(_: object) -> None:
    """Nothing."""


_CONTAINERS: tuple[tuple[Any, Callable[[Any], Restore]], ...] = (
    (list, _sequence),
    (deque, _sequence),
    (dict, _mapping),
    (set, _set),
)
_GENERATORS: dict[type, Callable[[Any], Restore]] = {
    torch.Generator: _torch_generator,
    np.random.Generator: _numpy_generator,
    np.random.RandomState: _numpy_random,
    random.Random: _python_random,
}


class RandomState:
    """The random numbers that anybody may draw: of PyTorch on a device, of NumPy and of Python."""

    def __init__(self, device: torch.device) -> None:
        self._torch = torch.get_rng_state()
        self._numpy, self._python = np.random.get_state(), random.getstate()  # noqa: NPY002
        self._cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        self._device = device

    def is_as_now(self) -> bool:
        """Whether nobody has drawn any since."""
        numpy, before = np.random.get_state(), self._numpy  # noqa: NPY002
        same_numpy = all(np.array_equal(a, b) for a, b in zip(numpy, before, strict=True))
        same_cuda = self._cuda is None or torch.equal(self._cuda, torch.cuda.get_rng_state(self._device))
        return (
            torch.equal(self._torch, torch.get_rng_state())
            and same_numpy
            and same_cuda
            and self._python == random.getstate()
        )

    def restore(self) -> None:
        torch.set_rng_state(self._torch)
        np.random.set_state(self._numpy)  # noqa: NPY002
        random.setstate(self._python)
        if self._cuda is not None:
            torch.cuda.set_rng_state(self._cuda, self._device)


class HookState:
    """Which hooks the modules of a network have now."""

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
