"""The weights of a network, out of all that training scripts put around and beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from ..texts import listed

Tensors = Mapping[str, torch.Tensor]

_DEPTH = 3  # so deep are mappings looked into
_COMPILED = "_orig_mod."  # what torch.compile puts before each name, anywhere in it
# Of two that fit equally well the one is taken that training itself goes on with; others are averages of it.
_AVERAGED = ("ema", "swa", "teacher", "momentum", "averag", "best")


@dataclass(frozen=True)
class Found:
    """Tensors by the names of the network, where they were, and what else there was that would have fitted."""

    tensors: dict[str, torch.Tensor]
    place: str
    also: tuple[str, ...]

    def note(self, source: str) -> tuple[str, ...]:
        """What has to be said of a choice."""
        if not self.also:
            return ()
        return (
            f"{source} holds several sets of weights: those in {self.place!r} were taken, not those in "
            f"{', '.join(map(repr, self.also))}",
        )


def weights_in(content: Mapping[Any, Any], own: Tensors, source: str) -> Found:
    """The mapping in a checkpoint that fits the names of a network best, its prefix taken off.

    Args:
        content: what is in the file, mappings inside of mappings.
        own: the state dict of the network.
        source: the file, for errors.

    Raises:
        ModelError: there are no tensors by name in it.
    """
    choices = []
    for place, tensors in _state_dicts(content, ""):
        plain = {key.replace(_COMPILED, ""): tensor for key, tensor in tensors.items()}
        prefix = _prefix(plain, own)
        stripped = {key.removeprefix(prefix): tensor for key, tensor in plain.items() if key.startswith(prefix)}
        choices.append((_fit(stripped, own), place, stripped))
    if not choices:
        raise ModelError(f"{source}: no state dict (a mapping from names to tensors) in it")
    best = max(fit for fit, _, _ in choices)
    fitting = [(place, tensors) for fit, place, tensors in choices if fit == best]
    fitting.sort(key=lambda choice: any(word in choice[0].lower() for word in _AVERAGED))
    place, tensors = fitting[0] if best[0] else max(fitting, key=lambda choice: len(choice[1]))
    also = tuple(other for other, _ in fitting if other != place) if best[0] else ()
    return Found(tensors, place, also)


def _state_dicts(content: Mapping[Any, Any], place: str, depth: int = _DEPTH) -> Iterator[tuple[str, Tensors]]:
    """The mappings in it that have tensors by name; what else is in them are counters and options."""
    tensors = {key: value for key, value in content.items() if isinstance(key, str) and torch.is_tensor(value)}
    if tensors:
        yield place, tensors
    for key, value in content.items():
        if depth and isinstance(key, str) and isinstance(value, Mapping):
            yield from _state_dicts(value, f"{place}.{key}" if place else key, depth - 1)


def _prefix(tensors: Tensors, own: Tensors) -> str:
    """What stands before the names of the network in most of these: "module.", "model.", "net.backbone."."""
    counts = {"": 0}
    for key in tensors:
        parts = key.split(".")
        for n in range(len(parts)):
            if ".".join(parts[n:]) in own:
                prefix = "".join(f"{part}." for part in parts[:n])
                counts[prefix] = counts.get(prefix, 0) + 1
    return max(counts, key=lambda prefix: counts[prefix])  # the shortest of equals comes first


def _fit(tensors: Tensors, own: Tensors) -> tuple[int, int]:
    """How many names are those of the network, and of how many the shapes."""
    common = [key for key in own if key in tensors]
    return len(common), sum(tensors[key].shape == own[key].shape for key in common)


def fit_weights(module: nn.Module, weights: Tensors, source: str) -> None:
    """Load a state dict; `ModelError` lists what does not fit, or is no weights."""
    own = module.state_dict()
    # Checkpoints from before PyTorch 0.4.1 have no such counters, and evaluation does not use them.
    missing = [key for key in own if key not in weights and not key.endswith("num_batches_tracked")]
    extra = [key for key in weights if key not in own]
    reshaped = [
        f"{key} {tuple(weights[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in weights and weights[key].shape != own[key].shape
    ]
    problems = _in_words((("missing", missing), ("unknown", extra), ("of another shape", reshaped)))
    if problems:
        raise ModelError(f"{source}: the weights are of another network ({problems})")
    used = {key: weights[key] for key in own if key in weights}
    kinds: dict[str, list[str]] = {}
    for key, tensor in used.items():
        if fault := _fault(tensor, own[key]):
            kinds.setdefault(fault, []).append(key)
    if kinds:
        raise ModelError(
            f"{source}: no weights to run a network with ({_in_words(tuple(kinds.items()))}); save the "
            "state_dict() of a network in float32 or half precision whose scores are finite"
        )
    module.load_state_dict(used, strict=False)


def _in_words(problems: tuple[tuple[str, list[str]], ...]) -> str:
    return "; ".join(f"{what}: {listed(keys, 4)}" for what, keys in problems if keys)


def _fault(tensor: torch.Tensor, own: torch.Tensor) -> str:
    """Why a tensor cannot take the place of the network's own of the same shape; "" where it can."""
    if tensor.is_meta:
        return "without values (on the meta device)"
    if tensor.layout != torch.strided:
        return "sparse"
    if tensor.is_quantized or own.is_quantized:
        return "" if own.is_quantized else "quantized"
    if own.is_floating_point() and not tensor.is_floating_point():
        return f"of {str(tensor.dtype).removeprefix('torch.')}"
    if tensor.is_floating_point():
        n_odd = int((~torch.isfinite(tensor.to(torch.promote_types(tensor.dtype, torch.float32)))).sum())
        if n_odd and bool(torch.isfinite(own).all()):  # a mask of attention may be infinite
            return "NaN or infinite"
    return ""
