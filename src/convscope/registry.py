"""The one list of methods; tests, the command line and the report are generated from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])

ATTRIBUTIONS: dict[str, Callable[..., Any]] = {}


def register(method: Method) -> Method:
    """Enter an attribution method under its own name."""
    ATTRIBUTIONS[method.__name__] = method
    return method
