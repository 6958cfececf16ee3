"""Directions that a user brings, as units: as computed by hand, beside a network that stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import tiny_network, tiny_transformer
from torch import nn

from convscope import LayerError, Model, ParameterError, feature_maps, necessity, scan, unit, with_dictionary

N_DIMS, N_UNITS = 6, 9
ATOMS = torch.randn(N_DIMS, N_UNITS, generator=torch.Generator().manual_seed(1))
X = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(2))


def autoencoder() -> nn.Module:
    """The encoder of a sparse autoencoder of layer "4"."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(N_DIMS, N_UNITS), nn.ReLU())


def split(x: torch.Tensor) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
    """The maps of layer "4", and what follows it."""
    network = tiny_network().eval()
    return network[:5](x), network[5:]


def coefficients(maps: torch.Tensor, encoder: nn.Module | None) -> torch.Tensor:
    values = maps.movedim(1, -1)
    found = values @ ATOMS / ATOMS.square().sum(dim=0) if encoder is None else encoder(values)
    return found.movedim(-1, 1)


@pytest.mark.parametrize("encoder", [None, autoencoder()], ids=["along each", "sparse autoencoder"])
def test_a_scan_and_necessity_of_directions_are_those_computed_by_hand(encoder: nn.Module | None) -> None:
    network = tiny_network().eval()
    model = with_dictionary(Model(network, labels=["a", "b", "c"]), "4", ATOMS, encoder=encoder, input_size=16)
    with torch.no_grad():
        assert torch.equal(model.module(X), network(X)), "nothing is lost, also of what no direction spans"
        maps, rest = split(X)
        held = coefficients(maps, encoder)
    found = scan(model, X, layers=["4", "dictionary"])
    np.testing.assert_allclose(found.peaks["dictionary"], held.amax(dim=(2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.peaks["4"], maps.amax(dim=(2, 3)), rtol=1e-5)
    lost = necessity(model, X, layer="dictionary", channels=[2, 7], labels=[0] * 8)
    for channel, effect in zip((2, 7), lost.effects[:, 0].tolist(), strict=True):
        with torch.no_grad():
            change = held[:, channel].mean() - held[:, channel]
            after = rest(maps + change[:, None] * ATOMS[:, channel, None, None])
            assert effect == pytest.approx(float((rest(maps) - after)[:, 0].mean()), rel=1e-3, abs=1e-5)
    assert not hasattr(network, "dictionary")
    assert not any(module._forward_hooks for module in network.modules())


def test_a_page_of_a_direction() -> None:
    given = Model(tiny_network(), input_size=(16, 16), mean=[0.5] * 3, std=[0.5] * 3)
    model = with_dictionary(given, "4", ATOMS.numpy(), encoder=autoencoder())
    found = scan(model, X, layers="dictionary", k=3)
    page = unit(model, "dictionary", 5, scan=found, images=X, k=2, relevance=False, picture=False)
    assert page.top.names == tuple(found.top("dictionary", 5, 2))
    np.testing.assert_array_equal(found.pixels["dictionary"], scan(given, X, layers="4").pixels["4"])
    assert page.necessity is not None
    assert [reason.split(":")[0] for reason in page.left_out] == ["feeds"]


def test_tokens_keep_those_that_stand_for_no_patch() -> None:
    network = tiny_transformer()
    directions = torch.randn(8, 5)
    model = with_dictionary(network, "blocks.0", directions, input_size=16)
    with torch.no_grad():
        assert torch.equal(model.module(X), network(X))
    maps = feature_maps(network, X, layer="blocks.0")["blocks.0"]
    expected = np.einsum("nchw,cd->ndhw", maps, directions / directions.square().sum(dim=0))
    np.testing.assert_allclose(
        feature_maps(model, X, layer="dictionary")["dictionary"], expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("layer", "options", "error", "says"),
    [
        ("9", {}, LayerError, "no layer '9'"),
        ("3", {"dictionary": np.ones((5, 2))}, ParameterError, r"an array \(6, D\)"),
        ("4", {"encoder": lambda a: a}, ParameterError, r"it returned \(64, 6\); expected a tensor \(64, 9\)"),
    ],
)
def test_errors_say_what_is_wrong(layer: str, options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        with_dictionary(tiny_network(), layer, **{"dictionary": ATOMS, "input_size": 16} | options)
