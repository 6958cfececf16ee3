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
    with evaluating(module), torch.enable_grad(), _FixedBatchNorm(), frozen(module):
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


class _FixedBatchNorm(TorchFunctionMode):
    """Runs batch norm with fixed statistics with a backward pass that computes the gradient at its input alone."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        norm = batch_norm_of(func, args, kwargs or {})
        if norm is None or not (torch.is_grad_enabled() and norm[0].requires_grad):
            return func(*args, **(kwargs or {}))
        return _Normalized.apply(*norm)


class _Normalized(torch.autograd.Function):
    """PyTorch's batch norm, and gradients times its scale, where PyTorch sums over maps for parameters, too."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, mean: Any, var: Any, weight: Any, bias: Any, eps: float
    ) -> torch.Tensor:
        ctx.scale = torch.rsqrt(var + eps) if weight is None else weight * torch.rsqrt(var + eps)
        return torch.batch_norm(x, weight, bias, mean, var, False, 0.0, eps, torch.backends.cudnn.enabled)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (gradient,) = gradients
        scale = ctx.scale.reshape(-1, *(1 for _ in gradient.shape[2:]))
        return gradient * scale, None, None, None, None, None
