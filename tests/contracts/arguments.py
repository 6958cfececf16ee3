"""Public functions and methods, and odd values to give to each of their parameters."""

from __future__ import annotations

import inspect
import re
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tests.contracts.bench import Bench
from torch import nn

import convscope
from convscope import ConvscopeError, Layer, Provenance, Result
from convscope.render.pictures import PICTURES

LONGEST_S = 20  # of a call; an option without an upper bound runs forever

Function = Callable[..., Any]

NOT_FOR_USERS = {
    ("EmbeddingStore", "database"),  # open, create and of_vectors make it
    ("EmbeddingStore", "table"),
    ("EmbeddingStore.remember", "kind"),  # for the questions, which name what they keep
    *(("ImageSet.remark", name) for name in ("text", "name")),  # for those who open images
    ("ImageSet.__getitem__", "index"),  # as of a list
    ("ImageSet.of", "sources"),
    *((f"Recipe.{name}", "progress") for name in ("look", "rate")),  # for an ascent
}


class Unprintable:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


# What hardly any parameter has a use for; made anew for each call.
ODD: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "-1": lambda: -1,
    "0": lambda: 0,
    "1.5": lambda: 1.5,
    "NaN": lambda: float("nan"),
    "infinite": lambda: float("inf"),
    "2**70": lambda: 2**70,
    "10**400": lambda: 10**400,
    "10**9": lambda: 10**9,
    "complex": lambda: 1j,
    "empty string": lambda: "",
    "string": lambda: "x",
    "null character": lambda: "\0",
    "surrogate": lambda: "\ud800",
    "long string": lambda: "x" * 100_000,
    "bytes": lambda: b"x",
    "empty list": lambda: [],
    "list": lambda: [1],
    "list of None": lambda: [None],
    "list of strings": lambda: ["x"],
    "nested list": lambda: [[1], [[2, 3]]],
    "tuple": lambda: (1, 2, 3),
    "dict": lambda: {},
    "dict of ints": lambda: {1: 2},
    "set": lambda: {1},
    "object": object,
    "unprintable": Unprintable,
    "array of one": lambda: np.array([1]),
    "empty array": lambda: np.array([]),
    "array of objects": lambda: np.array([None, "x"], dtype=object),
    "NumPy NaN": lambda: np.float64("nan"),
    "NumPy date": lambda: np.datetime64("2020-01-01"),
    "0-d array": lambda: np.array(3),
    "0-d tensor": lambda: torch.tensor(1),
    "tensor": lambda: torch.zeros(2, 2),
    "function": lambda: lambda *_: None,
    "class": lambda: dict,
    "network": lambda: nn.Linear(2, 2),
    "path": lambda: Path("absent/deep"),
    "generator": lambda: (n for n in range(3)),
}  # fmt: skip


class Place(NamedTuple):
    """A public function, whose class it belongs to, and one of its parameters."""

    name: str
    function: Function
    owner: type | None
    parameter: inspect.Parameter
    takes_functions: bool


def _functions() -> Iterator[tuple[str, Function, type | None]]:
    """By name: what `convscope` exports, with constructors and methods; each once, also if several inherit it."""
    seen = set()
    for name in sorted(convscope.__all__):
        thing = getattr(convscope, name)
        if inspect.isfunction(thing):
            yield name, thing, None
        if not inspect.isclass(thing) or issubclass(thing, BaseException):
            continue
        # Results are made by methods, not by hand.
        if not issubclass(thing, Result | Provenance | Layer | convscope.Judgment):
            yield name, thing.__init__, thing
        for key in dir(thing):
            found = inspect.getattr_static(thing, key)
            method = found.__func__ if isinstance(found, classmethod) else found
            is_public = not key.startswith("_") or key == "__getitem__"
            if is_public and inspect.isfunction(method) and method.__module__.startswith("convscope"):
                if method not in seen:
                    yield f"{name}.{key}", method, thing
                seen.add(method)


def places() -> list[Place]:
    """All parameters of all public functions."""
    found = []
    for name, function, owner in _functions():
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name not in ("self", "cls") and parameter.kind is not parameter.VAR_KEYWORD:
                kinds = "Callable|Progress|Target|Watching"
                takes_functions = re.search(kinds, str(parameter.annotation)) is not None
                if (name, parameter.name) not in NOT_FOR_USERS:
                    found.append(Place(name, function, owner, parameter, takes_functions))
    for kind, drawings in PICTURES.items():  # the options that Result.plot and the like pass on
        for function in drawings:
            options = [p for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
            found += [Place(function.__name__, function, kind, option, False) for option in options]
    return found


@contextmanager
def ending() -> Iterator[None]:
    """`TimeoutError` for a call that does not end."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"more than {LONGEST_S} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(LONGEST_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fault(bench: Bench, place: Place, odd: str) -> str:
    """What is wrong with how a call ends; "" where it returns a result or says what was expected."""
    value = ODD[odd]()
    if place.takes_functions and callable(value):  # a caller's own code may raise anything
        return ""
    if place.parameter.name == "compiled" and value is True:  # takes long, and is what it is for
        return ""
    given = [value] if place.parameter.kind is place.parameter.VAR_POSITIONAL else value
    about = f"{place.name}({place.parameter.name}={odd})"
    try:
        with ending(), warnings.catch_warnings():
            warnings.simplefilter("error")
            bench.call(place, given[0] if isinstance(given, list) and given is not value else given)
    except ConvscopeError as error:
        str(error)
    except AssertionError as error:
        if "write a valid" in str(error):
            raise
        return f"{about}: AssertionError {error}"
    except (Exception, SystemExit) as error:
        try:
            text = str(error)[:120]
        except Exception:
            text = "with a message that cannot be printed"
        return f"{about}: {type(error).__name__}: {text}"
    return ""
