"""Concepts: planted directions are found, with the importance and the effect that they have by construction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.conftest import tiny_network, tiny_transformer
from torch import nn

from convscope import Concepts, Interrupted, LayerError, Model, ParameterError, TargetError, concepts
from convscope.units import crops as crops_room
from convscope.units.crops import best_crops, corners_of, crop_side

# Three directions in six channels, none in the span of the others.
PLANTED = np.array([[4, 1, 0, 0, 1, 0], [0, 3, 2, 0, 0, 1], [0, 0, 1, 5, 0, 2]], np.float32)
HEAD = np.array([[1, -1, 0.5, 0.2, 0, -2], [0.3, 0.5, 1, -1, 2, 1]], np.float32)


def planted() -> nn.Module:
    """Each of three input channels is one direction in the layer "1", and the score is linear in them."""
    conv, last = nn.Conv2d(3, 6, 1, bias=False), nn.Linear(6, 2, bias=False)
    conv.weight = nn.Parameter(torch.from_numpy(PLANTED.T.copy())[:, :, None, None])
    last.weight = nn.Parameter(torch.from_numpy(HEAD.copy()))
    return nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last)


def patches(n: int = 12, size: int = 12) -> torch.Tensor:
    """Images (n, 3, size, size) of one or two squares, each in one channel, of its own brightness."""
    rng = np.random.default_rng(0)
    x = np.zeros((n, 3, size, size), np.float32)
    for image in x:
        for channel in range(3):
            top, left = rng.integers(0, size // 4, 2) * 4
            image[:, top : top + 4, left : left + 4] = 0
            image[channel, top : top + 4, left : left + 4] = rng.uniform(0.5, 2)
    return torch.from_numpy(x)


def cosines(basis: np.ndarray) -> np.ndarray:
    """Of each planted direction with each of a basis."""
    unit = PLANTED / np.linalg.norm(PLANTED, axis=1, keepdims=True)
    return unit @ (basis / np.linalg.norm(basis, axis=1, keepdims=True)).T


@pytest.fixture(scope="module")
def found() -> Concepts:
    return concepts(planted(), patches(), layer="1", target=1, n_concepts=3, crop_px=4, n_designs=512)


def test_planted_directions_are_found_with_their_maps(found: Concepts) -> None:
    assert found.factoring == "nmf"
    alike = cosines(found.basis)
    assert sorted(alike.argmax(axis=1)) == [0, 1, 2]
    assert alike.max(axis=1).min() > 0.999
    assert found.stability.min() > 0.99
    assert found.error < 0.01
    x = patches().numpy()
    sizes = np.linalg.norm(PLANTED, axis=1)
    for channel, k in enumerate(alike.argmax(axis=1)):
        np.testing.assert_allclose(found.maps[:, k], x[:, channel] * sizes[channel], atol=0.05)


def test_importance_and_effect_are_those_of_a_linear_score(found: Concepts) -> None:
    """An additive score: a concept's index is its share of the variance, a^2 / 12 each for masks in [0, 1]."""
    effects = patches().numpy().mean(axis=(2, 3)) * (PLANTED @ HEAD[1])  # (N, channel)
    shares = effects**2 / (effects**2).sum(axis=1, keepdims=True)
    order = cosines(found.basis).argmax(axis=1)
    np.testing.assert_allclose(found.importances[:, order], shares, atol=0.03)
    np.testing.assert_allclose(found.importance[order], shares.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(found.effect[order], effects.mean(axis=0), rtol=0.05, atol=0.005)
    assert list(found.importance) == sorted(found.importance, reverse=True)
    np.testing.assert_allclose(found.provenance.measured["scores_of_concepts"], found.scores, rtol=0.02)


def test_the_best_crops_show_the_concept(found: Concepts) -> None:
    order = cosines(found.basis).argmax(axis=1)
    x = patches()
    for channel, k in enumerate(order):
        assert found.crops[k].shape == (6, 4, 4, 3)
        assert list(found.crop_strengths[k]) == sorted(found.crop_strengths[k], reverse=True)
        brightest = x[:, channel].amax((1, 2)).argsort(descending=True)[:6]
        assert set(found.crop_names[k]) == {f"image {i}" for i in brightest.tolist()}
    assert found.images.shape == (6, 12, 12, 3)
    np.testing.assert_array_equal(found.shown, np.argsort(-found.scores, kind="stable")[:6])


def test_the_same_seed_gives_the_same() -> None:
    options: dict[str, Any] = {"layer": "1", "target": 0, "n_concepts": 2, "n_designs": 4, "seed": 3}
    x = torch.rand(3, 3, 16, 16)
    first, second = (concepts(tiny_network(), x, **options) for _ in range(2))
    for name in ("basis", "importance", "maps", "crops"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


class ReadsItsBatch(nn.Module):
    """Its number of rows is that of the image, also behind the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 4, 3, 2), nn.Linear(4 * 49, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = x.shape[0]
        return self.last(self.conv(x).relu().reshape(n, -1))


@pytest.mark.parametrize(
    ("net", "layer", "n_channels"),
    [
        (tiny_network(), "3", 6),
        (tiny_network(), "5", 6),
        (tiny_network(), "7", 3),
        (ReadsItsBatch(), "conv", 4),
        (tiny_transformer(), "blocks.0", 8),
    ],
)
def test_a_dictionary_of_everything_rebuilds_every_score(net: nn.Module, layer: str, n_channels: int) -> None:
    """With the axes as directions and signed coefficients nothing is lost: the head is run as it is."""
    x = torch.randn(2, 3, 16, 16)
    found = concepts(
        net,
        x,
        layer=layer,
        target=1,
        n_concepts=2,
        n_designs=2,
        dictionary=np.eye(n_channels),
        encoder=lambda a: a,
    )
    assert found.factoring == "dictionary"
    assert found.basis.shape == (2, n_channels)
    assert found.error == pytest.approx(0, abs=1e-6)
    expected = net(x)[:, 1].tolist()
    assert found.provenance.measured["scores_of_concepts"] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_dictionary_without_an_encoder_takes_the_nearest_coefficients() -> None:
    atoms = np.concatenate([PLANTED, np.eye(6, dtype=np.float32)[:1]]).T  # more than are there
    found = concepts(planted(), patches(), layer="1", target=1, n_concepts=3, dictionary=atoms, n_designs=64)
    assert cosines(found.basis).max(axis=1).min() > 0.999
    assert np.isnan(found.stability).all()
    assert found.error < 1e-5


def test_what_flows_past_a_layer_is_an_error_and_leaves_nothing_behind() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.inner, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return self.last((x + self.inner(x)).mean((2, 3)))

    net = Skip().train()
    with pytest.raises(LayerError, match="'inner' alone does not settle the score"):
        concepts(net, torch.randn(3, 3, 8, 8), layer="inner", target=0, n_concepts=2)
    assert net.training
    assert not any(child._forward_hooks for child in net.modules())
    assert concepts(net, torch.randn(3, 3, 8, 8), layer="conv", target=0, n_concepts=2).factoring == "semi-nmf"


def test_an_interrupt_keeps_the_images_that_were_looked_at() -> None:
    def stop(done: int, n: int) -> None:
        if done == n // 2 + 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        concepts(planted(), patches(8), layer="1", target=0, n_concepts=2, n_designs=2, progress=stop)
    result = caught.value.result
    assert result.names == ("image 0", "image 1", "image 2")
    assert any("interrupted after 3 of 8" in note for note in result.provenance.notes)


def test_crops_beyond_the_limit_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crops_room, "MOST", 7)
    seen: list[int] = []
    concepts(
        planted(), patches(8), layer="1", target=0, n_concepts=2, n_designs=2, dictionary=PLANTED.T,
        encoder=lambda a: seen.append(len(a)) or np.ones((len(a), 3)),
    )  # fmt: skip
    assert seen[0] == 7


def test_crops_cover_an_image_once() -> None:
    assert crop_side(None, (224, 224)) == 80
    for size, side in (((224, 224), 80), ((10, 7), 3), ((5, 5), 5)):
        covered = np.zeros(size, int)
        corners = corners_of(size, side)
        for top, left in corners:
            covered[top : top + side, left : left + side] += 1
        assert covered.min() >= 1
        assert len(corners) == -(-size[0] // side) * -(-size[1] // side)
    with pytest.raises(ParameterError, match="crop_px=9"):
        crop_side(9, (8, 12))


def test_best_crops_are_of_different_images_first() -> None:
    values, images = np.array([5.0, 4, 3, 2, 1, 0]), np.array([0, 0, 0, 1, 1, 2])
    assert best_crops(values, images, 3) == [0, 3, 5]
    assert best_crops(values, images, 4) == [0, 1, 3, 5]
    assert best_crops(values, images, 9) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"n_concepts": 7}, ParameterError, "27 crops of images and 6 channels"),
        ({"layer": "9"}, LayerError, "no layer '9'"),
        ({"layer": "4:input"}, LayerError, "no output of a module"),
        ({"crop_px": 13}, ParameterError, "crop_px=13"),
        ({"target": 5}, TargetError, "classes 0 to 1"),
        ({"dictionary": np.ones((5, 3))}, ParameterError, r"an array \(6, D\)"),
        ({"dictionary": np.full((6, 3), np.nan)}, ParameterError, "finite"),
        ({"encoder": lambda a: a}, ParameterError, "give dictionary="),
        ({"dictionary": np.eye(6), "encoder": lambda a: a[:, :2]}, ParameterError, r"\(27, 6\) numbers"),
    ],
)
def test_errors_say_what_is_wrong(options: dict[str, Any], error: type[Exception], says: str) -> None:
    given: dict[str, Any] = {"layer": "1", "target": 0, "n_concepts": 2} | options
    with pytest.raises(error, match=says):
        concepts(planted(), patches(3), **given)


def test_crops_that_are_all_alike_hold_no_concepts() -> None:
    for value, n in ((0.0, 0), (1.0, 1)):
        with pytest.raises(ParameterError, match=f"crops have only {n} different activation"):
            concepts(planted(), torch.full((3, *patches(1).shape[1:]), value), layer="0", n_concepts=2)


@pytest.mark.slow
def test_a_cats_face_is_taken_apart(lite0: Model, cat: np.ndarray, tmp_path: Path) -> None:
    """Views of one cat: the concepts agree over seeds, and those of the face carry its score."""
    views = [cat[t : t + 240, a : a + 300] for t in (0, 30, 60) for a in (60, 100, 140)]
    found = concepts(lite0, views, target="tabby", n_concepts=4, n_designs=16)
    assert found.factoring == "nmf"
    assert found.layer == "bn2"
    assert found.effect[0] > 0.5
    assert found.importance[0] > 0.3
    assert found.stability[0] > 0.8
    found.save(tmp_path / "found")
    assert (tmp_path / "found" / "picture.png").exists()
    np.testing.assert_array_equal(Concepts.load(tmp_path / "found").maps, found.maps)
