"""Run a network with gradients at its input only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ..errors import ModelError
from .running import check_weights, evaluating, running_members


@contextmanager
def differentiable(module: nn.Module) -> Iterator[None]:
    """Inside, a network runs with gradients at its input only, whatever mode the caller is in.

    Parameters are frozen meanwhile, so that no memory is used for their gradients.
    """
    with evaluating(module):
        if any(t.is_inference() for t in running_members(module).tensors):
            raise ModelError(
                f"the weights of {type(module).__name__} were created inside torch.inference_mode and have no "
                "gradients: build the network outside of it"
            )
        with torch.enable_grad(), frozen(module):
            try:
                yield
            except RuntimeError as error:
                if "BackwardHookFunction" not in str(error):
                    raise
                raise ModelError(
                    f"{type(module).__name__} has a full backward hook on a module beside an in-place operation, "
                    "such as nn.ReLU(inplace=True), and PyTorch cannot run these two with gradients: remove the "
                    "hook, or set inplace=False"
                ) from error
            check_weights(module)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, no parameter takes a gradient."""
    trainable = [p for p in running_members(module).parameters if p.requires_grad]
    try:
        for p in trainable:
            p.requires_grad_(False)
        yield
    finally:
        for p in trainable:
            p.requires_grad_(True)


def check_differentiable(score: torch.Tensor, name: str) -> None:
    """`ModelError` if a score has no gradient with respect to the input."""
    if not score.requires_grad:
        raise ModelError(
            f"the score of {name} has no gradient with respect to its input (is it detached?); occlusion works "
            "without one"
        )
