"""Run a network and leave it as it was: training flags, hooks and gradients restored, also after an error."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from ..errors import LayerError, ModelError
from .folding import scale_and_shift
from .watching import batch_norm_of


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for the time being; every submodule gets its own flag back.

    One thread at a time: flags and hooks belong to the module, and another thread would see them change.
    """
    with _lock_of(module):
        training = [child for child in module.modules() if child.training]
        module.eval()
        try:
            yield
        finally:
            for child in training:
                child.training = True


_LOCKS: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()


def _lock_of(module: nn.Module) -> threading.RLock:
    with _LOCKS_LOCK:
        return _LOCKS.setdefault(module, threading.RLock())


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
    if any(t.is_inference() for t in (*module.parameters(), *module.buffers())):
        raise ModelError(
            f"the weights of {type(module).__name__} were made inside torch.inference_mode, so that there are no "
            "gradients; build the network outside of it"
        )
    with evaluating(module), torch.inference_mode(False), torch.enable_grad(), _AffineBatchNorm():
        trainable = [p for p in module.parameters() if p.requires_grad]
        try:
            for p in trainable:
                p.requires_grad_(False)
            yield
        finally:
            for p in trainable:
                p.requires_grad_(True)


def check_differentiable(score: torch.Tensor, name: str) -> None:
    """`ModelError` where a score has lost its way back to the input."""
    if not score.requires_grad:
        raise ModelError(
            f"the score of {name} has no gradient with respect to its input (is it detached?); occlusion works "
            "without one"
        )


class _AffineBatchNorm(TorchFunctionMode):
    """Batch norm with fixed statistics as x * scale + shift, whose backward pass is cheaper on a CPU.

    The values are those of batch norm bit for bit: another rounding can put a unit on the other side of its ReLU.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        norm = batch_norm_of(func, args, kwargs or {})
        if norm is None:
            return func(*args, **(kwargs or {}))
        x, *fixed = norm
        scale, shift = (t.reshape(-1, *(1 for _ in x.shape[2:])) for t in scale_and_shift(*fixed))
        return torch.addcmul(shift, x, scale)


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


@contextmanager
def intercepted(module: nn.Module, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Inside, a network goes on with ``change(output)`` in place of what the named layer puts out.

    Names are those of `run_to`, but for ":input".
    """
    path, _, call = name.partition(":")
    calls = -1

    def leaving(_: nn.Module, given: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
        nonlocal calls
        calls += 1
        return change(output) if calls == int(call or 0) else None

    with hooks() as attached:
        attached.append(module.get_submodule(path).register_forward_hook(leaving))
        yield


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


def move(module: nn.Module, device: str | torch.device) -> None:
    """Put a module on a device; `ModelError` where there is none such."""
    try:
        module.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:  # torch raises either, by what it was compiled for
        raise ModelError(f"device={str(device)!r} cannot be used here ({str(error).splitlines()[0]})") from error
