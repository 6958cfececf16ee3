"""How a network behaves where every method takes something for granted: found by running it a few times.

That an image gives the same in any batch, that it gives the same again, and that scores are no probabilities yet.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from .capture import main_output, tensors_of
from .execution import forget_between_runs
from .state import ModuleState

EndsIn: TypeAlias = Literal["", "softmax", "log_softmax", "sigmoid"]

# A difference is more than rounding from 4 * sqrt(eps) of the values' size on (1.4e-3 in float32), or where it is
# a visible share of what another image changes, and no less than a few hundred eps.
_OF_CHANGE, _FEW_EPS = 0.05, 300
_NEAR_ONE = 1e-3


@dataclass(frozen=True)
class Conduct:
    """See `Structure`; ``distribution``: what the values over the classes add up to, if to anything."""

    rows_independent: bool
    refusal: str
    notes: tuple[str, ...]
    distribution: Literal["", "softmax", "log_softmax"]
    between_0_and_1: bool

    def ends_in(self, last_function: str) -> EndsIn:
        """What the output has been put through, the name of its last function being known."""
        if self.distribution:
            return self.distribution
        return "sigmoid" if self.between_0_and_1 and last_function in ("Sigmoid", "Hardsigmoid") else ""


def conduct_of(module: nn.Module, a: torch.Tensor, b: torch.Tensor) -> Conduct:
    """Run two images, each (1, C, H, W), alone, again, and together; the module is in the mode for running."""
    name, state = type(module).__name__, ModuleState(module)
    notes: list[str] = []

    def run(x: torch.Tensor) -> Any:
        state.restore(generators=False)
        return module(x.clone())

    alone_a, alone_b = run(a), run(b)
    is_repeatable = _alike(alone_a, run(a), alone_b)
    is_stateless = is_repeatable and _alike(alone_a, module(a.clone()), alone_b)  # after other runs
    if not is_repeatable or (not is_stateless and isinstance(module, torch.jit.ScriptModule)):
        refusal = (
            f"{name} gives other scores when it is run again on the same image, so that no map of it is right. "
            "Something in it draws random numbers in evaluation mode, as F.dropout(x) does without "
            "training=self.training, or counts its runs where that cannot be undone. Make it repeatable first"
        )
        return Conduct(True, refusal, (), "", False)
    if not is_stateless:
        forget_between_runs(module)
        notes.append(
            f"{name} depends on what it was run on before: each run began in the state that it was given in"
        )
    together = _together(run, a, b)
    if isinstance(together, Exception):
        notes.append(f"{name} takes one image at a time ({_first_line(together)}): it was run so")
    elif not (_alike(alone_a, _row(together, 0), alone_b) and _alike(alone_b, _row(together, 1), alone_a)):
        notes.append(
            f"{name} gives an image other scores when it is run with others in one batch (batch statistics? batch "
            "and time interchanged?): it was run one image at a time"
        )
        together = None
    mains = [
        m for output in (alone_a, alone_b) if (m := main_output(output)) is not None and m.is_floating_point()
    ]
    return Conduct(
        together is not None and not isinstance(together, Exception),
        "",
        tuple(notes),
        _distribution(mains),
        bool(mains) and all(bool(((m >= 0) & (m <= 1)).all()) for m in mains),
    )


def _together(run: Any, a: torch.Tensor, b: torch.Tensor) -> Any:
    try:
        return run(torch.cat([a, b]).contiguous(memory_format=_layout(a)))
    except Exception as error:
        return error


def _layout(x: torch.Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def _row(output: Any, i: int) -> Any:
    """What an output of two images says of one of them; of tensors without a row for each, nothing."""
    if isinstance(output, torch.Tensor):
        return output[i : i + 1] if output.ndim and len(output) == 2 else None
    if isinstance(output, Mapping):
        return {key: _row(value, i) for key, value in output.items()}
    if isinstance(output, Sequence) and not isinstance(output, str):
        if len(output) == 2 and all(isinstance(value, Mapping) for value in output):  # a detector's boxes
            return [output[i]]
        return [_row(value, i) for value in output]
    return None


def _alike(expected: Any, found: Any, of_another: Any) -> bool:
    """Whether two outputs for one image are the same up to rounding, beside the output for another image.

    Tensors of other shapes say nothing: how many boxes there are may hang on rounding.
    """
    others = list(tensors_of(of_another))
    for i, (a, b) in enumerate(zip(tensors_of(expected), tensors_of(found), strict=False)):
        if a.shape != b.shape or not a.numel():
            continue
        c = others[i] if i < len(others) and others[i].shape == a.shape else a
        difference, size = _largest(a - b), max(_largest(a), _largest(b))
        eps = torch.finfo(a.dtype).eps
        is_visible = difference > _OF_CHANGE * _largest(a - c) and difference > _FEW_EPS * eps * size
        if difference > 4 * math.sqrt(eps) * size or (is_visible and _largest(a - c) > 0):
            return False
    return True


def _largest(values: torch.Tensor) -> float:
    """The largest magnitude among those that are finite."""
    finite = values[torch.isfinite(values)]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _distribution(outputs: list[torch.Tensor]) -> Literal["", "softmax", "log_softmax"]:
    """Whether the values of the classes (1, K, ...) are probabilities that add up to one, or their logarithms."""
    if not outputs or any(output.ndim < 2 or output.shape[1] < 2 for output in outputs):
        return ""
    values = [output.double() for output in outputs]
    if all(bool((v >= 0).all() and ((v.sum(dim=1) - 1).abs() < _NEAR_ONE).all()) for v in values):
        return "softmax"
    if all(bool((v <= 0).all() and (v.logsumexp(dim=1).abs() < _NEAR_ONE).all()) for v in values):
        return "log_softmax"
    return ""
