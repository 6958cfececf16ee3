"""The one list of attribution methods; tests, the command line and the report are generated from it.

`ATTRIBUTIONS` is filled when `convscope.attribution` is imported, and torch with it. `method_names` reads the same
list from the source, so that a command line can name the methods, and refuse a mistyped one, at once.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from . import declared
from .arguments import checks_arguments
from .errors import ParameterError

Method = TypeVar("Method", bound=Callable[..., Any])

ATTRIBUTIONS: dict[str, Callable[..., Any]] = {}
# Methods that run a network many times: the method of one pass that fits a network where they do.
TRIED_BY: dict[str, str | None] = {}


def register(method: Method) -> Method:
    """Enter an attribution method under its own name, with its arguments checked by their annotations."""
    ATTRIBUTIONS[method.__name__] = checks_arguments(method)
    return ATTRIBUTIONS[method.__name__]  # type: ignore[return-value]


def tried_by(other: str | None) -> Callable[[Method], Method]:
    """Say of a method that takes long which one fits the same networks, so that a summary tries that one.

    None: it fits every network that has scores, because it only runs it.
    """

    def declare(method: Method) -> Method:
        TRIED_BY[method.__name__] = other
        return method

    return declare


@functools.cache
def declared_methods() -> tuple[str, ...]:
    """The functions of `convscope.attribution` that are decorated with `register`, without importing them."""
    room = "convscope.attribution"
    names = declared.functions(room)
    return tuple(name for name in names if "register" in declared.function(name, room).decorators)


def method_names() -> list[str]:
    """The names of all methods, those registered from outside the package last."""
    return list(dict.fromkeys([*declared_methods(), *ATTRIBUTIONS]))


def method_key(name: object) -> str:
    """The key of a method, also of "grad-cam"; the error for a name that is none suggests near ones."""
    key, known = str(name).replace("-", "_").lower(), method_names()
    if isinstance(name, str) and key in known:
        return key
    near = difflib.get_close_matches(key, known, n=2)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise ParameterError(f"{name!r} is no method; {hint}expected one of {', '.join(known)}")


def method_keys(names: str | Sequence[str]) -> list[str]:
    """The keys of several methods, each once, in their order; "all" stands for all of them."""
    given = [names] if isinstance(names, str) else list(names)
    if given == ["all"]:
        return method_names()
    if not given:
        raise ParameterError("methods: expected at least one, or 'all'")
    return list(dict.fromkeys(method_key(name) for name in given))
