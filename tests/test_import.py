"""Importing convscope is light, and every public name is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

import convscope

pytestmark = pytest.mark.same_everywhere

HEAVY = ("torch", "torchvision", "timm", "matplotlib", "numpy", "PIL", "sklearn", "skimage", "typer", "rich")


def test_importing_loads_nothing_heavy() -> None:
    script = f"import sys, convscope; dir(convscope); print(*(m for m in {HEAVY} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("name", convscope.__all__)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    thing = getattr(convscope, name)
    if callable(thing):
        assert thing.__doc__, f"{name} has a docstring"
        assert thing.__name__ == name


def test_what_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        convscope.nonsense  # noqa: B018


def test_every_error_is_a_convscope_error() -> None:
    for name in convscope.__all__:
        if name.endswith("Error"):
            assert issubclass(getattr(convscope, name), convscope.ConvscopeError)
    assert issubclass(convscope.Interrupted, KeyboardInterrupt)
