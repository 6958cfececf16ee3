"""RISE: the paper's double loop gives the same map; a network that looks at one patch lights that patch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from convscope import ModelError, ParameterError, Several, rise
from convscope.attribution.rise import random_masks
from convscope.models import Model


def slow_masks(n: int, cells: int, keep: float, size: tuple[int, int], seed: int) -> torch.Tensor:
    """The paper's section 3.2, one mask after another, from the same random numbers."""
    generator = torch.Generator().manual_seed(seed)
    height, width = (math.ceil(side / cells) for side in size)
    masks = []
    for _ in range(n):
        drawn = torch.rand(cells * cells + 2, generator=generator)
        grid = (drawn[:-2] < keep).float().reshape(1, 1, cells, cells)
        upsampled = functional.interpolate(
            grid, size=((cells + 1) * height, (cells + 1) * width), mode="bilinear", align_corners=False
        )
        top, left = int(drawn[-2] * height), int(drawn[-1] * width)
        masks.append(upsampled[0, 0, top : top + size[0], left : left + size[1]])
    return torch.stack(masks)


def slow_rise(net: nn.Module, image: torch.Tensor, target: int, masks: torch.Tensor, behind: float) -> np.ndarray:
    """Scores (M,) and masks to the map, pixel by pixel and mask by mask; keep is 0.5."""
    with torch.no_grad():
        scores = [
            float(net((mask * image + (1 - mask) * behind)[None].to(image.dtype))[0, target]) for mask in masks
        ]
    mean = sum(scores) / len(scores)
    values = np.zeros(masks.shape[1:])
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            for score, mask in zip(scores, masks, strict=True):
                values[y, x] += (score - mean) * float(mask[y, x]) / (len(masks) * 0.5)
    return values


def test_equals_the_double_loop(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 13)
    found = rise(tiny.module, x, target=1, n_masks=40, cells=5, baseline=0.3, seed=3)
    masks = slow_masks(40, 5, 0.5, (16, 13), 3)
    for i in range(2):
        expected = slow_rise(tiny.module, x[i], 1, masks, 0.3)
        np.testing.assert_allclose(found.values[i], expected, rtol=0, atol=1e-6)


def test_with_the_mean_score_it_is_the_map_of_the_paper(tiny: Model) -> None:
    x = torch.randn(1, 3, 16, 16)
    found = rise(tiny.module, x, target=2, n_masks=30, score="probability")
    masks = slow_masks(30, 7, 0.5, (16, 16), 0)
    with torch.no_grad():
        scores = tiny.module(masks[:, None] * x).softmax(1)[:, 2]
    paper = torch.einsum("m,mhw->hw", scores, masks) / (30 * 0.5)
    mean = found.provenance.measured["mean_score"][0]
    cover = masks.mean(dim=0) / 0.5
    np.testing.assert_allclose(found.values[0] + mean * cover.numpy(), paper.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(16, 16), (21, 10)])
def test_masks_are_those_of_the_paper(size: tuple[int, int]) -> None:
    expected = slow_masks(50, 4, 0.3, size, 7)
    found = random_masks(50, 4, 0.3, size, 7, torch.zeros(1))(0, 50)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_mask_depends_on_the_seed_and_its_number_alone() -> None:
    many = random_masks(1000, 7, 0.5, (32, 32), 5, torch.zeros(1))
    few = random_masks(10, 7, 0.5, (32, 32), 5, torch.zeros(1))
    torch.testing.assert_close(many(0, 10), few(0, 10), rtol=0, atol=0)
    torch.testing.assert_close(many(3, 4), few(0, 10)[3:4], rtol=0, atol=1e-6)
    assert not torch.equal(random_masks(10, 7, 0.5, (32, 32), 6, torch.zeros(1))(0, 10), few(0, 10))


def test_masks_show_as_much_as_asked_for_everywhere() -> None:
    masks = random_masks(20_000, 4, 0.3, (12, 12), 0, torch.zeros(1))(0, 20_000)
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-6
    torch.testing.assert_close(masks.mean(dim=0), torch.full((12, 12), 0.3), rtol=0, atol=0.015)


def test_a_network_that_looks_at_one_patch_lights_that_patch() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 1, bias=False))
    weights = torch.zeros(28, 28)
    weights[8:12, 16:20] = 1.0
    net[1].weight.data = weights.reshape(1, -1)
    values = rise(net, torch.ones(1, 1, 28, 28)).values[0]
    assert values[8:12, 16:20].min() > np.quantile(values, 0.95)
    y, x = np.unravel_index(values.argmax(), values.shape)
    assert 8 <= y < 12
    assert 16 <= x < 20


def test_a_score_far_from_zero_changes_nothing(tiny: Model) -> None:
    x = torch.randn(1, 3, 16, 16)
    found = rise(tiny.module, x, target=lambda out: out[:, 0].double(), n_masks=50).values
    shifted = rise(tiny.module, x, target=lambda out: out[:, 0].double() - 100, n_masks=50).values
    np.testing.assert_allclose(shifted, found, rtol=0, atol=1e-6)


def test_several_targets_at_once_are_those_one_by_one(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    together = rise(tiny, x, target=Several(0, 2), n_masks=20)
    each = [rise(tiny, x, target=t, n_masks=20) for t in (0, 2)]
    expected = np.stack([one.values for one in each], axis=1).reshape(4, 16, 16)
    np.testing.assert_allclose(together.values, expected, rtol=0, atol=1e-6)
    means = np.stack([one.provenance.measured["mean_score"] for one in each], axis=1).reshape(-1)
    np.testing.assert_allclose(together.provenance.measured["mean_score"], means, rtol=0, atol=1e-6)


def test_a_constant_image_and_another_seed_give_a_result(tiny: Model) -> None:
    x = torch.full((1, 3, 16, 16), 0.5)
    first, second = (rise(tiny, x, n_masks=20, seed=seed).values for seed in (0, 1))
    assert first.any()
    assert not np.array_equal(first, second)
    assert not rise(tiny, torch.zeros(1, 3, 16, 16), n_masks=20).values.any()  # the image is its own baseline


def test_a_constant_score_leaves_no_rounding_behind() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, 1)).double()
    nn.init.zeros_(net[1].weight)
    for constant in (0.1, 0.3, 0.7):
        nn.init.constant_(net[1].bias, constant)
        assert not rise(net, torch.ones(1, 1, 16, 16), n_masks=50).values.any()


def test_errors_say_what_is_wrong(tiny: Model) -> None:
    x = torch.randn(1, 3, 16, 16)
    for options, message in [
        ({"n_masks": 1}, "n_masks=1: expected a whole number from 2 to"),
        ({"cells": 1}, "cells=1"),
        ({"cells": 17}, "cells=17: more than the pixels"),
        ({"keep": 0}, "keep=0: expected a number between 0 and 1"),
        ({"keep": 1.0}, "keep=1.0"),
        ({"keep": "half"}, "keep='half'"),
        ({"seed": -1}, "seed=-1"),
        ({"baseline": "gray"}, "baseline='gray'"),
        ({"score": "x"}, "score='x'"),
    ]:
        with pytest.raises(ParameterError, match=message):
            rise(tiny, x, **options)  # type: ignore[arg-type]

    def undefined_in_the_dark(output: torch.Tensor) -> torch.Tensor:
        return torch.where(torch.arange(len(output)) > 0, float("nan"), output[:, 0])

    with pytest.raises(ModelError, match="image 0: the network's score is nan"):
        rise(tiny, x, n_masks=20, target=undefined_in_the_dark)
