"""A convolution, its batch norm and its activation in one pass, for the time of many runs of one network.

On a CPU the weights are put in oneDNN's order once and not at every call, and a map is written once and not three
times. The backward pass, of which nothing but the gradient at the input is wanted, is a convolution as well: with
the weights turned around. Everything else runs as it did.

The numbers are those of the network up to float32 rounding. A unit that lies within rounding of the kink of its
ReLU may come to lie on the other side of it, as it may in a batch of another size.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from .folding import WEIGHT, Folding
from .kernels import Convolution, Then, aten, is_one_pass, pair
from .tracing import ACTIVATIONS, NO_USE, Made, zeros_around
from .transposed import Turned


def fused(found: list[Made], *, gradients: bool = False) -> AbstractContextManager[Any]:
    """Inside, a network runs with its convolutions, batch norms and activations fused where that is exact.

    It can be entered more than once, in one thread.

    Args:
        found: its convolutions, as `convolutions_of` has seen them in a run.
        gradients: whether gradients at the input are wanted, and at nothing else (see `differentiable`).

    Cost: the memory of the convolutions' weights twice more, three times with gradients.
    """
    with torch.no_grad():
        return _Fusing(found, gradients)


class _Kernel(NamedTuple):
    """A convolution with what is fused into it; ``backward`` is None where gradients are not wanted."""

    forward: Convolution
    backward: Turned | None
    norm: int | None  # the id of its running mean
    zeros: tuple[int, ...] | None

    def takes(self, x: torch.Tensor, zeros: tuple[int, ...] | None) -> bool:
        """Whether it runs on this input, with so many zeros around it."""
        if zeros != self.zeros or not _is_channels_last(x) or torch.is_autocast_enabled("cpu"):
            return False
        return self.backward is not None or not (x.requires_grad and torch.is_grad_enabled())


class _Padded(NamedTuple):
    """An input with zeros around it that has not been made."""

    stands_for_it: torch.Tensor
    x: torch.Tensor
    zeros: tuple[int, ...]

    def in_place_of(self, value: Any) -> Any:
        """The value, or what it stands for, also inside lists."""
        if isinstance(value, tuple | list):
            return type(value)(map(self.in_place_of, value))
        return functional.pad(self.x, list(self.zeros)) if value is self.stands_for_it else value


class _Fusing(Folding):
    """Runs the convolutions by kernels, and lets pass what these have in them.

    A call of `functional.pad` comes right before that of the convolution, one of an activation some time after it.
    What it would put out, or what it is called with, is told by its identity.
    """

    def __init__(self, found: list[Made], gradients: bool) -> None:
        super().__init__(found)
        self._kernels: dict[int, _Kernel] = {}
        self._pads: set[Any] = set()  # (amounts, shape) of zeros that a kernel puts around its input itself
        for made in found:
            if (kernel := self._kernel_of(made, gradients)) is not None:
                self._kernels[id(made.weight)] = kernel
                self._pads.update([(made.zeros, made.shape)] if made.zeros else [])
        # By the weight: what has its activation in it, which is yet to be called; so little is left over of a run
        # that broke off.
        self._activated: dict[int, torch.Tensor] = {}
        self._padded: _Padded | None = None

    def _kernel_of(self, made: Made, gradients: bool) -> _Kernel | None:
        weight, bias, norm = self.convolutions.get(id(made.weight), (made.weight, made.bias, None))
        stride, padding, dilation, groups = (
            made.options.get(name, default)
            for name, default in (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1))
        )
        if not is_one_pass(weight) or isinstance(padding, str):
            return None
        weight, (down, across) = weight.detach(), pair(padding)
        left, right, top, bottom = made.zeros or (0, 0, 0, 0)
        before, after = (down + top, across + left), (down + bottom, across + right)
        then = _then(made, gradients)
        forward = Convolution(weight, bias, pair(stride), before, after, pair(dilation), groups, then)
        return _Kernel(forward, Turned(forward, weight) if gradients else None, norm, made.zeros)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        padded, self._padded = self._padded, None
        if func is functional.conv2d and len(args) > WEIGHT:
            x, zeros = args[0], None
            if padded and x is padded.stands_for_it:
                x, zeros = padded.x, padded.zeros
            kernel = self._kernels.get(id(args[WEIGHT]))
            if kernel and kernel.takes(x, zeros) and self.is_known(args, kwargs):
                return self._run(id(args[WEIGHT]), kernel, x)
        elif func in ACTIVATIONS and args:
            key = next((k for k, out in self._activated.items() if out is args[0]), None)
            if key is not None:
                return self._activated.pop(key)
        elif (zeros := zeros_around(func, args, kwargs or {})) and _is_channels_last(x := args[0]):
            size = (*x.shape[:2], x.shape[2] + zeros[2] + zeros[3], x.shape[3] + zeros[0] + zeros[1])
            if (zeros, size[1:]) in self._pads:
                self._padded = _Padded(x.new_zeros(1).expand(size), x, zeros)
                return self._padded.stands_for_it
        if padded:
            if func.__name__ in NO_USE:
                self._padded = padded
            else:  # the network takes another way than it did
                args = padded.in_place_of(args)
                kwargs = {name: padded.in_place_of(value) for name, value in (kwargs or {}).items()}
        return super().__torch_function__(func, types, args, kwargs)

    def _run(self, key: int, kernel: _Kernel, x: torch.Tensor) -> torch.Tensor:
        if x.requires_grad and torch.is_grad_enabled():
            out: torch.Tensor = _Differentiable.apply(x, kernel)
        else:
            out = kernel.forward.whole(x)
        if kernel.norm is not None:
            self._made[kernel.norm] = out
        if kernel.forward.then is not None:
            self._activated[key] = out
        return out


def _is_channels_last(x: torch.Tensor) -> bool:
    """Whether it is so, and not in the usual order as well, as a single channel is: some networks need that."""
    if x.ndim != 4 or not is_one_pass(x):
        return False
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _then(made: Made, gradients: bool) -> Then:
    """The activation as the kernels take it; with gradients only where its slope can be told from its value."""
    if made.then is None:
        return None
    func, args, kwargs = made.then
    name = func.__name__.rstrip("_")
    if name == "relu6":
        return aten.hardtanh.default, (0.0, 6.0), {}
    if name == "hardtanh":
        given = dict(zip(("min_val", "max_val"), args, strict=False)) | kwargs
        return aten.hardtanh.default, (given.get("min_val", -1.0), given.get("max_val", 1.0)), {}
    if name == "relu":
        return aten.relu.default, (), {}
    if gradients:
        return None
    return (aten.silu if name == "silu" else aten.hardswish).default, (), {}


class _Differentiable(torch.autograd.Function):
    """The kernel of a convolution, with the gradient at its input and at nothing else."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, kernel: _Kernel) -> torch.Tensor:
        out = kernel.forward.whole(x).data  # no view, which the network could not change in place
        ctx.turned, ctx.size = kernel.backward, x.shape
        ctx.save_for_backward(None if kernel.forward.then is None else out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        out: torch.Tensor | None = ctx.saved_tensors[0]
        return ctx.turned(gradient, out, ctx.size), None
