"""Views of a picture: what they show, drawn from one generator."""

from __future__ import annotations

import torch

from convscope.synthesis.transforms import Look, as_seen, views


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramp(height: int, width: int) -> torch.Tensor:
    """Two channels: the row and the column of each pixel."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows, columns])[None].float()


def test_without_anything_to_do_a_view_is_the_picture() -> None:
    picture = torch.randn(2, 5, 6, 7)
    found = views(picture, 2, (6, 7), Look(), [drawn()])
    assert torch.equal(found, picture.repeat_interleave(2, dim=0))


def test_crops_lie_inside_and_are_as_large_as_asked() -> None:
    """On a ramp, the distance between neighbors is the side of the crop over that of the view."""
    found = views(ramp(40, 40), 50, (20, 20), Look(crop=(0.4, 0.6)), [drawn()])
    side = 20 * (found[:, 0, 11, 10] - found[:, 0, 10, 10]) / 40
    assert float(side.min()) >= 0.4 - 1e-4
    assert float(side.max()) <= 0.6 + 1e-4
    assert float(side.max() - side.min()) > 0.1
    assert float(found.min()) >= 0
    assert float(found.max()) <= 39
    middle = found[:, :, 9:11, 9:11].mean(dim=(2, 3))
    assert float(middle.std(dim=0).min()) > 2  # they lie anywhere


def test_a_flip_mirrors_the_columns_of_half_of_the_views() -> None:
    found = views(ramp(16, 16), 200, (16, 16), Look(flip=True), [drawn()])
    mirrored = found[:, 1, 0, 0] > found[:, 1, 0, -1]
    assert 60 < int(mirrored.sum()) < 140
    torch.testing.assert_close(found[mirrored][0, 1], ramp(16, 16)[0, 1].flip(1), rtol=0, atol=1e-4)


def test_a_rotation_is_that_of_the_coordinates() -> None:
    """The step from one pixel to the next one on its right goes down by the sine of the angle."""
    found = views(ramp(64, 64), 30, (64, 64), Look(rotate=10.0), [drawn()])
    sine = found[:, 0, 32, 33] - found[:, 0, 32, 32]
    cosine = found[:, 1, 32, 33] - found[:, 1, 32, 32]
    torch.testing.assert_close(sine.square() + cosine.square(), torch.ones(30), rtol=0, atol=1e-3)
    assert 0.05 < float(sine.abs().max()) <= 0.1737


def test_the_same_seed_gives_the_same_views_with_noise() -> None:
    look = Look(crop=(0.5, 0.9), noise=0.1)
    one, two, other = (views(ramp(16, 16), 3, (8, 8), look, [drawn(s)]) for s in (1, 1, 2))
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_a_large_picture_does_not_alias() -> None:
    """Of a chessboard of single pixels, a view that shrinks it to a quarter sees gray."""
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    board = (1.0 - 2.0 * ((rows + columns) % 2))[None, None]
    assert float(views(board, 8, (32, 32), Look(crop=(0.9, 0.95)), [drawn()])[:, :, 2:-2, 2:-2].abs().max()) < 0.1


def test_a_picture_is_seen_as_the_preprocessing_shows_it() -> None:
    assert torch.equal(as_seen(ramp(32, 32), (32, 32), (28, 28)), ramp(32, 32)[:, :, 2:30, 2:30])
    assert as_seen(ramp(16, 48), (32, 32), (28, 28)).shape == (1, 2, 28, 28)
