"""The one list of methods; tests, the command line and the report are generated from it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from .arguments import checks_arguments
from .errors import ParameterError

Method = TypeVar("Method", bound=Callable[..., Any])

ATTRIBUTIONS: dict[str, Callable[..., Any]] = {}


def register(method: Method) -> Method:
    """Enter an attribution method under its own name, with its arguments checked by their annotations."""
    ATTRIBUTIONS[method.__name__] = checks_arguments(method)
    return ATTRIBUTIONS[method.__name__]  # type: ignore[return-value]


def method_key(name: object) -> str:
    """The key of a method, also of "grad-cam"; `ParameterError` with what may have been meant."""
    key = str(name).replace("-", "_").lower()
    if isinstance(name, str) and key in ATTRIBUTIONS:
        return key
    near = difflib.get_close_matches(key, ATTRIBUTIONS, n=2)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ParameterError(f"{name!r} is no method; {hint}expected some of {', '.join(ATTRIBUTIONS)}")


def method_keys(names: str | Sequence[str]) -> list[str]:
    """The keys of several methods, each once, in their order; "all" is all of them."""
    given = [names] if isinstance(names, str) else list(names)
    if given == ["all"]:
        return list(ATTRIBUTIONS)
    if not given:
        raise ParameterError("methods: expected at least one, or 'all'")
    return list(dict.fromkeys(method_key(name) for name in given))
