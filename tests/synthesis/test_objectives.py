"""Objectives: each against its formula, computed from the layer's output by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cosine_similarity
from torch.testing import assert_close

from convscope import Objective, TargetError, visualize, visualize_each
from convscope.models import Model
from convscope.synthesis import ascent
from convscope.synthesis import objectives as o

START = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)


def value(tiny: Model, objective: Objective) -> tuple[float, torch.Tensor]:
    """What the first step climbs, and the maps (4, 16, 16) of layer "0" there."""
    found = visualize(tiny, objective, start=START, n_steps=1, preset="plain")
    x = next(tiny.inputs(START).batches(1)).x
    with torch.no_grad():
        return float(found.scores[0]), tiny.module[0](x)[0]


def test_each_term_has_its_own_factor_alone(tiny: Model) -> None:
    """Xplique multiplies the sum so far."""
    found, maps = value(tiny, 0.5 * o.channel("0", 1) - 3 * o.channel("0", 2) + o.unit("0", 0, 4, 5) * 2)
    expected = 0.5 * maps[1].mean() - 3 * maps[2].mean() + 2 * maps[0, 4, 5]
    assert found == pytest.approx(float(expected), abs=1e-5)


def test_a_direction_is_a_dot_product_times_a_power_of_the_cosine(tiny: Model) -> None:
    v = torch.tensor([1.0, -2.0, 0.5, 3.0])
    found, maps = value(tiny, o.direction("0", v, cosine_power=2))
    dot = torch.einsum("chw,c->hw", maps, v)
    cosine = cosine_similarity(maps, v[:, None, None].expand_as(maps), dim=0)
    assert found == pytest.approx(float((dot * cosine.clamp_min(0.1) ** 2).mean()), rel=1e-4)
    assert value(tiny, o.direction("0", v))[0] == pytest.approx(float(dot.mean()), rel=1e-4, abs=1e-6)


def test_differences_and_embeddings_are_those_of_the_layer(tiny: Model) -> None:
    wanted = torch.randn(4, 16, 16)
    found, maps = value(tiny, o.difference("0", wanted))
    assert found == pytest.approx(float(-(maps - wanted).square().sum() / wanted.square().sum()), rel=1e-4)
    found, maps = value(tiny, o.embedding("0", wanted))
    assert found == pytest.approx(float(cosine_similarity(maps.flatten(), wanted.flatten(), dim=0)), abs=1e-5)
    found, maps = value(tiny, o.caricature("0", maps, cosine_power=3))
    assert found == pytest.approx(float(maps.square().sum(dim=0).mean()), rel=1e-4)
    assert value(tiny, o.layer("0"))[0] == pytest.approx(float(maps.square().mean()), rel=1e-4)


def test_an_activation_that_is_matched_comes_nearer(tiny: Model) -> None:
    with torch.no_grad():
        wanted = tiny.module[0](next(tiny.inputs(START).batches(1)).x)[0]
    found = visualize(tiny, o.difference("0", wanted), n_steps=60, preset="plain")
    assert found.scores[-1] > 0.2 * found.scores[0]
    assert found.scores[-1] <= 0


def test_terms_of_the_output_and_of_layers_mix(tiny: Model) -> None:
    found, maps = value(tiny, o.class_score(1) + 2 * o.channel("0", 3))
    with torch.no_grad():
        score = tiny.module(next(tiny.inputs(START).batches(1)).x)[0, 1]
    assert found == pytest.approx(float(score + 2 * maps[3].mean()), abs=1e-5)


def test_a_channel_of_a_vector_layer_is_a_value() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).eval()
    made = visualize(net, 2, layer="1", size_px=4, n_steps=2)
    with torch.no_grad():
        assert float(net(torch.from_numpy(made.input)[None])[0, 2]) == pytest.approx(
            float(made.scores[-1]), rel=1e-4
        )


def test_pictures_of_one_batch_are_those_of_single_calls(tiny: Model) -> None:
    many = visualize_each(tiny, [0, 2], layer="0", n_steps=4, preset="plain")
    for channel, found in zip([0, 2], many, strict=True):
        alone = visualize(tiny, channel, layer="0", n_steps=4, preset="plain")
        assert found.target == alone.target
        torch.testing.assert_close(found.input, alone.input, rtol=0, atol=1e-4)


def test_a_picture_of_a_batch_is_that_of_a_call_with_its_seed_in_groups_of_any_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Softplus(), nn.Conv2d(4, 4, 3))  # smooth: no kinks
    options: dict[str, Any] = {"layer": "2", "n_steps": 3, "size_px": 16}
    alone = [visualize(net, i, seed=5 + i, **options) for i in range(3)]
    for pixels in (1, 2 * 4 * 16**2):  # one picture at a time, then two
        monkeypatch.setattr(ascent, "PIXELS_AT_ONCE", pixels)
        for one, other in zip(visualize_each(net, [0, 1, 2], seed=5, **options), alone, strict=True):
            assert_close(one.input, other.input, rtol=0, atol=1e-3)
            assert_close(one.scores, other.scores, rtol=1e-3, atol=1e-5)
            assert one.provenance.parameters == other.provenance.parameters


def test_diversity_pushes_the_styles_of_a_batch_apart(tiny: Model) -> None:
    """Both pictures have the same aim; only diversity makes them differ more."""

    def cosine(weight: float) -> float:
        aim = o.channel("0", 1) + weight * o.diversity("0")
        pictures = visualize_each(tiny, [aim, aim], n_steps=30)
        with torch.no_grad():
            maps = torch.stack([tiny.module[0](torch.tensor(p.input)[None])[0].flatten(1) for p in pictures])
        grams = (maps @ maps.transpose(1, 2)).flatten(1)
        return float(cosine_similarity(grams[0], grams[1], dim=0))

    assert cosine(100.0) < cosine(0.0)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (o.channel("0", 4), r"the shape \(4, 16, 16\)"),
        (o.direction("0", [1.0, 2.0]), "2 numbers in a layer of 4 channels"),
        (o.difference("0", torch.zeros(4, 2, 2)), "the layer has"),
    ],
)
def test_what_does_not_fit_the_layer_is_refused(tiny: Model, objective: Objective, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        visualize(tiny, objective, n_steps=1)
