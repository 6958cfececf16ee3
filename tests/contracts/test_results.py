"""Every kind of result: it is drawn or says that it has no picture, and its room exports it."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import convscope
from convscope import Result
from convscope.render.pictures import PICTURES


def kinds(base: type[Result] = Result) -> list[type[Result]]:
    """All classes of results that convscope defines."""
    for found in pkgutil.iter_modules(convscope.__path__, "convscope."):
        if found.ispkg and found.name != "convscope.web":
            importlib.import_module(found.name)
    own = [kind for kind in base.__subclasses__() if kind.__module__.startswith("convscope.")]
    return [one for kind in own for one in (kind, *kinds(kind))]


KINDS = kinds()


def test_the_renderer_draws_every_kind_with_a_picture_and_no_other() -> None:
    assert set(PICTURES) == {kind for kind in KINDS if kind.has_picture}
    assert len(KINDS) > 14


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_public_and_its_room_exports_it(kind: type[Result]) -> None:
    """A saved result names the room of its class, so that it is found after a file has moved."""
    assert getattr(convscope, kind.__name__) is kind
    room = ".".join(kind.__module__.split(".")[:2])
    assert getattr(importlib.import_module(room), kind.__name__) is kind
