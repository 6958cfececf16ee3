"""The presets suit small networks as well."""

from __future__ import annotations

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from convscope import Objective, ParameterError, TargetError, visualize
from convscope.checks import PresetName
from convscope.models import Model
from convscope.synthesis.objectives import channel


@pytest.fixture(scope="module")
def digits() -> Model:
    """A linear network that reads real digits at 32 px: ridge regression on the classes, in closed form."""
    data = load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    x = (functional.interpolate(images, size=(32, 32), mode="bilinear").flatten(1).double() - 0.3) / 0.37
    is_class = torch.eye(10, dtype=torch.float64)[torch.tensor(data.target)]
    gram = x.T @ x + 1000 * torch.eye(1024, dtype=torch.float64)
    layer = nn.Linear(1024, 10, bias=False)
    layer.weight.data = torch.linalg.solve(gram, x.T @ (is_class - 0.1)).T.float()
    with torch.no_grad():
        assert (layer(x.float()).argmax(1).numpy() == data.target).mean() > 0.9
    return Model(nn.Sequential(nn.Flatten(), layer), (32, 32), [0.3], [0.37])


@pytest.mark.parametrize("preset", ["natural", "crisp", "plain"])
def test_the_picture_of_every_digit_is_read_as_that_digit(digits: Model, preset: PresetName) -> None:
    """Gray, of 32 px, and each digit at one place: in crops of a photo's size a digit would be nowhere."""
    found = [visualize(digits, c, n_steps=48, preset=preset) for c in range(10)]
    assert [int(one.evidence[0].label.split()[-1]) for one in found] == list(range(10))
    assert all(one.scores[-1] > one.scores[0] and one.image.shape == (32, 32, 3) for one in found)


@pytest.mark.parametrize(("target", "side"), [(3, 64), (None, 64), ((3, 1, 1), 128), (channel("1", 0), 128)])
def test_pictures_for_early_layers_have_room_for_two_receptive_fields(target: object, side: int) -> None:
    """Unless a place in the map is asked for, or the network takes inputs of one size only."""
    stem = nn.Sequential(nn.Conv2d(3, 4, 7, stride=2), nn.Conv2d(4, 4, 3))
    net = nn.Sequential(stem[0], nn.Sequential(OfOneSize(), stem[1]), nn.Flatten(), nn.Linear(4 * 59 * 59, 2))
    model = Model(net, (128, 128), [0.5] * 3, [0.25] * 3)
    layer = None if isinstance(target, Objective) else "0"
    found = visualize(model, target, layer=layer, n_steps=1)  # type: ignore[arg-type]
    assert found.image.shape == (side, side, 3)
    assert found.input.shape == (3, side, side)
    assert found.scores.shape == (2,)


class OfOneSize(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[2] != 61:
            raise ValueError("for 61 pixels")
        return x


def test_plain_ascent_has_the_size_of_a_preprocessing_that_a_network_came_with() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    stated = Model(net, (8, 8), [0.5] * 3, [0.25] * 3).preprocessing
    assert visualize(Model(net, preprocessing=stated), 0, n_steps=1, preset="plain").image.shape == (8, 8, 3)


def test_a_picture_of_other_than_three_channels_says_what_is_shown() -> None:
    net = nn.Sequential(nn.Conv2d(4, 2, 3), nn.Flatten(), nn.Linear(72, 1))
    model = Model(net, (8, 8), [0.5] * 4, [0.25] * 4, regression=True)
    found = visualize(model, "up", n_steps=1)
    assert found.image.shape == (8, 8, 3)
    assert found.input.shape == (4, 8, 8)
    assert "the picture shows the mean of the 4 channels; `input` has each of them" in found.provenance.notes
    with pytest.raises(TargetError, match="give 'up' or 'down', a value"):
        visualize(model)
    with pytest.raises(ParameterError, match="the input size of this network is not known: give `size_px`"):
        visualize(net, 0)
