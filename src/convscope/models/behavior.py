"""Check, in a few runs, what methods assume of a network.

An image should get the same scores in any batch and in every run, and the scores may already be probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import nn

from ..execution.capture import main_output, tensors_of
from ..execution.output_parts import parts_of
from ..execution.random_numbers import RandomState
from ..execution.running import draws_no_random_numbers, forget_between_runs, network_of, remember_between_runs
from ..execution.state import ModuleState

EndsIn: TypeAlias = Literal["", "softmax", "log_softmax", "sigmoid"]

# Between batches, a difference is more than rounding if it is above 16 * sqrt(eps) of the values' size (5.5e-3 in
# float32), or if it is both a visible share of the difference to another image and above a few thousand eps.
# Repeating the same batch may only change the order in which a GPU's threads add: 64 eps, at most a hundredth.
_OF_CHANGE, _FEW_EPS = 0.05, 3000
_AGAIN, _AGAIN_AT_MOST = 64, 0.01
_NEAR_ONE = 1e-3
_SPREAD = 0.05  # values that vary less may be a constant


@dataclass(frozen=True)
class Behavior:
    """See `Structure`. ``distribution``: whether the outputs are probabilities of classes, or their logarithms."""

    rows_independent: bool
    refusal: str
    notes: tuple[str, ...]
    distribution: Literal["", "softmax", "log_softmax"]
    between_0_and_1: bool

    def ends_in(self, last_function: str) -> EndsIn:
        """The function that normalizes the output, given the name of the last function that ran."""
        if self.distribution:
            return self.distribution
        if last_function.startswith(("Softmax", "SafeSoftmax")):  # of a single class
            return "softmax"
        return "sigmoid" if self.between_0_and_1 or last_function in ("Sigmoid", "Hardsigmoid") else ""


def behavior_of(module: nn.Module, a: torch.Tensor, b: torch.Tensor) -> Behavior:
    """Run two images (1, C, H, W) alone, a second time, and together; the module is in evaluation mode."""
    name, state, random = type(network_of(module)).__name__, ModuleState(module), RandomState(a.device)

    def run(x: torch.Tensor) -> Any:
        state.restore(generators=False)
        return kept(module(x.clone()))

    alone = run(a), run(b)
    is_stateless = _is_same(alone[0], kept(module(a.clone())))  # after other runs
    is_repeatable = is_stateless or _is_same(alone[0], run(a))
    is_quiet = random.is_as_now()
    draws_no_random_numbers(module, is_quiet)
    if not is_repeatable or (not is_stateless and isinstance(module, torch.jit.ScriptModule)):
        refusal = (
            f"{name} gives other scores when it is run again on the same image, so any map of it would be wrong. "
            "It draws random numbers in evaluation mode, like F.dropout(x) without training=self.training, or "
            "keeps a count of its runs that cannot be reset. Make it repeatable first"
        )
        return Behavior(True, refusal, (), "", False)
    (remember_between_runs if is_stateless else forget_between_runs)(module)
    notes: list[str] = []
    if not is_stateless:
        notes.append(f"{name} depends on earlier runs, so every run started from the state in which it was given")
    if not is_quiet:
        notes.append(f"{name} draws random numbers when it runs; a second run gave the same scores")
    if not all(bool(torch.isfinite(t).all()) for t in tensors_of(alone[0])):
        notes.append(f"{name} gives NaN or infinite scores for noise, so batches could not be checked")
    why_one = next((why for m in module.modules() if (why := getattr(m, "why_one_image", ""))), "")
    why_alone = _why_alone(name, alone, _together(run, a, b), why_one)
    outputs = [m for m in map(main_output, alone) if m is not None and m.is_floating_point()]
    if outputs and _in_unit_range(outputs):
        strong = (main_output(run(x)) for x in (10 * b, -10 * b, 10 * a))  # drives others out of [0, 1]
        outputs += [output for output in strong if output is not None]
    return Behavior(
        rows_independent=not why_alone,
        refusal="",
        notes=(*notes, why_alone) if why_alone else tuple(notes),
        distribution=_distribution(outputs),
        between_0_and_1=_between_0_and_1(outputs),
    )


def _why_alone(name: str, alone: tuple[Any, Any], together: Any, why_one: str) -> str:
    """Why a network has to be run on one image at a time; "" if an image gives the same in a batch.

    ``why_one`` is what is known of a network that takes no more.
    """
    if isinstance(together, Exception):
        why = why_one or _first_line(together)
        return f"{name} accepts one image at a time ({why}), so it was run one image at a time"
    rows = _row(together, 0), _row(together, 1)
    if not any(True for _ in _triples(alone[0], rows[0], alone[1])):
        return f"{name} does not show which output belongs to which image, so it was run one image at a time"
    if is_alike(alone[0], rows[0], alone[1]) and is_alike(alone[1], rows[1], alone[0]):
        return ""
    return (
        f"{name} gives an image other scores when other images are in the batch (batch statistics? batch and time "
        "axes swapped?), so it was run one image at a time"
    )


def _together(run: Any, a: torch.Tensor, b: torch.Tensor) -> Any:
    try:
        return run(torch.cat([a, b]).contiguous(memory_format=_layout(a)))
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        return error


def _layout(x: torch.Tensor) -> torch.memory_format:
    return torch.contiguous_format if x.is_contiguous() else torch.channels_last


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:100]


def kept(output: Any) -> Any:
    """An output as nested dicts of copied tensors, since a network may overwrite its tensors in the next run."""
    if isinstance(output, torch.Tensor):
        return output.detach().clone()
    return {key: kept(value) for key, value in parts_of(output)}


def _row(output: Any, i: int) -> Any:
    """The part of an output for two images that belongs to image i; None for a tensor without a row per image."""
    if isinstance(output, torch.Tensor):
        return output[i : i + 1] if output.ndim and len(output) == 2 else None
    if len(output) == 2 and all(
        isinstance(output.get(n), dict) and output[n] for n in (0, 1)
    ):  # a detector's boxes
        return {0: output[i]}
    return {key: _row(value, i) for key, value in output.items()}


def _triples(*outputs: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """The corresponding tensors of three outputs, if the first two have the same shape.

    The others are skipped: the number of boxes may depend on rounding, and a tensor without a row per image says
    nothing about one.
    """
    first, second, third = outputs
    if isinstance(first, torch.Tensor):
        if not isinstance(second, torch.Tensor) or second.shape != first.shape or not first.numel():
            return
        has_third = isinstance(third, torch.Tensor) and third.shape == first.shape
        tensors = (first, second, third if has_third else first)
        if first.is_complex():
            tensors = tuple(map(torch.view_as_real, tensors))  # type: ignore[assignment]
        if tensors[0].is_floating_point():
            yield tensors
    else:
        for key in first:
            yield from _triples(*(out.get(key) if isinstance(out, dict) else None for out in outputs))


def _is_same(expected: Any, found: Any) -> bool:
    """Whether a repeated run has given the same output."""
    for a, b, _ in _triples(expected, found, expected):
        bound = min(_AGAIN * torch.finfo(a.dtype).eps, _AGAIN_AT_MOST)
        if _differ_in_finiteness(a, b) or _largest(a - b) > bound * _largest(a):
            return False
    return True


def is_alike(expected: Any, found: Any, of_another: Any) -> bool:
    """Whether an image gives the same in another batch, up to rounding, compared with what another image gives."""
    for a, b, c in _triples(expected, found, of_another):
        difference, size, change = _largest(a - b), max(_largest(a), _largest(b)), _largest(a - c)
        eps = torch.finfo(a.dtype).eps
        is_visible = 0 < _OF_CHANGE * change < difference and difference > _FEW_EPS * eps * size
        if _differ_in_finiteness(a, b) or difference > min(16 * math.sqrt(eps), 0.25) * size or is_visible:
            return False
    return True


def _differ_in_finiteness(a: torch.Tensor, b: torch.Tensor) -> bool:
    return not torch.equal(torch.isfinite(a), torch.isfinite(b))


def _largest(values: torch.Tensor) -> float:
    """The largest magnitude of the finite values."""
    finite = values[torch.isfinite(values)]
    return float(finite.abs().max()) if finite.numel() else 0.0


def _in_unit_range(outputs: list[torch.Tensor]) -> bool:
    return all(bool(((m >= 0) & (m <= 1)).all()) for m in outputs)


def _between_0_and_1(outputs: list[torch.Tensor]) -> bool:
    """Whether the values seem to be probabilities: in [0, 1] for noise of any strength, and not constant."""
    if not outputs or not _in_unit_range(outputs):
        return False
    values = torch.cat([m.flatten() for m in outputs]).double()
    return values.numel() > 0 and float(values.max() - values.min()) > _SPREAD


def _distribution(outputs: list[torch.Tensor]) -> Literal["", "softmax", "log_softmax"]:
    """Whether the values of the classes (1, K, ...) are probabilities that add up to one, or their logarithms."""
    if not outputs or any(output.ndim < 2 or output.shape[1] < 2 for output in outputs):
        return ""
    eps = torch.finfo(outputs[0].dtype).eps
    values = [output.double() for output in outputs]
    if all(bool((v >= 0).all() and ((v.sum(dim=1) - 1).abs() < max(_NEAR_ONE, 4 * eps)).all()) for v in values):
        return "softmax"
    # A logarithm v has an error of eps * |v|; the largest ones, near 0, matter.
    if all(bool((v <= 0).all() and (v.logsumexp(dim=1).abs() < max(_NEAR_ONE, 8 * eps)).all()) for v in values):
        return "log_softmax"
    return ""
