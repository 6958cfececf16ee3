"""Which operations of a network follow each other: a convolution, its batch norm and its activation."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

CONV2D = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_BATCH_NORM = tuple(inspect.signature(functional.batch_norm).parameters)
_PAD = tuple(inspect.signature(functional.pad).parameters)
# Those that `fusing` may run in the pass of the convolution.
ACTIVATIONS = {
    functional.relu, functional.relu6, functional.hardtanh, functional.silu, functional.hardswish,
    torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_,
}  # fmt: skip
# Of a tensor these tell no values.
NO_USE = frozenset(
    ("__get__", "size", "dim", "numel", "stride", "__len__", "is_contiguous", "is_floating_point", "get_device")
)


def batch_norm_of(func: Any, args: Any, kwargs: Any) -> tuple[Any, ...] | None:
    """(input, mean, var, weight, bias, eps) where this is a call of batch norm with fixed statistics."""
    if func is not functional.batch_norm:
        return None
    given = dict(zip(_BATCH_NORM, args, strict=False)) | kwargs
    if given.get("training", False):
        return None
    statistics = given["running_mean"], given["running_var"]
    return (given["input"], *statistics, given.get("weight"), given.get("bias"), given.get("eps", 1e-5))


def zeros_around(func: Any, args: Any, kwargs: Any) -> tuple[int, ...] | None:
    """(left, right, top, bottom) where this call puts zeros around maps (N, C, H, W)."""
    if func is not functional.pad:
        return None
    given = dict(zip(_PAD, args, strict=False)) | kwargs
    amounts, is_constant = tuple(given["pad"]), given.get("mode", "constant") == "constant"
    if not is_constant or given.get("value") or len(amounts) != 4 or min(amounts) < 0 or given["input"].ndim != 4:
        return None
    return amounts


@dataclass
class Made:
    """What a convolution, called once, puts out, and what becomes of it: each of these is its only use."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    options: dict[str, Any]  # the other arguments of the convolution, as far as they were given
    shape: tuple[int, ...]  # of its input, without the batch
    zeros: tuple[int, ...] | None = None  # left, right, top, bottom: put around its input right before
    norm: tuple[Any, ...] | None = None  # mean, var, weight, bias, eps
    then: Any = None  # a call of an activation: function, arguments, arguments by name


def convolutions_of(module: nn.Module, run: Callable[[], object]) -> list[Made]:
    """The convolutions of a network, found by one call of ``run``, which runs it.

    It has to run as it will later: with gradients where these will be wanted.
    """
    with (watching := _Watching(module)):
        run()
    return watching.found()


class _Watching(TorchFunctionMode):
    """Sees where the output of each convolution goes, and from its batch norm where that goes."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._own = {id(tensor) for tensor in (*module.parameters(), *module.buffers())}
        self._kept: list[torch.Tensor] = []  # so that no later tensor gets the same id
        self._made: dict[int, Made] = {}  # by the id of what was put out last
        self._uses: Counter[int] = Counter()
        self._calls: Counter[int] = Counter()  # of weights and of norms
        self._all: list[Made] = []
        self._links: list[tuple[Made, str, int]] = []  # of each: what comes next, and whose only use that must be
        self._activated: list[tuple[Made, torch.Tensor, int]] = []  # and the version of the tensor then
        self._padded: dict[int, tuple[int, ...]] = {}
        self._pads: Counter[Any] = Counter()  # by amounts and shape
        self._last = 0  # the id of what the last call put out

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func.__name__ in NO_USE:
            return out
        used = {id(value) for value in _flat((*args, *kwargs.values()))}
        self._uses.update(used & (self._made.keys() | self._padded.keys()))
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
        made = Made(weight, bias, given, tuple(x.shape[1:]))
        if id(x) == self._last:  # whatever is called between may change what the zeros are put around
            made.zeros = self._padded.get(id(x))
            self._links.append((made, "zeros", id(x)))
        self._calls[id(weight)] += 1
        self._all.append(made)
        self._put(out, made)

    def _norm(self, out: torch.Tensor, x: torch.Tensor, *norm: Any) -> None:
        self._calls[id(norm[0])] += 1
        made = self._made.get(id(x))
        if made is not None and made.norm is None and made.then is None and not any(map(self._is_computed, norm)):
            made.norm = norm
            self._links.append((made, "norm", id(x)))
            self._put(out, made)

    def _activation(self, out: torch.Tensor, x: torch.Tensor, call: Any) -> None:
        made = self._made.get(id(x))
        if made is None or made.then is not None:
            return
        if out is not x:
            made.then = call
            self._links.append((made, "then", id(x)))
        elif self._uses[id(x)] == 1:  # in place, and nothing has used it before: what uses it later wants it so
            made.then = call
            del self._made[id(x)]
        if made.then is call:
            self._activated.append((made, out, _version(out)))

    def _is_computed(self, value: Any) -> bool:
        """Whether a tensor may be made anew in each run, as that of a conditional norm is."""
        return isinstance(value, torch.Tensor) and id(value) not in self._own

    def _put(self, out: torch.Tensor, made: Made) -> None:
        self._kept.append(out)
        self._made[id(out)] = made

    def found(self) -> list[Made]:
        """Those that are called once; what is not the only use of what it uses is taken off again."""
        for made, out, version in self._activated:
            if _version(out) != version:  # changed in place, and its slope is told by its value
                made.then = None
        for made, link, source in reversed(self._links):
            repeated = link == "norm" and made.norm is not None and self._calls[id(made.norm[0])] > 1
            if self._uses[source] > 1 or repeated:
                setattr(made, link, None)
                if link == "norm":
                    made.then = None
        linked = Counter((made.zeros, made.shape) for made in self._all)
        for made in self._all:
            if made.zeros and linked[made.zeros, made.shape] < self._pads[made.zeros, made.shape]:
                made.zeros = None  # zeros like these go elsewhere too, and could be taken for them
        return [made for made in self._all if self._calls[id(made.weight)] == 1]


def _version(tensor: torch.Tensor) -> int:
    """How often it, or a view of it, has been changed in place; not known inside inference mode."""
    return 0 if tensor.is_inference() else tensor._version


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield value
