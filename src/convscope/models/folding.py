"""Batch norm folded into the convolution before it, for the time of a run and without touching the module.

With fixed statistics, norm(conv(x)) = conv(x) * scale + shift is a convolution with weights * scale and
bias * scale + shift: one pass over the maps less, the same numbers up to float32 rounding.
"""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_CONV_WEIGHT, _CONV_BIAS = 1, 2  # places among the arguments of functional.conv2d
_BATCH_NORM = inspect.signature(functional.batch_norm)


def batch_norm_of(func: Any, args: Any, kwargs: Any) -> tuple[Any, ...] | None:
    """(input, mean, var, weight, bias, eps) where this is a call of batch norm with fixed statistics."""
    if func is not functional.batch_norm:
        return None
    given = _BATCH_NORM.bind(*args, **kwargs).arguments
    if given.get("training", False):
        return None
    statistics = given["running_mean"], given["running_var"]
    return (given["input"], *statistics, given.get("weight"), given.get("bias"), given.get("eps", 1e-5))


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
    watching = _Watching()
    with watching:
        run()
    folding = _Folding(watching.pairs())
    with folding:
        yield len(folding.convolutions)


class _Watching(TorchFunctionMode):
    """Sees where the output of each convolution goes."""

    def __init__(self) -> None:
        super().__init__()
        self._outputs: list[torch.Tensor] = []  # kept, so that no later tensor gets the same id
        self._made_by: dict[int, tuple[Any, ...]] = {}
        self._norms: dict[int, tuple[Any, ...]] = {}
        self._uses: Counter[int] = Counter()
        self._calls: Counter[int] = Counter()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        norm = batch_norm_of(func, args, kwargs or {})
        if norm is not None:
            self._calls[id(norm[1])] += 1
            if id(norm[0]) in self._made_by:
                self._norms[id(norm[0])] = norm[1:]
        if isinstance(out, torch.Tensor | tuple | list):  # not a shape or a device
            given = {id(value) for value in _flat((*args, *(kwargs or {}).values()))}
            self._uses.update(given & self._made_by.keys())
        if func is functional.conv2d and len(args) > _CONV_WEIGHT:
            self._outputs.append(out)
            self._made_by[id(out)] = args
            self._calls[id(args[_CONV_WEIGHT])] += 1
        return out

    def pairs(self) -> list[tuple[tuple[Any, ...], tuple[Any, ...]]]:
        """(arguments of the convolution, batch norm after it) for each that can be folded."""
        return [
            (self._made_by[made], norm)
            for made, norm in self._norms.items()
            if self._uses[made] == 1
            and self._calls[id(self._made_by[made][_CONV_WEIGHT])] == 1
            and self._calls[id(norm[0])] == 1
        ]


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, tuple | list):
            yield from _flat(value)
        else:
            yield value


class _Folding(TorchFunctionMode):
    """Gives the convolutions their folded weights, and lets the batch norms pass."""

    def __init__(self, pairs: list[tuple[tuple[Any, ...], tuple[Any, ...]]]) -> None:
        super().__init__()
        # By the weight, which is kept so that no other one gets its id: weight and bias to run with, and the norm.
        self.convolutions: dict[int, tuple[torch.Tensor, torch.Tensor, int]] = {}
        self._kept = [args[_CONV_WEIGHT] for args, _ in pairs]
        self._made: dict[int, torch.Tensor] = {}  # by the norm: what its folded convolution has put out
        for args, norm in pairs:
            weight, bias = args[_CONV_WEIGHT], args[_CONV_BIAS] if len(args) > _CONV_BIAS else None
            # Put together in float64 (on the CPU, as not every device has it), so that only the result is rounded.
            exact: list[Any] = [v.cpu().double() if isinstance(v, torch.Tensor) else v for v in norm]
            scale, shift = scale_and_shift(*exact)
            folded_weight = weight.cpu().double() * scale[:, None, None, None]
            folded_bias = shift if bias is None else shift + bias.cpu().double() * scale
            self.convolutions[id(weight)] = (folded_weight.to(weight), folded_bias.to(weight), id(norm[0]))

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.conv2d and len(args) > _CONV_WEIGHT:
            folded = self.convolutions.get(id(args[_CONV_WEIGHT]))
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
