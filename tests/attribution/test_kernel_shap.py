"""Kernel SHAP: Shapley values by their definition, over all orders, and Captum's give the same numbers."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable

import captum.attr
import numpy as np
import pytest
import torch
from torch import nn

from convscope import ParameterError, Several, kernel_shap
from convscope.attribution.kernel_shap import every_coalition, random_coalitions, shapley_kernel, shapley_values
from convscope.attribution.superpixel_coalitions import numbered_superpixels
from convscope.models import Model

Game = Callable[[frozenset[int]], float]


def shapley_by_orders(game: Game, n: int) -> np.ndarray:
    """What each of n adds when it comes, averaged over all n! orders."""
    values = np.zeros(n)
    for order in itertools.permutations(range(n)):
        before: frozenset[int] = frozenset()
        for player in order:
            values[player] += game(before | {player}) - game(before)
            before = before | {player}
    return values / math.factorial(n)


def game_of(net: nn.Module, x: torch.Tensor, numbered: torch.Tensor, target: int, behind: float) -> Game:
    """The score of an image (1, C, H, W) with some superpixels shown."""
    known: dict[frozenset[int], float] = {}

    def game(shown: frozenset[int]) -> float:
        if shown not in known:
            visible = torch.isin(numbered, torch.tensor(sorted(shown), dtype=torch.long))
            with torch.no_grad():
                known[shown] = float(net(torch.where(visible, x, behind))[0, target])
        return known[shown]

    return game


def blocks(n: int, side: int = 4) -> torch.Tensor:
    """Images of a few squares, (n, 3, 16, 16); noise alone would be a single superpixel."""
    squares = torch.randn(n, 3, 16 // side, 16 // side)
    return squares.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)


def superpixels_of(model: Model, x: torch.Tensor, side: int) -> torch.Tensor:
    """(H, W) of the first image."""
    return numbered_superpixels(model.to_pixels(x)[0], (side, side))


@pytest.mark.parametrize("score", ["logit", "probability"])
def test_all_coalitions_give_the_values_of_the_definition(tiny: Model, score: str) -> None:
    x = blocks(1, 6)
    net = tiny.module if score == "logit" else nn.Sequential(tiny.module, nn.Softmax(dim=1))
    found = kernel_shap(tiny, x, target=1, superpixel=6, baseline=0.25, score=score)
    numbered = superpixels_of(tiny, x, 6)
    n = int(numbered.max()) + 1
    assert 3 <= n <= 8
    expected = shapley_by_orders(game_of(net, x, numbered, 1, 0.25), n)
    np.testing.assert_allclose(found.values[0], expected[numbered], rtol=0, atol=1e-6)
    assert found.provenance.measured == {"exact": [True], "standard_error": [0.0]}


def random_game(n: int, orders: int) -> tuple[Game, np.ndarray]:
    """A random game in which up to so many act together, and its Shapley values: equal parts of each worth."""
    random = np.random.default_rng(0)
    worth = {
        frozenset(group): random.normal()
        for size in range(orders + 1)
        for group in itertools.combinations(range(n), size)
    }
    values = np.zeros(n)
    for group, gain in worth.items():
        for player in group:
            values[player] += gain / len(group)
    return lambda shown: sum(gain for group, gain in worth.items() if group <= shown), values


def play(game: Game, shown: torch.Tensor) -> torch.Tensor:
    return torch.tensor([[game(frozenset(z.nonzero()[:, 0].tolist()))] for z in shown], dtype=torch.float64)


@pytest.mark.parametrize("n", [1, 2, 3, 6, 8])
def test_enumeration_is_exact_for_any_game(n: int) -> None:
    game, expected = random_game(n, orders=n)
    shown = every_coalition(n)
    assert shown[0].all()
    assert len({tuple(z.tolist()) for z in torch.cat([shown, ~shown])}) == 2**n
    values, _, _ = shapley_values(shown, play(game, shown), play(game, ~shown), shapley_kernel(shown[1:]))
    np.testing.assert_allclose(values[0], expected, rtol=0, atol=1e-9)


def test_drawn_pairs_are_exact_where_parts_act_alone_or_by_twos() -> None:
    game, expected = random_game(12, orders=2)
    shown = random_coalitions(40, 12, 0)
    values, error, is_determined = shapley_values(
        shown, play(game, shown), play(game, ~shown), torch.ones(39).double()
    )
    assert is_determined
    np.testing.assert_allclose(values[0], expected, rtol=0, atol=1e-9)
    assert error < 1e-9


def test_the_standard_error_says_how_far_off_drawn_values_are() -> None:
    game, expected = random_game(9, orders=4)
    runs, errors = [], []
    for seed in range(60):
        shown = random_coalitions(100, 9, seed)
        values, error, _ = shapley_values(shown, play(game, shown), play(game, ~shown), torch.ones(99).double())
        runs.append(values[0].numpy() - expected)
        errors.append(float(error))
    off = np.sqrt(np.mean(np.square(runs)))
    assert off > 0.01
    np.testing.assert_allclose(np.mean(errors), off, rtol=0.15)
    np.testing.assert_allclose(np.mean(runs, axis=0), 0, atol=4 * off / np.sqrt(60))


def test_equals_captum_on_the_same_coalitions(tiny: Model) -> None:
    x = blocks(1)
    numbered = superpixels_of(tiny, x, 4)
    n = int(numbered.max()) + 1
    shown = random_coalitions(60, n, 0)
    rows = [shown[0], ~shown[0], *shown[1:], *~shown[1:]]

    class OurDraws(captum.attr.KernelShap):
        def __init__(self, forward: nn.Module) -> None:
            super().__init__(forward)
            self.inf_weight = 1e7

        def kernel_shap_perturb_generator(self, *_: object, **__: object) -> object:
            yield from (row.long()[None] for row in rows)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = OurDraws(nn.Sequential(tiny.module).double())
        found = peer.attribute(
            x.double(), target=2, baselines=0.0, feature_mask=numbered[None, None], n_samples=len(rows)
        )
    tiny.module.float()
    ours = kernel_shap(tiny, x, target=2, n_samples=120, superpixel=4)
    assert ours.provenance.measured["exact"] == [False]
    np.testing.assert_allclose(ours.values[0], found[0, 0], rtol=0, atol=1e-5)


def test_values_add_up_to_the_difference_from_the_baseline(tiny: Model) -> None:
    x = blocks(2)
    found = kernel_shap(tiny, x, target=0, n_samples=80, superpixel=4, baseline=0.7)
    with torch.no_grad():
        change = (tiny.module(x) - tiny.module(torch.full_like(x, 0.7)))[:, 0]
    for i in range(2):
        numbered = superpixels_of(tiny, x[i : i + 1], 4)
        total = sum(found.values[i][(numbered == n).numpy()].mean() for n in range(int(numbered.max()) + 1))
        np.testing.assert_allclose(total, change[i], rtol=0, atol=1e-6)
    assert found.provenance.measured["exact"] == [False, False]
    assert min(found.provenance.measured["standard_error"]) > 0


def test_of_a_linear_network_it_is_what_each_superpixel_adds() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 2))
    x = blocks(1)
    found = kernel_shap(net, x, target=1, n_samples=100, superpixel=4, baseline=0.2)
    numbered = superpixels_of(Model(net), x, 4)
    share = (net[1].weight[1].detach().reshape(3, 16, 16) * (x[0] - 0.2)).sum(0)
    adds = torch.stack([share[numbered == n].sum() for n in range(int(numbered.max()) + 1)])
    torch.testing.assert_close(torch.tensor(found.values[0]), adds[numbered], rtol=0, atol=1e-5)


def test_coalitions_are_drawn_in_proportion_to_the_kernel() -> None:
    shown = random_coalitions(40_000, 6, 0)
    assert shown[0].all()
    sizes = torch.bincount(shown[1:].sum(dim=1), minlength=7).double() / 39_999
    expected = torch.tensor([0, 1 / 5, 1 / 8, 1 / 9, 1 / 8, 1 / 5, 0]).double()
    torch.testing.assert_close(sizes, expected / expected.sum(), rtol=0, atol=0.01)
    torch.testing.assert_close(shown[1:].double().mean(dim=0), torch.full((6,), 0.5).double(), rtol=0, atol=0.01)
    assert torch.equal(random_coalitions(40_000, 6, 0), shown)
    # (D - 1) / (binomial(D, |z|) * |z| * (D - |z|)) for D = 4
    kernel = shapley_kernel(torch.tensor([[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]))
    torch.testing.assert_close(kernel, torch.tensor([1 / 4, 1 / 8, 1 / 4]).double())


def test_too_few_samples_get_a_note_and_still_add_up(tiny: Model) -> None:
    x = blocks(1)
    numbered = superpixels_of(tiny, x, 4)
    n = int(numbered.max()) + 1
    found = kernel_shap(tiny, x, target=0, n_samples=n, superpixel=4)
    (note,) = found.provenance.notes
    assert note.startswith(f"n_samples={n}: too few to settle the values of {n} superpixels")
    with torch.no_grad():
        change = (tiny.module(x) - tiny.module(torch.zeros_like(x)))[0, 0]
    total = sum(found.values[0][(numbered == k).numpy()].mean() for k in range(n))
    np.testing.assert_allclose(total, change, rtol=0, atol=1e-6)
    assert not kernel_shap(tiny, x, target=0, n_samples=8 * n, superpixel=4).provenance.notes


def test_several_targets_at_once_are_those_one_by_one(tiny: Model) -> None:
    x = blocks(2)
    together = kernel_shap(tiny, x, target=Several(0, 2), n_samples=60, superpixel=4)
    each = [kernel_shap(tiny, x, target=t, n_samples=60, superpixel=4) for t in (0, 2)]
    expected = np.stack([one.values for one in each], axis=1).reshape(4, 16, 16)
    np.testing.assert_allclose(together.values, expected, rtol=0, atol=1e-6)
    errors = np.stack([one.provenance.measured["standard_error"] for one in each], axis=1).reshape(-1)
    np.testing.assert_allclose(together.provenance.measured["standard_error"], errors, rtol=0.05)
    assert together.provenance.measured["exact"] == [False] * 4


def test_images_of_different_superpixels_do_not_touch_each_other(tiny: Model) -> None:
    x = torch.cat([blocks(2), torch.full((1, 3, 16, 16), 0.5)])
    steps: list[tuple[int, int]] = []
    together = kernel_shap(tiny, x, n_samples=60, superpixel=8, progress=lambda *done: steps.append(done))
    alone = [kernel_shap(tiny, x[i : i + 1], n_samples=60, superpixel=8).values for i in range(3)]
    np.testing.assert_allclose(together.values, np.concatenate(alone), rtol=0, atol=1e-6)
    assert together.values[2].any()
    assert steps[-1][0] == steps[-1][1]
    assert all(done <= total for done, total in steps)


def test_errors_say_what_is_wrong(tiny: Model) -> None:
    x = blocks(1)
    for options, message in [
        ({"n_samples": 3}, "n_samples=3: expected a whole number from 4 to"),
        ({"superpixel": 17}, r"superpixel=17: larger than the image the network sees, \(16, 16\)"),
        ({"superpixel": 2.5}, "superpixel=2.5: expected a whole number"),
        ({"seed": -1}, "seed=-1"),
        ({"baseline": "gray"}, "baseline='gray'"),
        ({"score": "x"}, "score='x'"),
    ]:
        with pytest.raises(ParameterError, match=message):
            kernel_shap(tiny, x, **options)  # type: ignore[arg-type]
