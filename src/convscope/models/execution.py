"""Run a network and leave it as it was: training flags, hooks and gradients restored, also after an error."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from ..errors import LayerError


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for the time being; every submodule gets its own flag back."""
    training = [child for child in module.modules() if child.training]
    module.eval()
    try:
        yield
    finally:
        for child in training:
            child.training = True


@contextmanager
def hooks() -> Iterator[list[RemovableHandle]]:
    """A list to put hook handles in; all are removed at the end."""
    handles: list[RemovableHandle] = []
    try:
        yield handles
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def differentiable(module: nn.Module) -> Iterator[None]:
    """Gradients with respect to inputs, and to nothing else, whatever mode the caller is in.

    Parameters are frozen for the time being, so that no backward pass keeps what only their gradients need.
    """
    trainable = [p for p in module.parameters() if p.requires_grad]
    try:
        for p in trainable:
            p.requires_grad_(False)
        with evaluating(module), torch.inference_mode(False), torch.enable_grad(), _AffineBatchNorm():
            yield
    finally:
        for p in trainable:
            p.requires_grad_(True)


class _AffineBatchNorm(TorchFunctionMode):
    """Batch norm with fixed statistics is x * scale + shift, whose backward pass is cheaper on a CPU."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.batch_norm:
            given = _BATCH_NORM.bind(*args, **(kwargs or {})).arguments
            if not given.get("training", False):
                statistics = given["running_mean"], given["running_var"]
                weights = given.get("weight"), given.get("bias")
                return _affine(given["input"], *statistics, *weights, eps=given.get("eps", 1e-5))
        return func(*args, **(kwargs or {}))


_BATCH_NORM = inspect.signature(functional.batch_norm)


def _affine(
    x: torch.Tensor,
    mean: torch.Tensor,
    var: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    """Bit for bit what batch norm gives: another rounding can put a unit on the other side of its ReLU."""
    scale = torch.rsqrt(var + eps) if weight is None else weight * torch.rsqrt(var + eps)
    shift = torch.addcmul(torch.zeros_like(mean) if bias is None else bias, mean, scale, value=-1)
    column = (-1, *(1 for _ in x.shape[2:]))
    return torch.addcmul(shift.reshape(column), x, scale.reshape(column))


class _Finished(BaseException):
    """Raised by a hook when everything that was asked for has been computed.

    Not an `Exception`, so that no network's own error handling takes it for a failure.
    """


def run_to(module: nn.Module, x: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Run a network until the named layers have been computed, and no further.

    Args:
        module: the network, in the mode in which it is to run.
        x: its input (N, C, H, W).
        names: layers as `Layer.name` has them: "layer2", "relu:1" for a module's second call, "fc:input".

    Returns:
        Their tensors, as the modules hold them, with their autograd graph where gradients are on. A layer
        before the last is copied, as a later in-place operation would overwrite it.

    Raises:
        LayerError: the network came to its end without them.
    """
    found: dict[str, torch.Tensor] = {}
    wanted = set(names)

    def keep(name: str, tensor: torch.Tensor) -> None:
        last = len(found) == len(wanted) - 1
        found[name] = tensor if last else tensor.clone()
        if last:
            raise _Finished

    with hooks() as attached:
        for path in {name.partition(":")[0] for name in names}:
            child = module.get_submodule(path)
            attached.extend(_watch(child, path, wanted, keep))
        try:
            module(x)
        except _Finished:
            return found
    if len(found) == len(wanted):  # the network swallowed even that
        return found
    missing = ", ".join(repr(name) for name in names if name not in found)
    raise LayerError(f"{missing}: did not run on this input; model.layers() lists what does")


def _watch(child: nn.Module, path: str, wanted: set[str], keep: Any) -> Iterator[RemovableHandle]:
    calls = {"in": 0, "out": 0}

    def count(which: str) -> str:
        calls[which] += 1
        return f"{path}:{calls[which] - 1}" if calls[which] > 1 else path

    def entering(_: nn.Module, given: tuple[Any, ...]) -> None:
        if (name := f"{count('in')}:input") in wanted:
            keep(name, given[0])

    def leaving(_: nn.Module, given: tuple[Any, ...], output: torch.Tensor) -> None:
        if (name := count("out")) in wanted:
            keep(name, output)

    yield child.register_forward_pre_hook(entering)
    yield child.register_forward_hook(leaving)
