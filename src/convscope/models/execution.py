"""Run a network and leave it as it was, also after an error: its mode, state, hooks, gradients, random numbers."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from ..errors import ModelError
from .checkpointing import uncheckpointed
from .digest import device_of
from .folding import scale_and_shift
from .state import ModuleState, RandomState
from .watching import batch_norm_of


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, without gradients, for the time being; afterwards the network is as it was.

    That is: the mode of every submodule, and what `ModuleState` knows of. The process's random numbers are put
    back as well, unless the network was seen to draw none. A network that depends on earlier runs begins each of
    them in the state that it has now.

    Not in inference mode: a tensor that a network keeps from there could never be used in training again.

    One thread at a time: flags and hooks belong to the module, and another thread would see them change.
    """
    with _lock_of(module), torch.inference_mode(False), torch.no_grad(), uncheckpointed():
        if module in _INSIDE:  # of another such context, which puts everything back
            yield
            return
        with _left_as_it_was(module):
            yield


@contextmanager
def _left_as_it_was(module: nn.Module) -> Iterator[None]:
    network = _STANDS_FOR.get(module, module)
    state, random = ModuleState(module), None if network in _QUIET else RandomState(device_of(module))
    training = [(child, child.training) for child in module.modules()]
    trainable = [(p, p.requires_grad) for p in module.parameters()]
    with hooks() as attached:
        try:
            _INSIDE.add(module)
            if network in _FORGETFUL:
                attached.append(network.register_forward_pre_hook(lambda *_: state.restore(generators=False)))
            for child, _ in training:  # not by eval(), which some networks take as a call to merge their weights
                child.training = False
            yield
        finally:
            _INSIDE.discard(module)
            state.restore()
            for child, flag in training:
                child.training = flag
            for p, flag in trainable:
                if p.requires_grad != flag:
                    p.requires_grad_(flag)
            if random is not None:
                random.restore()


_STANDS_FOR: weakref.WeakKeyDictionary[nn.Module, nn.Module] = weakref.WeakKeyDictionary()
_INSIDE: weakref.WeakSet[nn.Module] = weakref.WeakSet()
_FORGETFUL: weakref.WeakSet[nn.Module] = weakref.WeakSet()
_QUIET: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def is_running(module: nn.Module) -> bool:
    """Whether it is inside of `evaluating` now."""
    return module in _INSIDE


def forget_between_runs(module: nn.Module) -> None:
    """From now on, `evaluating` lets each run of this network begin in the state before the first one."""
    _FORGETFUL.add(module)


def remember_between_runs(module: nn.Module) -> None:
    """From now on, it does not."""
    _FORGETFUL.discard(module)


def draws_no_random_numbers(module: nn.Module, is_so: bool) -> None:
    """Whether `evaluating` may leave the process's random numbers alone, which other threads draw from too."""
    (_QUIET.add if is_so else _QUIET.discard)(module)


def copied(module: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy, in another type where one is given, of which the same is known."""
    copy = deepcopy(module).to(dtype)
    for known in (_FORGETFUL, _QUIET):
        if module in known:
            known.add(copy)
    return copy


_LOCKS: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()


def _lock_of(module: nn.Module) -> threading.RLock:
    with _LOCKS_LOCK:
        return _LOCKS.setdefault(module, threading.RLock())


def stands_for(module: nn.Module, network: nn.Module) -> None:
    """Treat a module around a network as the network: one waits for the other, and what is known is of both."""
    lock = _lock_of(network)
    with _LOCKS_LOCK:
        _LOCKS[module] = lock
    _STANDS_FOR[module] = network


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
    with evaluating(module), torch.enable_grad(), _AffineBatchNorm(), frozen(module):
        yield


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Parameters that take no gradients, for the time being."""
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


def move(module: nn.Module, device: str | torch.device) -> None:
    """Put a module on a device; `ModelError` if that device is not available."""
    try:
        module.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:  # torch raises either, by what it was compiled for
        raise ModelError(f"device={str(device)!r} cannot be used here ({str(error).splitlines()[0]})") from error
