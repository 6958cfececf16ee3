"""Batch norm folded into the convolution before it, for the time of a run and without touching the module.

`fusing` goes further where nothing but the scores is wanted.

With fixed statistics, norm(conv(x)) = conv(x) * scale + shift is a convolution with weights * scale and
bias * scale + shift: one pass over the maps less, the same numbers up to float32 rounding.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_CONV2D = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
CONV_WEIGHT, _CONV_BIAS = 1, 2  # places among these
_BATCH_NORM = inspect.signature(functional.batch_norm)
_PAD = inspect.signature(functional.pad)
# Those that `fusing` may run in the pass of the convolution.
ACTIVATIONS = {
    functional.relu, functional.relu6, functional.hardtanh, functional.silu, functional.hardswish,
    torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_,
}  # fmt: skip


def batch_norm_of(func: Any, args: Any, kwargs: Any) -> tuple[Any, ...] | None:
    """(input, mean, var, weight, bias, eps) where this is a call of batch norm with fixed statistics."""
    if func is not functional.batch_norm:
        return None
    given = _BATCH_NORM.bind(*args, **kwargs).arguments
    if given.get("training", False):
        return None
    statistics = given["running_mean"], given["running_var"]
    return (given["input"], *statistics, given.get("weight"), given.get("bias"), given.get("eps", 1e-5))


def zeros_around(func: Any, args: Any, kwargs: Any) -> tuple[int, ...] | None:
    """(left, right, top, bottom) where this call puts zeros around maps (N, C, H, W)."""
    if func is not functional.pad:
        return None
    given = _PAD.bind(*args, **kwargs).arguments
    amounts, is_constant = tuple(given["pad"]), given.get("mode", "constant") == "constant"
    if not is_constant or given.get("value") or len(amounts) != 4 or min(amounts) < 0 or given["input"].ndim != 4:
        return None
    return amounts


def scale_and_shift(
    mean: torch.Tensor, var: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Batch norm as x * scale + shift, rounded as PyTorch's own batch norm rounds."""
    scale = torch.rsqrt(var + eps) if weight is None else weight * torch.rsqrt(var + eps)
    shift = torch.addcmul(torch.zeros_like(mean) if bias is None else bias, mean, scale, value=-1)
    return scale, shift


@contextmanager
def folded_batch_norm(run: Callable[[], object]) -> Iterator[int]:
    """Inside, a network runs with its batch norms folded where that is exact; yields how many are.

    Which they are is found by one call of ``run``, which runs the network: a convolution whose output goes
    into one batch norm and nowhere else, both called once.
    """
    folding = Folding(convolutions_of(run))
    with folding:
        yield len(folding.convolutions)


@dataclass
class Made:
    """What a convolution, called once, puts out, and what becomes of it: each of these is its only use."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    options: dict[str, Any]  # the other arguments of the convolution, as far as they were given
    shape: tuple[int, ...]  # of its input, without the batch
    zeros: tuple[int, ...] | None = None  # left, right, top, bottom: zeros put around its input before
    norm: tuple[Any, ...] | None = None  # mean, var, weight, bias, eps
    then: Any = None  # a call of an activation: function, arguments, arguments by name


def convolutions_of(run: Callable[[], object]) -> list[Made]:
    """The convolutions of a network, found by one call of ``run``, which runs it."""
    with (watching := _Watching()):
        run()
    return watching.found()


class _Watching(TorchFunctionMode):
    """Sees where the output of each convolution goes, and from its batch norm where that goes."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[torch.Tensor] = []  # so that no later tensor gets the same id
        self._made: dict[int, Made] = {}  # by the id of what was put out last
        self._uses: Counter[int] = Counter()
        self._calls: Counter[int] = Counter()  # of weights and of norms
        self._all: list[Made] = []
        self._padded: dict[int, tuple[int, ...]] = {}
        self._activated: dict[int, Made] = {}
        self._links: list[tuple[Made, str, int]] = []  # of each: what comes next, and whose only use that must be

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if args and id(args[0]) in self._activated and (out is args[0] or func is torch.Tensor.__setitem__):
            self._activated.pop(id(args[0])).then = None  # changed in place, but its slope is told by its value
        if not isinstance(out, torch.Tensor | tuple | list):  # a shape or a device
            return out
        used = {id(value) for value in _flat((*args, *kwargs.values()))}
        self._uses.update(used & (self._made.keys() | self._padded.keys()))
        if not isinstance(out, torch.Tensor):
            return out
        norm = batch_norm_of(func, args, kwargs)
        if func is functional.conv2d and len(args) > CONV_WEIGHT:
            self._convolution(out, dict(zip(_CONV2D, args, strict=False)) | kwargs)
        elif (zeros := zeros_around(func, args, kwargs)) is not None:
            self._kept.append(out)
            self._padded[id(out)] = zeros
        elif norm is not None:
            self._norm(out, *norm)
        elif func in ACTIVATIONS and args:
            self._activation(out, args[0], (func, args[1:], kwargs))
        return out

    def _convolution(self, out: torch.Tensor, given: dict[str, Any]) -> None:
        x, weight, bias = given.pop("input"), given.pop("weight"), given.pop("bias", None)
        made = Made(weight, bias, given, tuple(x.shape[1:]), zeros=self._padded.get(id(x)))
        self._calls[id(weight)] += 1
        self._links.append((made, "zeros", id(x)))
        self._all.append(made)
        self._put(out, made)

    def _norm(self, out: torch.Tensor, x: torch.Tensor, *norm: Any) -> None:
        self._calls[id(norm[0])] += 1
        made = self._made.get(id(x))
        if made is not None and made.norm is None and made.then is None:
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
            self._kept.append(out)
            self._activated[id(out)] = made

    def _put(self, out: torch.Tensor, made: Made) -> None:
        self._kept.append(out)
        self._made[id(out)] = made

    def found(self) -> list[Made]:
        """Those that are called once; what is not the only use of what it uses is taken off again."""
        for made, link, source in reversed(self._links):
            repeated = link == "norm" and made.norm is not None and self._calls[id(made.norm[0])] > 1
            if self._uses[source] > 1 or repeated:
                setattr(made, link, None)
                if link == "norm":
                    made.then = None
        return [made for made in self._all if self._calls[id(made.weight)] == 1]


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield value


class Folding(TorchFunctionMode):
    """Gives the convolutions their folded weights, and lets the batch norms pass."""

    def __init__(self, found: list[Made]) -> None:
        super().__init__()
        # By the weight, which is kept so that no other one gets its id: weight and bias to run with, and the norm.
        self.convolutions: dict[int, tuple[torch.Tensor, torch.Tensor, int]] = {}
        self._kept = found
        self._made: dict[int, torch.Tensor] = {}  # by the norm: what its folded convolution has put out
        for made in found:
            norm, weight = made.norm, made.weight
            if norm is None:
                continue
            bias = made.bias
            # Put together in float64 (on the CPU, as not every device has it), so that only the result is rounded.
            exact: list[Any] = [v.cpu().double() if isinstance(v, torch.Tensor) else v for v in norm]
            scale, shift = scale_and_shift(*exact)
            folded_weight = weight.cpu().double() * scale[:, None, None, None]
            folded_bias = shift if bias is None else shift + bias.cpu().double() * scale
            self.convolutions[id(weight)] = (folded_weight.to(weight), folded_bias.to(weight), id(norm[0]))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.conv2d and len(args) > CONV_WEIGHT:
            folded = self.convolutions.get(id(args[CONV_WEIGHT]))
            if folded is not None:
                weight, bias, norm = folded
                options = {k: v for k, v in (kwargs or {}).items() if k != "bias"}
                self._made[norm] = func(args[0], weight, bias, *args[_CONV_BIAS + 1 :], **options)
                return self._made[norm]
        elif func is functional.batch_norm and self._is_folded(*args, **(kwargs or {})):
            return args[0] if args else kwargs["input"]
        return func(*args, **kwargs) if kwargs else func(*args)

    def _is_folded(self, input: torch.Tensor, running_mean: torch.Tensor | None, *_: Any, **__: Any) -> bool:
        """Whether this call of `functional.batch_norm` is in the weights of the convolution that made its input.

        A convolution whose weight is made anew in each run, as weight norm does, was not folded in this one.
        """
        made = self._made.pop(id(running_mean), None)
        return made is not None and made is input
