"""Every public function gives a result or an error of convscope's own, whatever it is given, and it ends."""

from __future__ import annotations

import inspect
import random
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
from tests.conftest import tiny_network
from tests.contracts.arguments import ODD, Unprintable, ending, fault, places
from tests.contracts.bench import Bench

from convscope import (
    Model,
    ModelError,
    ParameterError,
    Prediction,
    Preprocessing,
    load_model,
    saliency,
    smoothgrad,
)
from convscope.checks import BOUNDS, shown

SOME = 300  # odd calls in the fast suite, always the same


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("arguments"))


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is written by a path like "x" is written here; figures open no window."""
    monkeypatch.chdir(tmp_path)
    matplotlib.use("Agg")


def test_some_odd_values_in_every_function(bench: Bench) -> None:
    calls = [(place, odd) for place in places() for odd in ODD]
    found = [fault(bench, place, odd) for place, odd in random.Random(0).sample(calls, SOME)]
    assert [text for text in found if text] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", list(dict.fromkeys(place.name for place in places())))
def test_all_odd_values_in_all_places(bench: Bench, name: str) -> None:
    found = [fault(bench, place, odd) for place in places() if place.name == name for odd in ODD]
    assert [text for text in found if text] == []


def test_every_number_has_bounds_of_its_own() -> None:
    """A new option of whole numbers is bounded by name, as nothing else says how much is too much."""
    names = {p.parameter.name for p in places() if str(p.parameter.annotation) in ("int", "int | None")}
    places_in_results = {"n", "s", "index", "channel", "n_probes", "n_classes", "at_most"}
    assert names - places_in_results <= set(BOUNDS)


def test_a_choice_that_is_nearly_right_is_named() -> None:
    with pytest.raises(ParameterError, match="kind='absolut': did you mean 'absolute'"):
        saliency(tiny_network(), torch.rand(1, 3, 16, 16), kind="absolut")
    with pytest.raises(ParameterError, match="crop='sqaush': did you mean 'squash'"):
        Preprocessing((8, 8), (0.5,), (0.5,), (8, 8), crop="sqaush")


@pytest.mark.parametrize("value", [4, np.int64(4), np.uint8(4), np.array(4), torch.tensor(4)])
def test_whole_numbers_of_other_libraries_are_taken(value: Any) -> None:
    found = smoothgrad(tiny_network(), torch.rand(1, 3, 16, 16), n_samples=value, noise=np.float32(0.5))
    assert found.provenance.parameters["n_samples"] == 4
    assert type(found.provenance.parameters["n_samples"]) is int
    assert type(found.provenance.parameters["noise"]) is float


@pytest.mark.parametrize("value", [np.array([4]), [4], 4.0, True, "4", 2**63, -1])
def test_what_is_no_whole_number_in_the_range_is_refused(value: Any) -> None:
    with ending(), pytest.raises(ParameterError, match=r"n_samples=.*: expected a whole number from 1 to 100,000"):
        smoothgrad(tiny_network(), torch.rand(1, 3, 16, 16), n_samples=value)


def test_a_message_shows_no_more_than_a_line_of_what_was_given() -> None:
    for value in (
        Unprintable(),
        "x" * 10**6,
        list(range(10**6)),
        torch.zeros(500, 500),
        10**5000,
        [[Unprintable()]],
    ):
        text = shown(value)
        assert 0 < len(text) <= 80
        assert "\n" not in text


@pytest.mark.parametrize("model", [None, 3, "resnet18", b"", torch.nn.ReLU, object(), torch.zeros(3)])
def test_what_is_no_network_is_refused(model: Any) -> None:
    with pytest.raises(ModelError, match="is not a network"):
        saliency(model, torch.rand(1, 3, 16, 16))


def test_signatures_and_docstrings_are_those_of_the_functions() -> None:
    for function in (saliency, load_model, Model.layers, Prediction.top):
        assert function.__doc__
        assert "args" not in inspect.signature(function).parameters
    with pytest.raises(TypeError, match=r"saliency\(\) got an unexpected keyword argument 'knd'"):
        saliency(tiny_network(), torch.rand(1, 3, 16, 16), knd="absolute")
    with pytest.raises(TypeError, match=r"saliency\(\) missing 1 required positional argument: 'images'"):
        saliency(tiny_network())
