"""Filters are the weights; feature maps are what a plain hook sees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close

from convscope import LayerError, Model, feature_maps, filters


def test_filters_are_the_raw_weights_of_the_first_convolution(tiny: Model) -> None:
    found = filters(tiny)
    assert found.layer == "0"
    np.testing.assert_array_equal(found.values, tiny.module[0].weight.detach().numpy())
    assert filters(tiny, layer="3").values.shape == (6, 4, 3, 3)
    assert found.provenance.parameters == {"layer": "0"}


def test_filters_are_a_copy(tiny: Model) -> None:
    filters(tiny).values[:] = 7
    assert tiny.module[0].weight.abs().max() < 7


def test_filters_of_a_grouped_convolution_have_the_channels_of_one_group() -> None:
    assert filters(nn.Conv2d(4, 8, 3, groups=2)).values.shape == (8, 2, 3, 3)


@pytest.mark.parametrize(("layer", "says"), [("1", "is a ReLU, not a Conv2d"), ("x", "'x' does not exist")])
def test_filters_of_what_is_no_convolution_are_an_error(tiny: Model, layer: str, says: str) -> None:
    with pytest.raises(LayerError, match=f"{says}; convolutions: 0, 3"):
        filters(tiny, layer=layer)


def test_a_network_without_convolutions_has_no_filters() -> None:
    with pytest.raises(LayerError, match="no convolution"):
        filters(nn.Linear(3, 2))


def test_filters_are_those_of_pictures_which_a_network_for_signals_is_told() -> None:
    net = nn.Sequential(nn.Conv1d(2, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(4, 2))
    with pytest.raises(LayerError, match=r"of a Conv2d, and .* has none; its first convolution, '0', is a Conv1d"):
        filters(net)
    both = nn.Sequential(nn.Conv1d(2, 4, 5), nn.Conv2d(1, 2, 3))
    with pytest.raises(LayerError, match="layer '0' is a Conv1d, not a Conv2d; convolutions: 1"):
        filters(both, layer="0")


def test_feature_maps_are_what_a_plain_hook_sees(lite0: Model, cat: np.ndarray) -> None:
    names = ["conv_stem", "blocks.2.0", "conv_head"]
    seen: dict[str, torch.Tensor] = {}
    handles = [
        lite0.module.get_submodule(name).register_forward_hook(
            lambda _, __, out, name=name: seen.__setitem__(name, out.clone())
        )
        for name in names
    ]
    with torch.no_grad():
        lite0.module(next(lite0.inputs(cat).batches(1)).x)
    for handle in handles:
        handle.remove()
    maps = feature_maps(lite0, cat, layer=names)
    assert maps.layers == tuple(names)
    for name in names:
        assert_close(torch.from_numpy(maps[name]), seen[name], atol=1e-4, rtol=1e-4)


def test_by_default_it_is_the_last_map(tiny: Model) -> None:
    assert feature_maps(tiny, torch.zeros(2, 3, 16, 16)).layers == ("4",)


def test_several_images_in_several_batches_keep_their_order(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    expected = feature_maps(tiny, x, layer=["0", "7"])
    monkeypatch.setattr(Model, "fitting_batch", lambda *_, **__: 2)
    done: list[tuple[int, int]] = []
    found = feature_maps(tiny, x, layer=["0", "7"], progress=lambda i, n: done.append((i, n)))
    for name in ("0", "7"):
        assert_close(torch.from_numpy(found[name]), torch.from_numpy(expected[name]), atol=1e-6, rtol=1e-5)
    np.testing.assert_array_equal(found.images, expected.images)
    assert found.names == expected.names
    assert done == [(2, 5), (4, 5), (5, 5)]


def test_layers_come_in_the_order_asked_for_and_once(tiny: Model) -> None:
    maps = feature_maps(tiny, torch.zeros(1, 3, 16, 16), layer=["3", "0", "3"])
    assert maps.layers == ("3", "0")


def test_the_input_of_the_classifier_is_a_layer_too(tiny: Model) -> None:
    assert feature_maps(tiny, torch.zeros(2, 3, 16, 16), layer="7:input")["7:input"].shape == (2, 6)


def test_the_order_is_by_mean_or_maximum(tiny: Model) -> None:
    maps = feature_maps(tiny, torch.randn(2, 3, 16, 16), layer="0")
    for by, reduce in (("mean", np.mean), ("max", np.max)):
        strength = reduce(maps["0"][1], axis=(1, 2))[maps.order("0", 1, by)]
        assert (np.diff(strength) <= 0).all()


@pytest.mark.parametrize("layer", ["9", ["0", "9"], [], "0:1"])
def test_unknown_layers_are_errors(tiny: Model, layer: object) -> None:
    with pytest.raises(LayerError):
        feature_maps(tiny, torch.zeros(1, 3, 16, 16), layer=layer)


def test_a_network_without_maps_is_an_error() -> None:
    with pytest.raises(LayerError, match="no layer with a spatial map"):
        feature_maps(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), torch.zeros(1, 3, 2, 2))


def test_maps_held_channels_last_come_out_channels_first() -> None:
    class Swap(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.permute(0, 2, 3, 1)

    class Back(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.permute(0, 3, 1, 2)

    net = nn.Sequential(nn.Conv2d(3, 5, 1), Swap(), nn.Identity(), Back())
    x = torch.randn(2, 3, 4, 6)
    maps = feature_maps(net, x, layer=["0", "2"])
    np.testing.assert_array_equal(maps["0"], maps["2"])
