"""Parameterizations: each gives back a picture that it was given, and keeps what it promises."""

from __future__ import annotations

import pytest
import torch

from convscope.models.preprocessing import Preprocessing
from convscope.samples import PHOTOS, sample_photos
from convscope.synthesis.parameterizations import Canvas, parameterization
from convscope.synthesis.photo_statistics import RGB, built_in, measured

SCENES = ("astronaut", "cat", "coffee", "flower", "motorcycle", "rocket", "temple")


def canvas(channels: int, height: int, width: int) -> Canvas:
    given = Preprocessing((height, width), (0.4,) * channels, (0.25,) * channels, (height, width))
    return Canvas((channels, height, width), given, built_in(channels))


@pytest.mark.parametrize("domain", ["pixels", "fourier", "pyramid"])
@pytest.mark.parametrize("shape", [(3, 12, 10), (1, 7, 9), (5, 8, 11)])
def test_a_picture_is_found_again(domain: str, shape: tuple[int, int, int]) -> None:
    """At any size, also odd ones, and for any number of channels."""
    board = canvas(*shape)
    picture = board.from_unit(0.1 + 0.8 * torch.rand(2, *shape))
    made = parameterization(domain, board, None)  # type: ignore[arg-type]
    torch.testing.assert_close(made.picture(made.inverse(picture)), picture, rtol=0, atol=1e-3)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 9, 13)])
def test_maco_keeps_the_amplitudes_whatever_the_phase(shape: tuple[int, int, int]) -> None:
    board = canvas(*shape)
    made = parameterization("maco", board, None)
    found = []
    for seed in (0, 1):
        picture = made.picture(made.start(1, torch.Generator().manual_seed(seed)))
        found.append(torch.fft.rfft2(board.values(picture)).abs()[0, :, 1:4, 1:4])
    torch.testing.assert_close(found[0], found[1], rtol=1e-2, atol=1e-2)


def test_contrast_is_a_limit_not_an_aim() -> None:
    board = canvas(3, 16, 16)
    made = parameterization("fourier", board, 1.0)
    faint = made.start(1, torch.Generator().manual_seed(0))
    spread = [float(board.values(made.picture(free)).square().mean().sqrt()) for free in (faint, 1000 * faint)]
    assert spread[0] < 0.1
    assert spread[1] == pytest.approx(1.0, abs=0.05)  # less what black and white cut off


def test_statistics_of_images_give_back_their_covariance() -> None:
    images = (torch.randn(4, 3, 32, 32, dtype=torch.float64) @ torch.eye(32, dtype=torch.float64)).mul(0.4)
    images[:, 1] = 0.5 * images[:, 0] + 0.2 * images[:, 1]
    found = measured(lambda: images.sigmoid().split(3))
    colors = torch.tensor(found.colors, dtype=torch.float64)
    centered = (images - images.mean(dim=(2, 3), keepdim=True)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(colors @ colors.T, torch.cov(centered, correction=0), rtol=0, atol=1e-9)


@pytest.mark.slow
def test_the_statistics_built_in_are_those_of_the_sample_photos() -> None:
    photos = sample_photos()
    assert set(SCENES) <= set(PHOTOS)
    views = []
    for name in SCENES:
        x = torch.tensor(photos[name]).permute(2, 0, 1)[None].float() / 255
        side = min(x.shape[2:])
        top, left = (x.shape[2] - side) // 2, (x.shape[3] - side) // 2
        x = x[:, :, top : top + side, left : left + side]
        views.append(torch.nn.functional.interpolate(x, size=(256, 256), mode="bilinear", antialias=True))
    found = measured(lambda: views)
    assert found.mean == pytest.approx(RGB.mean, abs=0.02)
    own, built = (torch.tensor(s.colors) @ torch.tensor(s.colors).T for s in (found, RGB))
    torch.testing.assert_close(own, built, rtol=0.1, atol=0.1)
