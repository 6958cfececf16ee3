"""What is read from the source is what Python finds when it imports it."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

import convscope
from convscope import ATTRIBUTIONS, declared
from convscope.arguments import kind_of
from convscope.registry import declared_methods, method_names, register


@pytest.mark.parametrize("name", [*ATTRIBUTIONS, "filters", "feature_maps", "visualize", "write_samples"])
def test_a_signature_is_that_of_the_function(name: str) -> None:
    method = inspect.unwrap(getattr(convscope, name))
    found, real = declared.function(name), inspect.signature(method).parameters
    hints = typing.get_type_hints(method)
    assert found.doc == inspect.getdoc(method)
    assert [(p.name, p.kind, p.default) for p in found.parameters.values()] == [
        (p.name, p.kind, p.default) for p in real.values()
    ]
    for parameter in found.parameters.values():
        read, meant = kind_of(parameter.annotation, parameter.name), kind_of(hints[parameter.name], parameter.name)
        if read is not None:  # as for classes, which are not imported
            assert meant is not None
            assert read.words == meant.words


def test_every_public_function_is_found() -> None:
    functions = {name for name in convscope.__all__ if inspect.isfunction(getattr(convscope, name))}
    assert set(declared.functions("convscope")) == functions


def test_the_registry_is_the_same_before_and_after_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(declared_methods()) == method_names() == list(ATTRIBUTIONS)

    def own() -> None: ...

    monkeypatch.setattr("convscope.registry.ATTRIBUTIONS", {**ATTRIBUTIONS})
    register(own)
    assert method_names() == [*declared_methods(), "own"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A made-up package in place of this one."""
    place = tmp_path / "made_up"
    (place / "room").mkdir(parents=True)
    (place / "__init__.pyi").write_text("from .room import paint as paint\n")
    (place / "room" / "__init__.py").write_text("from .walls import color as paint\n")
    (place / "kinds.py").write_text(
        "from __future__ import annotations\nimport typing\nfrom typing import Literal, TypeAlias\n"
        "Tone: TypeAlias = Literal['red', 'blue']\nLEAST = -1.5\n"
    )
    (place / "room" / "walls.py").write_text(
        "import torch\nfrom collections.abc import Sequence\nfrom typing import TYPE_CHECKING, Any\n"
        "from .. import kinds\nfrom ..kinds import LEAST, Tone as Shade\n"
        "if TYPE_CHECKING:\n    from pathlib import Path\n"
        "class Wall: ...\n"
        "@register\n@other.kind\n@enter(at=1, kinds=get_args(Shade))\n"
        "def color(wall: Wall, at: int | None = None, *, tone: Shade = 'red', least: float = LEAST,\n"
        "    places: list[tuple[int, str]] | Sequence[Path] = (1, 2), on: torch.device | Shade, odd=kinds):\n"
        "    'Paint.'\n"
    )
    monkeypatch.setattr(declared, "_ROOT", tmp_path)
    return place


def test_names_are_followed_through_stubs_packages_and_aliases(package: Path) -> None:
    found = declared.function("paint", "made_up")
    assert (found.doc, found.decorators) == (
        "Paint.",
        {"register": {}, "other.kind": {}, "enter": {"at": 1, "kinds": ("red", "blue")}},
    )
    tone = Literal["red", "blue"]
    hints: dict[str, Any] = {name: p.annotation for name, p in found.parameters.items()}
    assert hints == {
        "wall": object,
        "at": int | None,
        "tone": tone,
        "least": float,
        "places": list[tuple[int, str]] | Sequence[Path],
        "on": typing.Union[object, tone],  # noqa: UP007
        "odd": Any,
    }
    defaults = {name: p.default for name, p in found.parameters.items() if p.default is not p.empty}
    assert defaults == {"at": None, "tone": "red", "least": -1.5, "places": (1, 2), "odd": object}
    assert [p.name for p in found.parameters.values() if p.kind is p.KEYWORD_ONLY] == list(hints)[2:]


def test_what_is_no_function_is_none(package: Path) -> None:
    for name in ("Wall", "LEAST", "nothing"):
        with pytest.raises(LookupError, match=f"has no function '{name}'"):
            declared.function(name, "made_up.room.walls")


def test_no_default_of_a_method_is_more_than_a_constant() -> None:
    """What is not a number, a text, a tuple or a name of one is read as `object`, which is no default."""
    for name in (*declared_methods(), "filters", "feature_maps", "visualize"):
        for parameter in declared.function(name).parameters.values():
            assert parameter.default is not object, (name, parameter.name)
