"""Check every argument of a public function by its annotation; a `ParameterError` names what does not fit.

Annotating a new option is enough to have it checked. The bounds of its number are in `checks.BOUNDS`, by its name.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast, get_args, get_origin

from .checks import (
    SIDES,
    as_choice,
    as_count,
    as_items,
    as_number,
    as_path,
    as_text,
    choices_in_words,
    count_in_words,
    number_in_words,
    plain,
    unfit,
)
from .errors import ParameterError

Function = TypeVar("Function", bound=Callable[..., Any])

# These have errors of their own, where they are looked at with the network at hand.
_LEFT = {"self", "cls", "model", "module", "images", "image", "source", "target", "targets", "against"}
_PARTS = {"background": "(red, green, blue)", "shape": "(channels, height, width)"}  # of what has several
# Classes that are not called as users know them.
_CLASSES = {"StoredRows": "an EmbeddingStore, as EmbeddingStore.open(place) opens one, or a part of it"}
# Tuples of several lengths: what each length means.
_LENGTHS: dict[str, dict[int, str]] = {
    "shape": {n + 1: sides.replace("(", "(channels, ").replace(",)", ")") for n, (sides, _) in SIDES.items()},
    **{
        name: {n: sides for n, (sides, _) in SIDES.items()}
        for name in ("input_size", "stride", "window", "windows")
    },
}


class Kind(NamedTuple):
    """What an annotation allows: in words, and as a function that converts a value or raises."""

    words: str
    take: Callable[[Any], Any]
    is_list: bool = False  # of any length


def checks_arguments(function: Function) -> Function:
    """Check the arguments of a function, or of a class's constructor, by their annotations.

    Numbers of NumPy and torch become Python's; any ordered collection becomes a list where one is expected. Where
    an annotation is not known here, such as ``Any`` or ``Model | nn.Module``, the function checks for itself.

    Example:
        >>> @checks_arguments
        ... def blurred(*, blur: float = 0.0, kind: Literal["box", "gaussian"] = "box") -> None: ...
        >>> blurred(kind="gausian")
        Traceback (most recent call last):
        convscope.errors.ParameterError: kind='gausian': expected 'box' or 'gaussian'
    """
    if isinstance(function, type):
        function.__init__ = checks_arguments(function.__init__)  # type: ignore[misc]
        return function
    names = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]

    @functools.wraps(function)
    def run(*args: Any, **options: Any) -> Any:
        takes = _takes(function)
        given = [takes[name](value) if name in takes else value for name, value in zip(names, args, strict=False)]
        fit = {name: takes[name](value) if name in takes else value for name, value in options.items()}
        return function(*given, *args[len(names) :], **fit)

    return cast(Function, run)


@functools.cache
def _takes(function: Callable[..., Any]) -> dict[str, Callable[[Any], Any]]:
    """The check of each parameter; found at the first call, since annotations name what is imported later."""
    found = {}
    for name, annotation in function.__annotations__.items():
        kind = None if name in _LEFT or name == "return" else kind_of(_evaluated(annotation, function), name)
        if kind is not None:
            found[name] = kind.take
    return found


def _evaluated(annotation: Any, function: Callable[..., Any]) -> Any:
    """An annotation from its text; `Any` where it names something that only a type checker imports."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, function.__globals__)  # our own source's text
    except (NameError, TypeError):
        return Any


def kind_of(hint: Any, name: str) -> Kind | None:
    """What an annotation allows for a parameter of this name; None where the function has to decide."""
    simple = {
        bool: Kind("True or False", lambda value: _as_bool(value, name)),
        int: Kind(count_in_words(name), lambda value: as_count(value, name)),
        float: Kind(number_in_words(name), lambda value: as_number(value, name)),
        str: Kind("a string", lambda value: as_text(value, name)),
        Path: Kind("a path", lambda value: as_path(value, name)),
    }
    if hint in (bool, int, float, str, Path):
        return simple[hint]
    origin, args = get_origin(hint), get_args(hint)
    if hint in (Any, object) or getattr(hint, "_is_protocol", False):
        return None
    if origin is Literal:
        return Kind(choices_in_words(args), lambda value: as_choice(value, name, args))
    if origin in (typing.Union, types.UnionType):
        return _one_of(args, name)
    if origin in (list, tuple, collections.abc.Sequence):
        return _several(origin, args, name)
    if origin is collections.abc.Mapping:
        return _mapping(args, name)
    if origin is collections.abc.Callable:
        return Kind("a function", lambda value: _such(value, callable(value), name, "a function"))
    if isinstance(hint, type) and origin is None:
        article = "an" if hint.__name__[0] in "AEIOU" else "a"
        words = _CLASSES.get(hint.__name__, f"{article} {hint.__name__}")
        return Kind(words, lambda value: _such(value, isinstance(value, hint), name, words))
    return None


def _such(value: Any, fits: bool, name: str, expected: str) -> Any:
    if not fits:
        raise unfit(value, name, expected)
    return value


def _as_bool(value: Any, name: str) -> bool:
    given = plain(value)
    return bool(_such(given, isinstance(given, bool), name, "True or False"))


def _one_of(hints: Sequence[Any], name: str) -> Kind | None:
    """One of several kinds: the first that takes the value."""
    is_optional = type(None) in hints
    hints = [hint for hint in hints if hint is not type(None)]
    if Path in hints:  # which is given as a string, too
        hints = [hint for hint in hints if hint is not str]
    kinds = [kind_of(hint, name) for hint in hints]
    known = [kind for kind in kinds if kind is not None]
    if len(known) < len(kinds):
        return None
    first, *others = [kind.words for kind in known]
    others = [words.replace(f", each {first}", " of these") for words in others] + ["None"] * is_optional
    words = ", or ".join([first, *others])
    known.sort(key=lambda kind: not kind.is_list)  # [4, 8] are two sizes and no pair

    def take(value: Any) -> Any:
        if value is None and is_optional:
            return None
        for kind in known:
            try:
                return kind.take(value)
            except ParameterError:
                if len(known) == 1:  # it says best what is wrong
                    raise
        raise unfit(value, name, words)

    return Kind(words, take)


def _several(origin: Any, hints: Sequence[Any], name: str) -> Kind:
    """A list or a tuple of values of one kind, with a fixed or any length."""
    fixed = len(hints) if origin is tuple and hints[-1] is not ... else None
    lengths = _LENGTHS.get(name, {}) if origin is tuple and not fixed else {}
    each = kind_of(hints[0], name)
    if lengths:
        *some, last = lengths.values()
        words = f"{', '.join(some)} or {last}{f', each {each.words}' if each else ''}"
    elif fixed:
        words = f"{_PARTS.get(name, '(height, width)')}{f', each {each.words}' if each else ''}"
    else:
        words = f"a list, each {each.words}" if each else "a list"

    def take(value: Any) -> Any:
        if origin is list:
            _such(value, isinstance(value, list), name, words)
        items = as_items(value, name, words)
        _such(value, fixed is None or len(items) == fixed, name, words)
        _such(value, not lengths or len(items) in lengths, name, words)
        fit = [each.take(item) for item in items] if each else items
        return tuple(fit) if origin is tuple else fit

    return Kind(words, take, is_list=not fixed and not lengths)


def _mapping(hints: Sequence[Any], name: str) -> Kind:
    """A dict with keys of one kind and values of another."""
    key, value_kind = (kind_of(hint, name) for hint in hints)
    words = f"a dict from {key.words if key else 'anything'} to {value_kind.words if value_kind else 'anything'}"

    def take(value: Any) -> Any:
        _such(value, isinstance(value, Mapping), name, words)
        return {(key.take(k) if key else k): (value_kind.take(v) if value_kind else v) for k, v in value.items()}

    return Kind(words, take)
