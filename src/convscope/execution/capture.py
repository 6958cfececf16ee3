"""Capture or change, during a run, the inputs and outputs of layers by name.

Names: "layer2" is a module's output, "relu:1" that of its second call, "encoder[1]" or "encoder[out]" one tensor
of an output that is a list, a tuple or a dict ("encoder" alone is the last of them), "fc:input" a module's first
input, and ":output" the output of the whole network.
"""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from ..errors import LayerError
from .hooking import hooks
from .output_parts import parts_of, scores_in

OUTPUT = ":output"
INPUT = ":input"
Read = TypeVar("Read")

_NAME = re.compile(r"(?P<path>[^:\[\]]*)(:(?P<call>\d+))?(\[(?P<item>[^\[\]]+)\])?(?P<input>:input)?")


class Place(NamedTuple):
    """A layer's name, parsed; ``item`` is None for the whole output."""

    path: str
    call: int = 0
    item: str | None = None
    is_input: bool = False


def place_of(name: str) -> Place:
    """Parse the name of a layer; `LayerError` if it is not a valid name."""
    if name == OUTPUT:
        return Place("")
    found = _NAME.fullmatch(name)
    if found is None:
        raise LayerError(f"layer {name!r}: not the name of a layer; model.layers() lists them")
    return Place(found["path"], int(found["call"] or 0), found["item"], found["input"] is not None)


def items_of(output: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of an output, each with the suffix of the layer's name: "", "[1]", or "[out]"."""
    if isinstance(output, torch.Tensor):
        yield "", output
    else:
        yield from ((f"[{key}]", value) for key, value in parts_of(output) if isinstance(value, torch.Tensor))


def item_of(output: Any, item: str | None) -> torch.Tensor | None:
    """One tensor of an output, the last one if ``item`` is None; None if there is no such tensor."""
    found = dict(items_of(output))
    return found.get(f"[{item}]") if item is not None else next(reversed(found.values()), None)


def tensors_of(output: Any) -> Iterator[torch.Tensor]:
    """The floating-point tensors in an output, at any depth."""
    if isinstance(output, torch.Tensor):
        if output.is_floating_point():
            yield output
    else:
        for _, value in parts_of(output):
            yield from tensors_of(value)


def main_output(output: Any) -> torch.Tensor | None:
    """The main tensor of an output: its class scores (`scores_in`), "logits", "out", or the first of several."""
    if (scores := scores_in(output)) is not None:
        return scores
    members = list(parts_of(output))
    named = [value for name in ("logits", "out") for key, value in members if key == name]
    return next(
        (main for value in (*named, *(v for _, v in members)) if (main := main_output(value)) is not None), None
    )


def first_input(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> torch.Tensor | None:
    """The first tensor among a module's arguments."""
    return next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)


class _Finished(BaseException):
    """Raised by a hook once all requested layers have been computed.

    Not an `Exception`, so that a network's own error handling does not take it for a failure.
    """


def run_to(module: nn.Module, x: torch.Tensor, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Run a network until the named layers have been computed, and no further; see `read_at` for large ones.

    Args:
        module: the network, in the mode in which it should run.
        x: its input (N, C, H, W).
        names: names of layers; see the top of this file.

    Returns:
        Their tensors, in the modules' own layout, with their autograd graph if gradients are on. All but the
        last are copies, because a later in-place operation could overwrite them.

    Raises:
        LayerError: the network finished without running them.
    """
    last = len(set(names)) - 1
    return read_at(module, x, names, lambda name, tensor, n: tensor if n == last else tensor.clone())


def read_at(
    module: nn.Module, x: torch.Tensor, names: Sequence[str], read: Callable[[str, torch.Tensor, int], Read]
) -> dict[str, Read]:
    """Run a network until the named layers have been computed; keep what ``read`` makes of each.

    ``read(name, tensor, n)`` is called while the network runs, for the n-th of the layers, and must not change the
    tensor nor keep it.
    """
    found: dict[str, Read] = {}

    def keep(name: str, tensor: torch.Tensor) -> None:
        found[name] = read(name, tensor, len(found))
        if len(found) == len(set(names)):
            raise _Finished

    with hooks() as attached:
        for name in dict.fromkeys(names):
            attached.append(watch(module, name, keep))
        try:
            module(x)
        except _Finished:
            return found
    if len(found) == len(set(names)):  # the network caught even this exception
        return found
    missing = ", ".join(repr(name) for name in names if name not in found)
    raise LayerError(f"{missing}: did not run on this input; model.layers() lists what does")


def module_at(module: nn.Module, path: str) -> nn.Module:
    """The module of this path; for "" the network itself, also where its layers are those of another."""
    return module.get_submodule(path) if path else module


def watch(module: nn.Module, name: str, keep: Callable[[str, torch.Tensor], None]) -> RemovableHandle:
    """Add a hook that calls ``keep(name, tensor)`` when the network has computed this layer."""
    place, calls = place_of(name), -1
    child = module_at(module, place.path)
    if isinstance(child, torch.jit.ScriptModule):
        raise LayerError(f"layer {name!r} is TorchScript, whose inside is not visible")

    def entering(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal calls
        calls += 1
        tensor = first_input(args, kwargs)
        if calls == place.call and tensor is not None:
            keep(name, tensor)

    def leaving(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        nonlocal calls
        calls += 1
        tensor = main_output(output) if name == OUTPUT else item_of(output, place.item)
        if calls == place.call and tensor is not None:
            keep(name, tensor)

    if place.is_input:
        return child.register_forward_pre_hook(entering, with_kwargs=True)
    return child.register_forward_hook(leaving)


@contextmanager
def intercepted(module: nn.Module, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """Inside, a network continues with ``change(output)`` in place of the named layer's output."""
    place, calls = place_of(name), -1

    def leaving(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != place.call or (tensor := item_of(output, place.item)) is None:
            return output
        return _replaced(output, tensor, change(tensor))

    with hooks() as attached:
        attached.append(module_at(module, place.path).register_forward_hook(leaving))
        yield


@contextmanager
def kept_outputs(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Inside, a dict gets the outputs of the named layers in running order, with their graph, as a network runs.

    Gradients at them are those by what follows the layers: a module may return maps that it has pooled itself.
    """
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        def kept(output: torch.Tensor) -> torch.Tensor:
            found[name] = output.clone()
            return found[name].clone()  # what follows may be in place

        return kept

    with ExitStack() as stack:
        for name in names:
            stack.enter_context(intercepted(module, name, keep(name)))
        yield found


@contextmanager
def kept_leaf(module: nn.Module, name: str) -> Iterator[list[torch.Tensor]]:
    """Inside, a list gets the named layer's output, a leaf, so that gradients end there."""
    kept: list[torch.Tensor] = []

    def keep(output: torch.Tensor) -> torch.Tensor:
        kept.append(output.detach().clone().requires_grad_(torch.is_grad_enabled()))
        return kept[0].clone()  # what follows may be in place

    with intercepted(module, name, keep):
        yield kept
    if not kept:
        raise LayerError(f"layer {name!r} did not run on these images; name one that does")


def _replaced(output: Any, old: torch.Tensor, new: torch.Tensor) -> Any:
    """The output with the tensor ``old`` replaced by ``new``."""
    if isinstance(output, torch.Tensor):
        return new
    if dataclasses.is_dataclass(output) and not isinstance(output, Mapping):
        others = {key: new for key, value in vars(output).items() if value is old}
        return dataclasses.replace(output, **others)  # type: ignore[type-var]
    if isinstance(output, Mapping):
        changed: Any = copy.copy(output)
        for key in [key for key, value in output.items() if value is old]:
            changed[key] = new
        return changed
    values = [new if value is old else value for value in output]
    return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)
