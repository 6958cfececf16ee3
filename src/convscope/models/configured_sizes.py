"""How large a network of a configuration would be, found before it takes memory or time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ..errors import ModelError

_LARGEST = 2**20  # of one number
# What is made once each, and has weights each.
_REPEATED = re.compile(r"layers|depth|blocks|stages|experts|repeat|n_layer")
_AT_LEAST = 2**24  # values that any network may have, besides those in the file


def refuse_large_numbers(stated: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """`ModelError` for a configuration with numbers that its weights cannot bear out."""
    longest = max((max(tensor.shape, default=1) for tensor in tensors.values()), default=0)
    for key, value in _numbers(stated):
        most = _LARGEST
        if _REPEATED.search(key):
            most = len(tensors)
        elif key == "num_labels":
            most = longest
        if value > most:
            raise ModelError(
                f"{source}: {key} is {value:,}, and by its weights ({len(tensors):,} tensors, whose longest side "
                f"is {longest:,}) it is at most {most:,}"
            )


def refuse_large_network(kind: type[Any], config: Any, tensors: Mapping[str, torch.Tensor], source: str) -> None:
    """`ModelError` for a configuration whose network has many times the values of its weights."""
    with torch.device("meta"):
        network = kind(config)
    n_values = sum(tensor.numel() for tensor in (*network.parameters(), *network.buffers()))
    n_given = sum(tensor.numel() for tensor in tensors.values())
    if n_values > 4 * n_given + _AT_LEAST:
        raise ModelError(
            f"{source}: by config.json a {kind.__name__} has {n_values:,} values, and the weights are "
            f"{n_given:,}; they do not belong together"
        )


def _numbers(stated: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """All whole numbers of a configuration with the names under which they stand, but for numbered names."""
    if isinstance(stated, Mapping):
        for inner, value in stated.items():
            if inner not in ("id2label", "label2id"):
                yield from _numbers(value, str(inner))
    elif isinstance(stated, list | tuple):
        for value in stated:
            yield from _numbers(value, key)
    elif isinstance(stated, int | float) and not isinstance(stated, bool) and stated == stated // 1:
        yield key, int(stated)
