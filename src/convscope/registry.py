"""The one list of attribution methods; tests, the command line and the report are generated from it.

`ATTRIBUTIONS` is filled when `convscope.attribution` is imported, and torch with it. `method_names` reads the same
list from the source, so that a command line can name the methods, and refuse a mistyped one, at once.
"""

from __future__ import annotations

import difflib
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from . import declared
from .arguments import checks_arguments
from .errors import Interrupted, ParameterError, TargetError

Method = TypeVar("Method", bound=Callable[..., Any])

ATTRIBUTIONS: dict[str, Callable[..., Any]] = {}
# Methods that run a network many times: the method of one pass that fits a network where they do.
TRIED_BY: dict[str, str | None] = {}
NEED_PICTURES: set[str] = set()  # of those, the methods that take no signals and no volumes


def register(method: Method) -> Method:
    """Enter an attribution method under its own name, with its arguments checked by their annotations.

    Where a network has several inputs that differ from image to image, it is called for each image.
    """
    ATTRIBUTIONS[method.__name__] = _row_by_row(checks_arguments(method))
    return ATTRIBUTIONS[method.__name__]  # type: ignore[return-value]


def _row_by_row(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def run(model: Any, images: Any, **options: Any) -> Any:
        calls = model.row_by_row(images) if hasattr(model, "row_by_row") else None
        return method(model, images, **options) if calls is None else _joined(method, calls, **options)

    return run


def _joined(
    method: Callable[..., Any],
    calls: Sequence[tuple[Any, Any]],
    *,
    target: Any = None,
    progress: Any = None,
    **options: Any,
) -> Any:
    """The result of a method for one image after another, as one; `Interrupted` carries that of those finished."""
    started, parts, n = time.perf_counter(), list[Any](), len(calls)
    is_each = hasattr(target, "__len__") and not isinstance(target, str)
    if is_each and len(target) != n:
        raise TargetError(f"{len(target)} targets for {n} images; give one, or one per image")
    try:
        for i, (model, images) in enumerate(calls):
            own = target[i] if is_each else target
            parts.append(method(model, images, target=own, progress=_counted(progress, i, n), **options))
    except KeyboardInterrupt:
        if not parts:
            raise
        raise Interrupted(type(parts[0])._joined(parts, time.perf_counter() - started)) from None
    return type(parts[0])._joined(parts, time.perf_counter() - started)


def _counted(progress: Any, i: int, n: int) -> Any:
    """The progress of call i of n, as that of all."""
    return progress and (lambda done, total: progress(i * total + done, n * total))


def tried_by(other: str | None, *, needs_pictures: bool = False) -> Callable[[Method], Method]:
    """Say of a method that takes long which one fits the same networks, so that a summary tries that one.

    None: it fits every network that has scores, because it only runs it; perhaps only one that ``needs_pictures``.
    """

    def declare(method: Method) -> Method:
        TRIED_BY[method.__name__] = other
        if needs_pictures:
            NEED_PICTURES.add(method.__name__)
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
