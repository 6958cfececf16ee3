"""Networks made by the user's own code: "package.module:build" or "path/to/file.py:build"."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..user_code import Place, explained, importable, imported
from .bare_modules import as_model
from .checkpoints import read_content
from .model import Model
from .wrappings import fit_weights, weights_in


def from_code(place: Place, weights: str | Path | None) -> Model:
    """Import the module and call what is named there, which runs the user's own code.

    Args:
        place: an `nn.Module`, a `Model`, or a callable without arguments that returns one, such as a class.
        weights: a file with a state dict for it; see `weights_in`.

    Raises:
        ModelError: the code failed, or made something else; the weights do not fit.
    """
    text = f"{place.file or place.module}:{place.name}"
    with importable(place.file.resolve().parent) if place.file else nullcontext():
        found = imported(place)
        if not isinstance(found, nn.Module | Model):
            found = _made(found, text)
    if not isinstance(found, nn.Module | Model):
        raise ModelError(
            f"{text} returned {_a(found)}; expected a torch.nn.Module or a convscope.Model{_hint(found)}"
        )
    model = as_model(found)
    if isinstance(found, nn.Module):
        model.name = text
    if weights is not None:
        content = read_content(weights)
        fitting = weights_in(content, model.module.state_dict(), str(weights))
        fit_weights(model.module, fitting.tensors, fitting.of(str(weights)))
        model.notes = (*model.notes, *fitting.note(Path(weights).name))
        model.name = f"{model.name} ({Path(weights).name})"
    return model


def _made(build: Any, text: str) -> Any:
    """What a callable returns, called without arguments."""
    if not callable(build):
        raise ModelError(
            f"{text} is {_a(build)}; expected a function that returns a torch.nn.Module or a "
            f"convscope.Model{_hint(build)}"
        )
    missing = _missing(build)
    if missing:
        raise ModelError(
            f"{text} needs arguments ({', '.join(missing)}), and is called without any: name a function that "
            "needs none, for example def build(): return Net(...)"
        )
    with explained(f"calling {text}()"):
        return build()


def _missing(build: Callable[..., Any]) -> list[str]:
    """The parameters of a callable that have no default."""
    try:
        parameters = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):  # not written in Python
        return []
    return [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _a(value: Any) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0].lower() in 'aeio' else 'a'} {name}"


def _hint(found: Any) -> str:
    if isinstance(found, Mapping) and any(isinstance(value, torch.Tensor) for value in found.values()):
        return ": a state dict is only the weights; build the network, and give the file as weights="
    if isinstance(found, tuple | list) and any(isinstance(item, nn.Module) for item in found):
        return ": it holds a network among other things; return that alone"
    return ""
