"""Run a network and leave it as it was, also after an error: its mode, state, hooks, gradients, random numbers."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..errors import ModelError
from ..forks import after_fork
from .checkpointing import uncheckpointed
from .conv_chains import batch_norm_of
from .digest import device_of
from .folding import scale_and_shift
from .forked_threads import in_one_thread_if_forked
from .hooking import HookState, hooks
from .interrupts import orderly_interrupts
from .members import members_of
from .random_numbers import RandomState
from .state import ModuleState


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, without gradients, for the time being; afterwards the network is as it was.

    That is: the mode of every submodule, and what `ModuleState` knows of. The process's random numbers are put
    back as well, unless the network was seen to draw none. A network that depends on earlier runs begins each of
    them in the state that it has now. Ctrl-C at any moment is no exception (`orderly_interrupts`).

    Not in inference mode: a tensor that a network keeps from there could never be used in training again. Nor in
    autocast, whatever the caller is in: maps are of the network's own type.

    One thread at a time: flags and hooks belong to the module, and another thread would see them change.
    """
    refuse_where_it_cannot_run(module)
    with (
        orderly_interrupts(),
        _lock_of(module),
        torch.inference_mode(False),
        torch.no_grad(),
        uncheckpointed(),
    ):
        if module in _INSIDE:  # of another such context, which puts everything back
            yield
            return
        with _without_autocast(device_of(module)), _left_as_it_was(module):
            yield


def refuse_where_it_cannot_run(module: nn.Module) -> None:
    """`ModelError` where values cannot be looked at, or another process has been cut off in the middle."""
    name = type(module).__name__
    if device_of(module).type == "meta":
        raise ModelError(f"{name} has its weights on the meta device, where there are none: load them")
    if type(torch.empty(0)) is not torch.Tensor:
        raise ModelError(f"{name} cannot be run where tensors have no values (FakeTensorMode): call outside of it")
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise ModelError(
            f"{name} cannot be looked into inside a transform of torch.func (vmap, grad): call outside of it"
        )
    if _network_of(module) in _CUT_SHORT:
        raise ModelError(
            f"{name} was being run by another thread when this process was forked, and is half changed here: fork "
            "while nothing runs, start processes by 'spawn', or load the network in this one"
        )
    in_one_thread_if_forked()


@contextmanager
def _without_autocast(device: torch.device) -> Iterator[None]:
    with ExitStack() as stack:
        for kind in {"cpu", device.type}:
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def _left_as_it_was(module: nn.Module) -> Iterator[None]:
    network = _network_of(module)
    state, random = ModuleState(module), None if network in _QUIET else RandomState(device_of(module))
    modules, parameters, _ = members_of(module)
    in_training = [child for child in modules if child.training]
    trainable = [(p, p.requires_grad) for p in parameters]
    own_hooks = HookState(modules)
    with hooks() as attached:
        try:
            _INSIDE[module] = _Run(threading.get_ident(), [(p, _version(p)) for p in parameters])
            if network in _FORGETFUL:
                attached.append(network.register_forward_pre_hook(lambda *_: state.restore(generators=False)))
            for child in in_training:  # not by eval(), which some networks take as a call to merge their weights
                child.training = False
            yield
        except BaseException:
            own_hooks.restore()  # a hook may be there whose handle nobody had yet
            raise
        finally:
            _INSIDE.pop(module, None)
            _set_mode(modules, in_training)
            state.restore()
            for p, flag in trainable:
                if p.requires_grad != flag:
                    p.requires_grad_(flag)
            if random is not None:
                random.restore()


def _set_mode(modules: Iterable[nn.Module], in_training: Iterable[nn.Module]) -> None:
    """Each module in training or not, whatever a run has made of it."""
    wanted = set(in_training)
    for child in modules:
        if child.training != (child in wanted):
            child.training = child in wanted


class _Run(NamedTuple):
    """Who runs a network, and with which weights."""

    thread: int
    versions: list[tuple[nn.Parameter, int]]


def _version(p: nn.Parameter) -> int:
    """How often it has been written to; not known of weights made in inference mode."""
    return 0 if p.is_inference() else p._version


def check_weights(module: nn.Module) -> None:
    """`ModelError` where somebody has changed the weights since `evaluating` began: two networks would mix.

    Cost: some 20 microseconds for 300 parameters.
    """
    run = _INSIDE.get(module)
    if run is not None and any(_version(p) != version for p, version in run.versions):
        raise ModelError(
            f"the weights of {type(module).__name__} have changed during this call, so that its results would mix "
            "two networks: is it being trained in another thread? Look at it between two steps, or at a copy "
            "(copy.deepcopy) of it"
        )


_STANDS_FOR: weakref.WeakKeyDictionary[nn.Module, nn.Module] = weakref.WeakKeyDictionary()
_INSIDE: weakref.WeakKeyDictionary[nn.Module, _Run] = weakref.WeakKeyDictionary()
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
_CUT_SHORT: weakref.WeakSet[nn.Module] = weakref.WeakSet()  # run by a thread that this process does not have


def _lock_of(module: nn.Module) -> threading.RLock:
    with _LOCKS_LOCK:
        return _LOCKS.setdefault(_network_of(module), threading.RLock())


def stands_for(module: nn.Module, network: nn.Module) -> None:
    """Treat a module around a network as the network: one waits for the other, and what is known is of both."""
    _STANDS_FOR[module] = network


def _network_of(module: nn.Module) -> nn.Module:
    return _STANDS_FOR.get(module, module)


def _forked() -> None:
    """Locks are held by threads that are not here: nobody would ever give them back."""
    global _LOCKS, _LOCKS_LOCK
    _LOCKS, _LOCKS_LOCK = weakref.WeakKeyDictionary(), threading.Lock()
    for module, run in list(_INSIDE.items()):
        if run.thread != threading.get_ident():
            _CUT_SHORT.add(_network_of(module))
            del _INSIDE[module]


after_fork(_forked)


@contextmanager
def differentiable(module: nn.Module) -> Iterator[None]:
    """Gradients with respect to inputs, and to nothing else, whatever mode the caller is in.

    Parameters are frozen for the time being, so that no backward pass keeps what only their gradients need.
    """
    if any(t.is_inference() for t in members_of(module).tensors):
        raise ModelError(
            f"the weights of {type(module).__name__} were made inside torch.inference_mode, so that there are no "
            "gradients; build the network outside of it"
        )
    with evaluating(module), torch.enable_grad(), _AffineBatchNorm(), frozen(module):
        yield
        check_weights(module)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Parameters that take no gradients, for the time being."""
    trainable = [p for p in members_of(module).parameters if p.requires_grad]
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
