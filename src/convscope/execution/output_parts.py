"""What a network returns, taken apart: tensors, tuples, dicts, dataclasses, nested; and the class scores in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

# What networks call their class scores, the surest name first.
_NAMES = ("logits", "class_logits", "cls_logits", "scores", "class_scores", "out", "output", "outputs", "preds")
_DEPTH = 8  # an output that holds itself would not end
_MANY = 20  # entries in a message


def parts_of(output: Any) -> Iterator[tuple[Any, Any]]:
    """The parts of an output that is a dict, a list, a tuple or a dataclass, by key or number."""
    if isinstance(output, Mapping):
        yield from output.items()
    elif isinstance(output, Sequence) and not isinstance(output, str):
        yield from enumerate(output)
    elif dataclasses.is_dataclass(output) and not isinstance(output, type):
        yield from vars(output).items()


def entries_of(output: Any, path: str = "", depth: int = _DEPTH) -> Iterator[tuple[str, Any]]:
    """Everything in an output that has no parts of its own, by its path, such as "head.logits" or "0"."""
    parts = list(parts_of(output)) if depth else []
    if not parts:
        yield path, output
    for key, value in parts:
        yield from entries_of(value, f"{path}.{key}" if path else str(key), depth - 1)


def listed(output: Any) -> str:
    """The entries of an output in words, each with its path, type and shape."""
    found = [f"{path or 'the output'}: {_in_words(value)}" for path, value in entries_of(output)]
    more = [f"and {len(found) - _MANY} more"] if len(found) > _MANY else []
    return "; ".join([*found[:_MANY], *more])


def are_dicts_of_images(output: Any, keys: set[str]) -> bool:
    """Whether it is a list with a dict of these keys for each image, as detectors of torchvision return it."""
    return (
        isinstance(output, list)
        and bool(output)
        and all(isinstance(found, dict) and keys <= found.keys() for found in output)
    )


def _in_words(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
    return type(value).__name__


def scores_in(output: Any) -> torch.Tensor | None:
    """The class scores (N, K) in an output, where only one tensor can be meant; None otherwise.

    That is the output itself, an entry whose name says so, or the only floating-point tensor (N, K). Where the
    entry of such a name has other dimensions, as in detectors and segmentation, there are none. Lists are not
    looked into, as detectors return one with the boxes of each image.
    """
    if isinstance(output, torch.Tensor):
        return output
    every = list(_floating(output))
    found = [(key, tensor) for key, tensor in every if tensor.ndim == 2]
    for name in _NAMES:
        named = [tensor for key, tensor in found if key == name]
        if named:
            return named[0] if len(named) == 1 else None
        if any(key == name for key, _ in every):
            return None
    return found[0][1] if len(found) == 1 else None


def _floating(output: Any, depth: int = _DEPTH) -> Iterator[tuple[Any, torch.Tensor]]:
    """The floating-point tensors in an output, each by its own key."""
    if isinstance(output, list) or not depth:
        return
    for key, value in parts_of(output):
        if isinstance(value, torch.Tensor):
            if value.is_floating_point():
                yield key, value
        else:
            yield from _floating(value, depth - 1)
