"""Channels are ordered by how active they are, and a layer that is not there is named."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.render.results import feature_maps, provenance

from convscope import FeatureMaps, LayerError, ParameterError


def test_channels_are_ordered_by_a_stated_strength() -> None:
    values = np.array([[[[9, -9]], [[1, 1]], [[0, 0]]]], np.float32)
    maps = FeatureMaps(values={"a": values}, images=np.zeros((1, 1, 1, 3), np.uint8), names=("x",),
                       provenance=provenance())  # fmt: skip
    assert maps.order("a").tolist() == [1, 0, 2]
    assert maps.order("a", by="max").tolist() == [0, 1, 2]
    full = np.array([[[[6, 0]], [[6, 6]], [[6, 3]], [[7, 0]]]], np.float32)
    saturated = dataclasses.replace(maps, values={"a": full})
    assert saturated.order("a", by="max").tolist() == [3, 1, 2, 0], "equal maxima go by the mean"
    with pytest.raises(ParameterError, match="by='median'"):
        maps.order("a", by="median")


def test_a_layer_without_maps_is_an_error_that_names_the_others() -> None:
    with pytest.raises(LayerError, match="no maps of layer 'none', only of conv, fc"):
        feature_maps()["none"]
