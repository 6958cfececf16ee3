"""What starts from a photo: accentuated ones stay near it, inverted ones come back to it, dreams see more."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from convscope import Interrupted, Inversion, LayerError, Model, accentuate, deep_dream, invert
from convscope.synthesis.invert import INVERTED

MEAN = STD = [0.5, 0.5, 0.5]


def photo(size: int = 16) -> torch.Tensor:
    """Preprocessed, (1, 3, size, size), away from black and white, smooth as photos are."""
    noise = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    return nn.functional.interpolate(1.2 * noise - 0.6, size=size, mode="bicubic").clamp(-0.9, 0.9)


def deep() -> Model:
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 8, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5),
    )  # fmt: skip
    return Model(net, (16, 16), MEAN, STD)


@pytest.mark.parametrize("distance", [0.05, 0.4])
def test_an_accentuated_photo_scores_higher_and_is_as_near_as_asked(distance: float) -> None:
    model, x = deep(), photo()
    found = accentuate(model, x, 2, distance=distance, near_layer="1", n_steps=16)
    with torch.no_grad():
        before, after = (model.module[:2](one) for one in (x, torch.from_numpy(found.input)[None]))
        first, last = (float(model.module(one)[0, 2]) for one in (x, torch.from_numpy(found.input)[None]))
    gone = float((after - before).norm() / before.norm())
    assert gone <= distance * 1.02  # the coefficients of the photo itself round to it
    assert found.provenance.measured["distance"] == pytest.approx(gone, rel=1e-4)
    assert last > first
    assert found.scores[-1] == pytest.approx(last, rel=1e-4)
    np.testing.assert_array_equal(found.original, model.to_pixels(x)[0])
    assert found.provenance.method == "accentuate"


def test_a_wider_limit_lets_the_score_rise_further() -> None:
    near, far = (accentuate(deep(), photo(), 2, distance=d, n_steps=24).scores[-1] for d in (0.02, 0.5))
    assert far > near


def test_without_a_target_the_predicted_class_is_accentuated() -> None:
    model = deep()
    with torch.no_grad():
        best = int(model.module(photo())[0].argmax())
    assert accentuate(model, photo(), n_steps=1).provenance.parameters["target"] == best


def test_ctrl_c_gives_the_accentuated_photo_so_far() -> None:
    def stop(done: int, picture: object, score: float) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        accentuate(deep(), photo(), 1, n_steps=9, watch=stop)
    assert caught.value.result.original.shape == (16, 16, 3)
    assert "interrupted after 3 of 9" in caught.value.result.provenance.notes[0]


def test_an_invertible_layer_gives_the_image_back() -> None:
    """An orthogonal 1x1 convolution: the error at the layer is that of the picture itself."""
    net = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.Flatten(), nn.Linear(768, 2))
    nn.init.orthogonal_(net[0].weight)
    model, x = Model(net, (16, 16), MEAN, STD), photo()
    recipe = replace(INVERTED, total_variation=0.0)
    found = invert(model, x, "0", recipe=recipe, n_steps=300)
    gone = float((x - _input_of(found)).norm() / x.norm())
    assert found.errors[0] < 0.02
    assert found.distances[0] == pytest.approx(found.errors[0], rel=1e-3)
    assert gone < 0.02 + 1 / 255 / float(x.square().mean().sqrt())
    assert found.curves.shape == (1, 301)
    assert found.curves[0, -1] == found.errors[0]


def test_what_is_shut_at_the_start_is_found_again() -> None:
    """Channels x - 0.5 and -x - 0.5 of each color, of which gray opens none: nothing there has a gradient."""
    net = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1536, 2))
    net[0].weight.data = torch.cat([torch.eye(3), -torch.eye(3)])[:, :, None, None]
    nn.init.constant_(net[0].bias, -0.5)
    found = invert(Model(net, (16, 16), MEAN, STD), photo(), "1", n_steps=60)
    assert found.curves[0, 0] > 0.9
    assert found.errors[0] < 0.1


def _input_of(found: Inversion) -> torch.Tensor:
    """The picture of 8 bits as the network takes it."""
    pixels = torch.from_numpy(found.images[0]).permute(2, 0, 1)[None].float() / 255
    return (pixels - 0.5) / 0.5


def test_more_steps_come_nearer_and_deeper_layers_keep_less() -> None:
    runs = [invert(deep(), photo(), ["1", "4", "7"], n_steps=n) for n in (4, 16, 64)]
    for few, many in pairwise(runs):
        assert (many.errors < few.errors).all()
    assert list(runs[-1].layers) == ["1", "4", "7"]
    assert (np.diff(runs[-1].distances) > 0).all()


def test_the_errors_are_those_of_the_layer() -> None:
    model, x = deep(), photo()
    found = invert(model, x, "4", n_steps=1)
    with torch.no_grad():
        zero = model.module[:5](torch.zeros_like(x))
        wanted = model.module[:5](x)
    assert found.provenance.notes[0].startswith(
        f"4: the picture matches the layer with an error of {found.errors[0]:.0%}"
    )
    faint = float((zero - wanted).norm() / wanted.norm())
    assert found.curves[0, 0] == pytest.approx(faint, rel=0.5)  # it starts near the mean color of photos
    assert invert(model, x, n_steps=1).layers == ("1", "4", "7")


def test_a_layer_that_is_zero_says_so() -> None:
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 2))
    nn.init.constant_(net[0].bias, -100.0)
    with pytest.raises(LayerError, match="layer 1 is zero everywhere"):
        invert(net, photo(), "1", n_steps=1)


def test_a_dream_raises_what_the_layer_sees_at_each_size() -> None:
    model, x = Model(deep().module[:8], (16, 16), MEAN, STD), photo()
    found = deep_dream(model, x, "4", n_octaves=2, n_steps=6)
    with torch.no_grad():
        first, last = (
            float(model.module[:5](one).square().mean()) for one in (x, torch.from_numpy(found.input)[None])
        )
    assert last > first
    assert found.scores[-1] == pytest.approx(last, rel=1e-4)
    assert found.image.shape == found.original.shape == (16, 16, 3)


def test_progress_counts_all_layers_and_sizes() -> None:
    for call, total in (
        (lambda p: invert(deep(), photo(), ["1", "4"], n_steps=3, progress=p), 6),
        (
            lambda p: deep_dream(
                Model(deep().module[:8], (16, 16), MEAN, STD), photo(), "4", n_steps=2, progress=p
            ),
            6,
        ),
    ):
        seen: list[tuple[int, int]] = []
        call(lambda done, of, seen=seen: seen.append((done, of)))
        assert seen[-1] == (total, total)
        assert [done for done, _ in seen] == sorted({done for done, _ in seen})
