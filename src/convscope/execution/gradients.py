"""Run a network with gradients at its input, and at nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..errors import ModelError
from .conv_chains import batch_norm_of
from .folding import scale_and_shift
from .members import members_of
from .running import check_weights, evaluating


@contextmanager
def differentiable(module: nn.Module) -> Iterator[None]:
    """Inside, a network runs with gradients at its input only, whatever mode the caller is in.

    Parameters are frozen meanwhile, so that nothing is kept for their gradients.
    """
    if any(t.is_inference() for t in members_of(module).tensors):
        raise ModelError(
            f"the weights of {type(module).__name__} were made inside torch.inference_mode and have no gradients: "
            "build the network outside of it"
        )
    with evaluating(module), torch.enable_grad(), _AffineBatchNorm(), frozen(module):
        yield
        check_weights(module)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, no parameter takes a gradient."""
    trainable = [p for p in members_of(module).parameters if p.requires_grad]
    try:
        for p in trainable:
            p.requires_grad_(False)
        yield
    finally:
        for p in trainable:
            p.requires_grad_(True)


def check_differentiable(score: torch.Tensor, name: str) -> None:
    """`ModelError` if a score has no gradient at the input."""
    if not score.requires_grad:
        raise ModelError(
            f"the score of {name} has no gradient with respect to its input (is it detached?); occlusion works "
            "without one"
        )


class _AffineBatchNorm(TorchFunctionMode):
    """Runs batch norm with fixed statistics as x * scale + shift, whose backward pass is cheaper on a CPU.

    The values are the same bit for bit, as another rounding can put a unit on the other side of its ReLU.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        norm = batch_norm_of(func, args, kwargs or {})
        if norm is None:
            return func(*args, **(kwargs or {}))
        x, *fixed = norm
        scale, shift = (t.reshape(-1, *(1 for _ in x.shape[2:])) for t in scale_and_shift(*fixed))
        return torch.addcmul(shift, x, scale)
