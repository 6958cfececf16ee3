"""Run a network and leave it as it was, also after an error: its mode, state, hooks, gradients, random numbers."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import nn

from ..after_fork import after_fork
from ..errors import ModelError
from .checkpointing import uncheckpointed
from .digest import device_of
from .forked_threads import in_one_thread_if_forked
from .hooking import HookState, hooks
from .interrupts import orderly_interrupts
from .members import Members, members_of
from .random_numbers import RandomState
from .state import ModuleState


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Inside, a network is in evaluation mode and without gradients; afterwards it is as it was before.

    This covers the mode of every submodule and everything that `ModuleState` keeps. The process's random numbers
    are put back too, unless the network is known to draw none. A network that depends on earlier runs starts each
    run in the state that it has now. All of this holds after Ctrl-C at any moment, too (`orderly_interrupts`).

    It is not inference mode, as a tensor that the network keeps could then never be used in training again. And it
    turns off the caller's autocast, as maps have the network's own type.

    Only one thread at a time can run a network: flags and hooks belong to the module, and others would see them
    change.
    """
    if not _is_inside(module):
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


def _is_inside(module: nn.Module) -> bool:
    """Whether this thread runs the network already."""
    run = _INSIDE.get(module)
    return run is not None and run.thread == threading.get_ident()


def refuse_where_it_cannot_run(module: nn.Module) -> None:
    """`ModelError` where tensors have no values, or a fork has cut off another thread's run of the network."""
    name = type(network_of(module)).__name__
    if device_of(module).type == "meta":
        raise ModelError(f"the weights of {name} are on the meta device and have no values: load them")
    if type(torch.empty(0)) is not torch.Tensor:
        raise ModelError(
            f"{name} cannot be run inside FakeTensorMode, where tensors have no values: call outside of it"
        )
    if torch._C._functorch.peek_interpreter_stack() is not None:
        raise ModelError(
            f"{name} cannot be looked into inside a transform of torch.func (vmap, grad): call outside of it"
        )
    if network_of(module) in _CUT_SHORT:
        raise ModelError(
            f"another thread was running {name} when this process was forked, and its copy here is half changed: "
            "fork while nothing runs, start processes by 'spawn', or load the network in this process"
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
    network = network_of(module)
    members = members_of(module)
    modules, parameters, _ = members
    state = ModuleState(module, members)
    random = None if network in _QUIET else RandomState(device_of(module))
    in_training = [child for child in modules if child.training]
    trainable = [(p, p.requires_grad) for p in parameters]
    own_hooks = HookState(modules)
    with hooks() as attached:
        try:
            _INSIDE[module] = _Run(threading.get_ident(), members, [(p, _version(p)) for p in parameters])
            if network in _FORGETFUL:
                attached.append(module.register_forward_pre_hook(lambda *_: state.restore(generators=False)))
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
    """Training mode for these modules and evaluation mode for the others, whatever a run has set."""
    wanted = set(in_training)
    for child in modules:
        if child.training != (child in wanted):
            child.training = child in wanted


class _Run(NamedTuple):
    """Who runs a network, what it consists of, and with which weights."""

    thread: int
    members: Members
    versions: list[tuple[nn.Parameter, int]]


def _version(p: nn.Parameter) -> int:
    """How often a parameter was written to; 0 for one made in inference mode, which does not count."""
    return 0 if p.is_inference() else p._version


def running_members(module: nn.Module) -> Members:
    """The members of a network, as they were when `evaluating` began."""
    run = _INSIDE.get(module)
    return members_of(module) if run is None else run.members


def check_weights(module: nn.Module) -> None:
    """`ModelError` if the weights have changed since `evaluating` began, so that results would mix two networks.

    Cost: some 20 microseconds for 300 parameters.
    """
    run = _INSIDE.get(module)
    if run is not None and any(_version(p) != version for p, version in run.versions):
        raise ModelError(
            f"the weights of {type(network_of(module)).__name__} have changed during this call, so that its "
            "results would mix two networks: is it being trained in another thread? Look at it between two steps, "
            "or at a copy (copy.deepcopy) of it"
        )


_STANDS_FOR: weakref.WeakKeyDictionary[nn.Module, nn.Module] = weakref.WeakKeyDictionary()
_INSIDE: weakref.WeakKeyDictionary[nn.Module, _Run] = weakref.WeakKeyDictionary()
_FORGETFUL: weakref.WeakSet[nn.Module] = weakref.WeakSet()
_QUIET: weakref.WeakSet[nn.Module] = weakref.WeakSet()


def is_running(module: nn.Module) -> bool:
    """Whether a network is inside `evaluating` now."""
    return module in _INSIDE


def forget_between_runs(module: nn.Module) -> None:
    """From now on, `evaluating` starts each run of this network in the state before the first run."""
    _FORGETFUL.add(network_of(module))


def remember_between_runs(module: nn.Module) -> None:
    """From now on, a run of this network starts in the state that the run before has left."""
    _FORGETFUL.discard(network_of(module))


def draws_no_random_numbers(module: nn.Module, is_so: bool) -> None:
    """Whether `evaluating` need not put the process's random numbers back, which other threads draw too."""
    (_QUIET.add if is_so else _QUIET.discard)(network_of(module))


def copied(module: nn.Module, dtype: torch.dtype | None = None) -> nn.Module:
    """A copy of a network, in another type if given; what is known about its runs holds for the copy."""
    copy = deepcopy(module).to(dtype)
    for known in (_FORGETFUL, _QUIET):
        if network_of(module) in known:
            known.add(network_of(copy))
    return copy


_LOCKS: weakref.WeakKeyDictionary[nn.Module, threading.RLock] = weakref.WeakKeyDictionary()
_LOCKS_LOCK = threading.Lock()
_CUT_SHORT: weakref.WeakSet[nn.Module] = (
    weakref.WeakSet()
)  # in the middle of a run of a thread that was not forked


def _lock_of(module: nn.Module) -> threading.RLock:
    with _LOCKS_LOCK:
        return _LOCKS.setdefault(network_of(module), threading.RLock())


def stands_for(module: nn.Module, network: nn.Module) -> None:
    """Treat a module that wraps a network as the network: they share a lock and what is known about runs."""
    _STANDS_FOR[module] = network


def network_of(module: nn.Module) -> nn.Module:
    """The network that a module stands for, which may be itself."""
    while module in _STANDS_FOR:
        module = _STANDS_FOR[module]
    return module


def _forked() -> None:
    """Make new locks: the threads that hold the old ones do not exist here and would never release them."""
    global _LOCKS, _LOCKS_LOCK
    _LOCKS, _LOCKS_LOCK = weakref.WeakKeyDictionary(), threading.Lock()
    for module, run in list(_INSIDE.items()):
        if run.thread != threading.get_ident():
            _CUT_SHORT.add(network_of(module))
            del _INSIDE[module]


after_fork(_forked)


def move(module: nn.Module, device: str | torch.device) -> None:
    """Move a module to a device; `ModelError` if that is not available."""
    try:
        module.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:  # torch raises either, by what it was compiled for
        raise ModelError(f"device={str(device)!r} cannot be used here ({str(error).splitlines()[0]})") from error
