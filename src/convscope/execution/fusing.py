"""A convolution, its batch norm and its activation in one pass, for many runs of one network.

On a CPU the weights are packed for oneDNN once instead of at every call, and each map is written once instead of
three times. The backward pass only needs the gradient at the input, and is a convolution with transposed weights.
Everything else runs as before.

The values are those of the network up to float32 rounding. A unit within rounding of its ReLU's kink may land on
the other side of it, as it may in a batch of another size.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from .conv_chains import ConvChain, zeros_around
from .folding import WEIGHT, Folding, folded_exactly, is_known
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

    chain: ConvChain
    forward: Convolution
    backward: Transposed | None

    def takes(self, x: torch.Tensor) -> bool:
        """Whether the kernel can run on this input."""
        if not _is_channels_last(x) or torch.is_autocast_enabled("cpu"):
            return False
        return self.backward is not None or not (x.requires_grad and torch.is_grad_enabled())

    def whole(self, x: torch.Tensor) -> torch.Tensor:
        """The output for this input."""
        if x.requires_grad and torch.is_grad_enabled():
            return _Differentiable.apply(x, self)  # type: ignore[no-any-return]
        return self.forward.whole(x)


class _Fusing(Folding):
    """Runs each convolution by its kernel; the padding, norm and activation that it includes pass values on.

    `functional.pad` is called right before the convolution, the norm and the activation some time after it.
    Between these calls the network holds stand-ins.
    """

    def __init__(self, found: list[ConvChain], gradients: bool) -> None:
        normed = [chain for chain in found if chain.norm is not None]
        weights = {id(chain.weight): folded_exactly(chain) for chain in normed}
        super().__init__(normed, weights)
        kernels = (_kernel_of(chain, weights.get(id(chain.weight)), gradients) for chain in found)
        self._kernels = {id(kernel.chain.weight): kernel for kernel in kernels if kernel}
        self._pads = {
            (kernel.chain.zeros, kernel.chain.shape) for kernel in self._kernels.values() if kernel.chain.zeros
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out: torch.Tensor | None = None
        if func is functional.conv2d and len(args) > WEIGHT:
            out = self._convolved(args, kwargs or {})
        elif (zeros := zeros_around(func, args, kwargs or {})) is not None:
            out = self._padded(zeros, args, kwargs or {})
        return super().__torch_function__(func, types, args, kwargs) if out is None else out

    def _convolved(self, args: Any, kwargs: Any) -> torch.Tensor | None:
        """The output of a kernel, or a stand-in that the network holds until it calls the norm and activation."""
        kernel = self._kernels.get(id(args[WEIGHT]))
        if kernel is None or not is_known(kernel.chain, args, kwargs):
            return None
        chain = kernel.chain
        x = self.stand_ins.trade(args[0], (functional.pad, *chain.zeros)) if chain.zeros else args[0]
        if x is None or not kernel.takes(x):
            return None
        plain = partial(self._unfused, args, kwargs)
        return self.awaiting(chain, kernel.whole(x), plain, activated=kernel.forward.then is not None)

    def _unfused(self, args: Any, kwargs: Any) -> torch.Tensor:
        args, kwargs = self.stand_ins.filled_in(functional.conv2d, args, kwargs)
        return functional.conv2d(*args, **kwargs)

    def _padded(self, zeros: tuple[int, ...], args: Any, kwargs: Any) -> torch.Tensor | None:
        """A stand-in for a zero-padded input, which is never computed."""
        args, kwargs = self.stand_ins.filled_in(functional.pad, args, kwargs)
        x = args[0] if args else kwargs["input"]
        if not _is_channels_last(x):
            return None
        size = torch.Size((*x.shape[:2], x.shape[2] + zeros[2] + zeros[3], x.shape[3] + zeros[0] + zeros[1]))
        if (zeros, tuple(size[1:])) not in self._pads:
            return None
        return self.stand_ins.put((functional.pad, *zeros), x, size, partial(functional.pad, x, list(zeros)))


def _kernel_of(
    chain: ConvChain, folded: tuple[torch.Tensor, torch.Tensor] | None, gradients: bool
) -> _Kernel | None:
    """The kernel of a convolution; None if it cannot run in one pass."""
    weight, bias = folded or (chain.weight, chain.bias)
    stride, padding, dilation, groups = (
        chain.options.get(name, default)
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1))
    )
    if not is_one_pass(weight) or isinstance(padding, str):
        return None
    weight, (down, across) = weight.detach(), pair(padding)
    left, right, top, bottom = chain.zeros or (0, 0, 0, 0)
    before, after = (down + top, across + left), (down + bottom, across + right)
    then = activation_of(chain, gradients)
    forward = Convolution(weight, bias, pair(stride), before, after, pair(dilation), groups, then)
    return _Kernel(chain, forward, Transposed(forward, weight) if gradients else None)


def _is_channels_last(x: torch.Tensor) -> bool:
    """Whether a map is channels-last only; a single channel is contiguous too, and some networks rely on that."""
    if x.ndim != 4 or not is_one_pass(x):
        return False
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def activation_of(chain: ConvChain, gradients: bool) -> Then:
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
