"""What a comparison runs: methods, and those that look at a layer once at each of several layers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..attribution import ATTRIBUTIONS
from ..errors import ParameterError
from ..registry import method_keys


class Entry(NamedTuple):
    """A row of a comparison: its name, the method that runs, and the method's options."""

    name: str
    method: str
    options: Mapping[str, Any]


def entries_of(
    methods: str | Sequence[str], layers: Sequence[str] | None, options: Mapping[str, Mapping[str, Any]]
) -> list[Entry]:
    """The rows for these methods; with layers, "all" are the methods that look at one."""
    keys = method_keys(methods)
    if layers is None:
        return [Entry(key, key, options.get(key, {})) for key in keys]
    if methods in ("all", ["all"]):
        keys = [key for key in keys if looks_at_a_layer(key)]
    if not layers:
        raise ParameterError("layers: expected at least one")
    if not any(map(looks_at_a_layer, keys)):
        every = ", ".join(key for key in ATTRIBUTIONS if looks_at_a_layer(key))
        raise ParameterError(f"layers: none of the methods ({', '.join(keys)}) looks at a layer; {every} do")
    found = []
    for key in keys:
        given = options.get(key, {})
        if not looks_at_a_layer(key):
            found.append(Entry(key, key, given))
            continue
        if "layer" in given:
            raise ParameterError(f"options: {key} has a layer there, and layers= names others")
        found += [Entry(f"{key} @ {layer}", key, {**given, "layer": layer}) for layer in layers]
    return found


def looks_at_a_layer(method: str) -> bool:
    """Whether a method can be told which layer to look at."""
    return "layer" in inspect.signature(ATTRIBUTIONS[method]).parameters
