"""The defaults go by the size of the picture, so that they suit small networks as well."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

from convscope import visualize
from convscope.models import Model


@pytest.mark.parametrize(
    ("size", "jitter_px", "blur"),
    [(224, 32, 3.0), (96, 14, 3.0), (64, 9, 3.0), (32, 5, 3.0), (28, 4, 2.8), ((16, 48), 2, 1.6), (2, 0, 0.2)],
)
def test_jitter_and_blur_are_found_for_the_shorter_side_and_recorded(
    size: int | tuple[int, int], jitter_px: int, blur: float
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    found = visualize(net, target=0, size_px=size, n_steps=4)
    assert found.provenance.parameters["jitter_px"] == jitter_px
    assert found.provenance.parameters["blur"] == blur
    again = visualize(net, target=0, size_px=size, n_steps=4, jitter_px=jitter_px, blur=blur)
    assert np.array_equal(again.input, found.input)


def test_given_values_are_pixels_of_any_picture() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    parameters = visualize(net, target=0, size_px=8, n_steps=1, jitter_px=32, blur=3.0).provenance.parameters
    assert (parameters["jitter_px"], parameters["blur"]) == (32, 3.0)


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


@pytest.mark.slow
def test_the_picture_of_every_digit_is_read_as_that_digit(digits: Model) -> None:
    """Moved by up to 32 px, as by the default of 224 px, a digit is nowhere."""
    read, fixed = [], []
    for c in range(10):
        found = visualize(digits, target=c, n_steps=64)
        assert found.provenance.notes == ()
        assert found.scores[-1] > found.scores[0]
        for picture, into in ((found, read), (visualize(digits, target=c, n_steps=64, jitter_px=32), fixed)):
            with torch.no_grad():
                into.append(int(digits.module(torch.tensor(picture.input)[None]).argmax()))
            is_noted = any("takes the finished picture for" in note for note in picture.provenance.notes)
            assert is_noted == (into[-1] != c)
    assert read == list(range(10))
    assert sum(c == i for i, c in enumerate(fixed)) < 6
