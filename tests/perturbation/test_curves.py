"""Curves of deletion and insertion: those of the slow loop, between the image and what is behind it."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from tests.conftest import tiny_network
from tests.oracles.curves import area
from tests.oracles.curves import curves as by_definition
from torch import nn

from convscope.execution import convolutions_of, evaluating, fused
from convscope.models import Model
from convscope.perturbation import Curves, curves, n_variants, ranks, score_variants


def run(
    net: nn.Module, x: torch.Tensor, fills: list[torch.Tensor], rankings: list[np.ndarray], steps: int
) -> Curves:
    """Of the first two classes."""
    with evaluating(net), torch.inference_mode():
        fusing = fused(convolutions_of(net, lambda: net(x[None].clone())))
        first_two = partial(score_variants, score_of=lambda output, m: output[:m, :2], fusing=fusing)
        return curves(x, fills, rankings, steps, partial(first_two, Model(net), tuple(x.shape)))


def random_rank(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return ranks(np.random.default_rng(seed).normal(size=size))


@pytest.mark.parametrize("steps", [2, 7, 16])
@pytest.mark.parametrize("starts_in_place", [False, True])
def test_equals_the_slow_loop(steps: int, starts_in_place: bool) -> None:
    net = nn.Sequential(nn.LeakyReLU(0.1, inplace=starts_in_place), tiny_network()).eval()
    x, fills = torch.randn(3, 12, 9), [torch.zeros(3, 12, 9), torch.randn(3, 12, 9)]
    rankings = [random_rank((12, 9), seed) for seed in range(3)]
    found = run(net, x.clone(), [fill.clone() for fill in fills], rankings, steps)
    assert found.deletion.shape == found.insertion.shape == (3, 2, steps + 1, 2)
    below, above = found.areas()
    for t in range(2):

        def score(image: torch.Tensor, t: int = t) -> float:
            with torch.no_grad():
                return float(net(image[None].clone())[0, t])

        for r, rank in enumerate(rankings):
            for b, fill in enumerate(fills):
                deletion, insertion = by_definition(score, x, fill, rank, steps)
                np.testing.assert_allclose(found.deletion[r, b, :, t], deletion, rtol=0, atol=1e-6)
                np.testing.assert_allclose(found.insertion[r, b, :, t], insertion, rtol=0, atol=1e-6)
                assert below[r, b, t] == pytest.approx(area(deletion), abs=1e-6)
                assert above[r, b, t] == pytest.approx(area(insertion), abs=1e-6)


def test_the_ends_are_the_image_and_the_baselines() -> None:
    net = tiny_network().eval()
    x, fills = torch.randn(3, 16, 16), [torch.zeros(3, 16, 16), torch.ones(3, 16, 16)]
    found = run(net, x, fills, [random_rank((16, 16))] * 2, 4)
    with torch.no_grad():
        whole, *gone = net(torch.stack([x, *fills]))[:, :2].double().numpy()
    for curve, first, last in ((found.deletion, None, gone), (found.insertion, gone, None)):
        for b in range(2):
            np.testing.assert_allclose(
                curve[:, b, 0], [whole if first is None else first[b]] * 2, rtol=0, atol=1e-6
            )
            np.testing.assert_allclose(
                curve[:, b, -1], [whole if last is None else last[b]] * 2, rtol=0, atol=1e-6
            )


def test_the_reverse_order_takes_away_what_the_order_puts_in() -> None:
    """With as many steps as pixels a whole number leaves at each, so that nothing is rounded."""
    x, rank = torch.randn(3, 5, 4), random_rank((5, 4))
    found = run(tiny_network(), x, [torch.zeros_like(x)], [rank, 19 - rank], 20)
    np.testing.assert_allclose(found.deletion[0], found.insertion[1][:, ::-1], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.deletion[1], found.insertion[0][:, ::-1], rtol=0, atol=1e-6)


def test_areas_are_those_of_numpy() -> None:
    lines = np.random.default_rng(0).normal(size=(2, 3, 2, 8, 4))
    below, above = Curves(lines[0], lines[1]).areas()
    shares = np.linspace(0, 1, 8)
    np.testing.assert_allclose(below, np.trapezoid(lines[0], shares, axis=2), rtol=0, atol=1e-12)
    np.testing.assert_allclose(above, np.trapezoid(lines[1], shares, axis=2), rtol=0, atol=1e-12)
    flat = Curves(np.full((1, 1, 5, 1), 3.0), np.full((1, 1, 5, 1), -2.0))
    assert [v.item() for v in flat.areas()] == [3.0, -2.0]


def test_batch_norm_is_folded_and_gives_the_same() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    ).eval()
    with torch.no_grad():
        net[1].weight.uniform_(0.5, 2)
        net[1].bias.normal_()
        net[1].running_mean.normal_()
        net[1].running_var.uniform_(0.2, 3)
    x, fill, rank = torch.randn(3, 8, 8), torch.zeros(3, 8, 8), random_rank((8, 8))
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    found = run(net, x, [fill], [rank], 8)

    def score(image: torch.Tensor) -> float:
        with torch.no_grad():
            return float(net(image[None])[0, 1])

    deletion, insertion = by_definition(score, x, fill, rank, 8)
    np.testing.assert_allclose(found.deletion[0, 0, :, 1], deletion, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.insertion[0, 0, :, 1], insertion, rtol=0, atol=1e-5)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_progress_counts_every_variant() -> None:
    seen: list[int] = []
    net, x = tiny_network().eval(), torch.randn(3, 8, 8)
    with torch.inference_mode():
        score = partial(score_variants, Model(net), (3, 8, 8), score_of=lambda output, m: output)
        seeing = partial(score, fusing=nullcontext(), progress=seen.append)
        curves(x, [torch.zeros_like(x)] * 2, [random_rank((8, 8))] * 3, 5, seeing)
    assert sum(seen) == n_variants(3, 2, 5) == 1 + 2 + 2 * 3 * 2 * 4
    assert len(seen) > 1


@settings(max_examples=50, deadline=None)
@given(
    st_numpy.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.integers(-2, 2)),
    st.integers(0, 3),
)
def test_ranks_are_a_permutation_from_the_highest_down(values: np.ndarray, seed: int) -> None:
    found = ranks(values, seed)
    assert found.shape == values.shape
    assert sorted(found.ravel()) == list(range(values.size))
    in_order = values.ravel()[np.argsort(found.ravel())]
    assert (np.diff(in_order) <= 0).all()
    np.testing.assert_array_equal(found, ranks(values.copy(), seed))


def test_ties_are_in_an_order_of_chance_that_hangs_on_the_seed() -> None:
    flat = np.zeros((40, 50), np.float32)
    first, other = ranks(flat, 0), ranks(flat, 1)
    assert not np.array_equal(first, other)
    # Neither rows nor columns come before others: means of 1000 ranks of 2000 have a standard error of 13.
    for half in (first[:20], first[20:], first[:, :25], first[:, 25:]):
        assert abs(half.mean() - 999.5) < 4 * 13
    values = np.random.default_rng(0).permutation(2000).reshape(40, 50)
    np.testing.assert_array_equal(ranks(values, 0), ranks(values, 1))
    np.testing.assert_array_equal(ranks(values), 1999 - values)
