"""Every measure is one registered function; results and docs say of it what the registry says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convscope import evaluate
from convscope.evaluation import MEASURES
from convscope.evaluation.maps_of_image import MapsOfImage
from convscope.evaluation.measures import measure
from convscope.results import Array

PAGE = Path(__file__).parents[2] / "docs" / "evaluate.md"


@pytest.fixture
def brightest() -> Iterator[str]:
    """A measure that somebody adds."""

    @measure(direction="lower", unit="map units", source="nobody")
    def brightest(maps: MapsOfImage) -> Array:
        """Highest value of the map."""
        return np.array([values.max() for values in maps.maps])

    yield "brightest"
    del MEASURES["brightest"]


def test_a_new_measure_is_one_function(brightest: str) -> None:
    net, x = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), torch.randn(2, 1, 4, 4)
    maps = np.random.default_rng(0).random((2, 4, 4))
    found = evaluate(net, x, {"mine": maps}, measures=[brightest, "sparseness"])
    np.testing.assert_allclose(found.values[0, 0], maps.max(axis=(1, 2)), rtol=1e-6)
    assert found.higher_is_better == (False, True)
    assert found.units == ("map units", "Gini index")
    np.testing.assert_allclose(found.gains[0, 0], -np.mean(found.values[0, 0] - found.values[1, 0]), rtol=1e-5)
    assert found.rows()[0][1:3] == ("brightest ↓", "sparseness ↑")


@pytest.mark.parametrize("name", MEASURES)
def test_it_says_what_it_is(name: str) -> None:
    about = MEASURES[name]
    assert about.direction in ("higher", "lower")
    assert about.text
    assert about.unit
    assert re.search(r"\d{4}, arXiv \d{4}\.\d{5}$", about.source)
    if about.baseline:
        assert name.endswith(f"_{about.baseline}")
        assert about.text.endswith(f"the baseline {about.baseline!r}")


def test_the_docs_have_every_measure_with_its_direction() -> None:
    rows = re.findall(r"^\| (`[^|]*`) \| (higher|lower) \|", PAGE.read_text(), re.MULTILINE)
    directions = {name: way for names, way in rows for name in re.findall(r"`(\w+)`", names)}
    assert directions == {
        name: about.direction for name, about in MEASURES.items() if about.baseline in (None, "mean", "blur")
    }
