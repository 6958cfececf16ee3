"""Chains of a convolution, its batch norm and its activation, found by watching a run of the network."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks
from torch.overrides import TorchFunctionMode

from .members import members_of

CONV2D = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_BATCH_NORM = tuple(inspect.signature(functional.batch_norm).parameters)
_PAD = tuple(inspect.signature(functional.pad).parameters)
# Activations that `fusing` may run in one pass with the convolution.
ACTIVATIONS = {
    functional.relu, functional.relu6, functional.hardtanh, functional.silu, functional.hardswish,
    torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_,
}  # fmt: skip
# Calls that read no values of a tensor.
NO_USE = frozenset(
    ("__get__", "size", "dim", "numel", "stride", "__len__", "is_contiguous", "is_floating_point", "get_device")
)


def batch_norm_of(func: Any, args: Any, kwargs: Any) -> tuple[Any, ...] | None:
    """(input, mean, var, weight, bias, eps) if this is a call of batch norm with fixed statistics, else None."""
    if func is not functional.batch_norm:
        return None
    given = dict(zip(_BATCH_NORM, args, strict=False)) | kwargs
    if given.get("training", False):
        return None
    statistics = given["running_mean"], given["running_var"]
    return (given["input"], *statistics, given.get("weight"), given.get("bias"), given.get("eps", 1e-5))


def zeros_around(func: Any, args: Any, kwargs: Any) -> tuple[int, ...] | None:
    """(left, right, top, bottom) if this call pads maps (N, C, H, W) with zeros, else None."""
    if func is not functional.pad:
        return None
    given = dict(zip(_PAD, args, strict=False)) | kwargs
    amounts, is_constant = tuple(given["pad"]), given.get("mode", "constant") == "constant"
    if not is_constant or given.get("value") or len(amounts) != 4 or min(amounts) < 0 or given["input"].ndim != 4:
        return None
    return amounts


def call_of(func: Any, args: Any, kwargs: Any) -> tuple[Any, ...]:
    """A function and its arguments, without the input."""
    return (func, *args[1:], *sorted(kwargs.items()))


def is_in_place(func: Any, args: Any, kwargs: Any) -> bool:
    """Whether an activation writes its output into its input."""
    return func.__name__.endswith("_") or kwargs.get("inplace") is True or args[-1] is True


@dataclass
class ConvChain:
    """A convolution that runs once, with its padding, norm and activation if nothing else uses what is between."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    options: dict[str, Any]  # the other arguments of the convolution that were given
    shape: tuple[int, ...]  # of its input, without the batch
    zeros: tuple[int, ...] | None = None  # left, right, top, bottom: padded right before the convolution
    norm: tuple[Any, ...] | None = None  # mean, var, weight, bias, eps
    activation: Any = None  # the call: function, positional and keyword arguments


def convolutions_of(module: nn.Module, run: Callable[[], object]) -> list[ConvChain]:
    """The chains of a network, found while ``run`` runs it once.

    ``run`` must run it as it will run later: with gradients if they will be needed. The list is empty if the owner
    has put hooks on the network, because a hook may keep the tensors it sees.
    """
    if has_hooks(members_of(module).modules):
        run()
        return []
    with (watching := _Watching(module)):
        run()
    return watching.found()


def has_hooks(modules: Sequence[nn.Module]) -> bool:
    """Whether hooks see the tensors inside a network; the first of its modules is the network itself."""
    return bool(_global_forward_hooks or _global_forward_pre_hooks) or any(
        child._forward_hooks or child._forward_pre_hooks for child in modules[1:]
    )


class _Watching(TorchFunctionMode):
    """Follows the output of each convolution to its batch norm, and on to its activation."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._own = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
        self._kept: list[torch.Tensor] = []  # kept alive, so that no later tensor gets the same id
        self._ends: dict[int, ConvChain] = {}  # by the id of its latest output
        self._uses: Counter[int] = Counter()
        self._calls: Counter[int] = Counter()  # of weights and of norms
        self._all: list[ConvChain] = []
        # Chain, attribute, and the id of the tensor that nothing else may use.
        self._links: list[tuple[ConvChain, str, int]] = []
        self._activated: list[tuple[ConvChain, torch.Tensor, int]] = []  # with output and its version
        self._padded: dict[int, tuple[int, ...]] = {}
        self._pads: Counter[Any] = Counter()  # by amounts and shape
        self._last = 0  # the id of the last call's output

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.__name__ in NO_USE:
            return out
        used = {id(value) for value in _flat((*args, *kwargs.values()))}
        self._uses.update(used & (self._ends.keys() | self._padded.keys()))
        if isinstance(out, torch.Tensor):
            self._note(out, func, args, kwargs)
        self._last = id(out)
        return out

    def _note(self, out: torch.Tensor, func: Any, args: Any, kwargs: Any) -> None:
        norm = batch_norm_of(func, args, kwargs)
        if func is functional.conv2d and len(args) > CONV2D.index("weight"):
            self._convolution(out, dict(zip(CONV2D, args, strict=False)) | kwargs)
        elif (zeros := zeros_around(func, args, kwargs)) is not None:
            self._kept.append(out)
            self._padded[id(out)] = zeros
            self._pads[zeros, tuple(out.shape[1:])] += 1
        elif norm is not None:
            self._norm(out, *norm)
        elif func in ACTIVATIONS and args:
            self._activation(out, args[0], (func, args[1:], kwargs))

    def _convolution(self, out: torch.Tensor, given: dict[str, Any]) -> None:
        x, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
        chain = ConvChain(weight, bias, given, tuple(x.shape[1:]))
        if id(x) == self._last:  # a call between them might change the padded tensor
            chain.zeros = self._padded.get(id(x))
            self._links.append((chain, "zeros", id(x)))
        self._calls[id(weight)] += 1
        self._all.append(chain)
        self._put(out, chain)

    def _norm(self, out: torch.Tensor, x: torch.Tensor, *norm: Any) -> None:
        self._calls[id(norm[0])] += 1
        chain = self._ends.get(id(x))
        if (
            chain is not None
            and chain.norm is None
            and chain.activation is None
            and not any(map(self._is_computed, norm))
        ):
            chain.norm = norm
            self._links.append((chain, "norm", id(x)))
            self._put(out, chain)

    def _activation(self, out: torch.Tensor, x: torch.Tensor, call: Any) -> None:
        chain = self._ends.get(id(x))
        if chain is None or chain.activation is not None:
            return
        if out is not x:
            chain.activation = call
            self._links.append((chain, "activation", id(x)))
        elif self._uses[id(x)] == 1:  # in place, and not used before; later uses expect the activated values
            chain.activation = call
            del self._ends[id(x)]
        if chain.activation is call:
            self._activated.append((chain, out, _version(out)))

    def _is_computed(self, value: Any) -> bool:
        """Whether a tensor may be computed in each run, as by a conditional norm."""
        return isinstance(value, torch.Tensor) and id(value) not in self._own

    def _put(self, out: torch.Tensor, chain: ConvChain) -> None:
        self._kept.append(out)
        self._ends[id(out)] = chain

    def found(self) -> list[ConvChain]:
        """The chains of convolutions that ran once, cut where something else used the values between."""
        for chain, out, version in self._activated:
            if _version(out) != version:  # changed in place, so its slope cannot be read off its values
                chain.activation = None
        for chain, link, source in reversed(self._links):
            repeated = link == "norm" and chain.norm is not None and self._calls[id(chain.norm[0])] > 1
            if self._uses[source] > 1 or repeated:
                setattr(chain, link, None)
                if link == "norm":
                    chain.activation = None
        linked = Counter((chain.zeros, chain.shape) for chain in self._all)
        for chain in self._all:
            if chain.zeros and linked[chain.zeros, chain.shape] < self._pads[chain.zeros, chain.shape]:
                chain.zeros = None  # the same padding is used elsewhere, and could be mistaken for this one
        return [chain for chain in self._all if self._calls[id(chain.weight)] == 1]


def _version(tensor: torch.Tensor) -> int:
    """How often the tensor, or a view of it, was changed in place; 0 in inference mode, which does not count."""
    return 0 if tensor.is_inference() else tensor._version


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield value
