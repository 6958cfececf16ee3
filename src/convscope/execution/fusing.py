"""A convolution, its batch norm and its activation in one pass, for many runs of one network.

On a CPU the weights are packed for oneDNN once instead of at every call, and each map is written once instead of
three times. The backward pass only needs the gradient at the input, and is a convolution with transposed weights.
Everything else runs as before.

The values are those of the network up to float32 rounding. A unit within rounding of its ReLU's kink may land on
the other side of it, as it may in a batch of another size.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from .conv_chains import ACTIVATIONS, NO_USE, ConvChain, zeros_around
from .folding import WEIGHT, Folding
from .kernels import Convolution, Then, aten, is_one_pass, pair
from .transposed import Transposed


def fused(found: list[ConvChain], *, gradients: bool = False) -> AbstractContextManager[Any]:
    """A context in which convolutions, batch norms and activations run fused, where that is exact.

    It can be entered repeatedly, in one thread.

    Args:
        found: the network's convolutions, from `convolutions_of`.
        gradients: whether the gradient at the input will be taken (and no other; see `differentiable`).

    Cost: memory for two more copies of the convolutions' weights, three with gradients.
    """
    with torch.no_grad():
        return _Fusing(found, gradients)


class _Kernel(NamedTuple):
    """A convolution with what is fused into it; ``backward`` is None without gradients."""

    forward: Convolution
    backward: Transposed | None
    norm: int | None  # the id of its running mean
    zeros: tuple[int, ...] | None

    def takes(self, x: torch.Tensor, zeros: tuple[int, ...] | None) -> bool:
        """Whether the kernel can run on this input, padded with these zeros."""
        if zeros != self.zeros or not _is_channels_last(x) or torch.is_autocast_enabled("cpu"):
            return False
        return self.backward is not None or not (x.requires_grad and torch.is_grad_enabled())


class _Padded(NamedTuple):
    """An input with zeros around it that were never written."""

    stands_for_it: torch.Tensor
    x: torch.Tensor
    zeros: tuple[int, ...]

    def in_place_of(self, value: Any) -> Any:
        """The value, with the stand-in replaced by the padded input, also inside lists."""
        if isinstance(value, tuple | list):
            return type(value)(map(self.in_place_of, value))
        return functional.pad(self.x, list(self.zeros)) if value is self.stands_for_it else value


class _Fusing(Folding):
    """Runs each convolution by its kernel, and skips the padding, norm and activation that the kernel includes.

    `functional.pad` is called right before the convolution, the activation some time after it; both are recognized
    by the tensor that passes between them and the convolution.
    """

    def __init__(self, found: list[ConvChain], gradients: bool) -> None:
        super().__init__(found)
        self._kernels: dict[int, _Kernel] = {}
        self._pads: set[Any] = set()  # (amounts, shape) of padding that kernels include
        for chain in found:
            if (kernel := self._kernel_of(chain, gradients)) is not None:
                self._kernels[id(chain.weight)] = kernel
                self._pads.update([(chain.zeros, chain.shape)] if chain.zeros else [])
        # By the weight: outputs that are activated already, until the activation is called. With one for each
        # weight, a run that breaks off leaves little behind.
        self._activated: dict[int, torch.Tensor] = {}
        self._padded: _Padded | None = None

    def _kernel_of(self, chain: ConvChain, gradients: bool) -> _Kernel | None:
        weight, bias, norm = self.convolutions.get(id(chain.weight), (chain.weight, chain.bias, None))
        stride, padding, dilation, groups = (
            chain.options.get(name, default)
            for name, default in (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1))
        )
        if not is_one_pass(weight) or isinstance(padding, str):
            return None
        weight, (down, across) = weight.detach(), pair(padding)
        left, right, top, bottom = chain.zeros or (0, 0, 0, 0)
        before, after = (down + top, across + left), (down + bottom, across + right)
        then = _then(chain, gradients)
        forward = Convolution(weight, bias, pair(stride), before, after, pair(dilation), groups, then)
        return _Kernel(forward, Transposed(forward, weight) if gradients else None, norm, chain.zeros)

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
            else:  # the network takes another path than when it was watched
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
    """Whether a map is channels-last only; a single channel is contiguous too, and some networks rely on that."""
    if x.ndim != 4 or not is_one_pass(x):
        return False
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _then(chain: ConvChain, gradients: bool) -> Then:
    """The activation as kernels take it; with gradients only one whose slope follows from its value."""
    if chain.activation is None:
        return None
    func, args, kwargs = chain.activation
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
        out = kernel.forward.whole(x).data  # not a view, which the network could not change in place
        ctx.transposed, ctx.size = kernel.backward, x.shape
        ctx.save_for_backward(None if kernel.forward.then is None else out)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        out: torch.Tensor | None = ctx.saved_tensors[0]
        return ctx.transposed(gradient, out, ctx.size), None
