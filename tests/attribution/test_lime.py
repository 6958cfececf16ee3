"""LIME: the formula solved by linear algebra, Captum's, and scikit-learn's R^2 give the same numbers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import captum.attr
import numpy as np
import pytest
import torch
from captum._utils.models.linear_model import SkLearnRidge
from sklearn.metrics import r2_score
from torch import nn

from convscope import ParameterError, Several, lime
from convscope.attribution.lime import proximity, random_coalitions, ridge
from convscope.attribution.superpixel_coalitions import numbered_superpixels
from convscope.models import Model


def blocks(n: int) -> torch.Tensor:
    """Images of 4-px squares, (n, 3, 16, 16); noise alone would be a single superpixel."""
    return torch.randn(n, 3, 4, 4).repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)


def superpixels_of(model: Model, x: torch.Tensor, side: int) -> torch.Tensor:
    """(H, W) of the first image."""
    return numbered_superpixels(model.to_pixels(x)[0], (side, side))


def test_equals_the_formula_solved_by_hand(tiny: Model) -> None:
    x = blocks(1)
    found = lime(tiny, x, target=1, n_samples=60, superpixel=5, baseline=-0.5, seed=2)
    numbered = superpixels_of(tiny, x, 5)
    z = random_coalitions(60, int(numbered.max()) + 1, 2).double().numpy()
    rows, y = [], []
    for one in z:
        hidden = x.clone()
        hidden[:, :, torch.from_numpy(one == 0)[numbered]] = -0.5
        y.append(float(tiny.module(hidden)[0, 1].detach()))
        ones = np.ones_like(one)
        cosine = one @ ones / (np.linalg.norm(one) * np.linalg.norm(ones)) if one.any() else 0.0
        rows.append(np.exp(-((1 - cosine) ** 2) / 0.25**2))
    design, k = np.column_stack([np.ones(60), z]), np.diag(rows)
    penalty = np.diag([0.0] + [1.0] * z.shape[1])
    w = np.linalg.solve(design.T @ k @ design + penalty, design.T @ k @ np.array(y))
    np.testing.assert_allclose(found.values[0], w[1:][numbered], rtol=0, atol=1e-6)
    expected = r2_score(y, design @ w, sample_weight=rows)
    np.testing.assert_allclose(found.provenance.measured["fit"], [expected], rtol=0, atol=6e-4)


def test_equals_captum_on_the_same_coalitions(tiny: Model) -> None:
    x = blocks(1)
    numbered = superpixels_of(tiny, x, 6)
    z = random_coalitions(50, int(numbered.max()) + 1, 0)

    def drawn(*_: object, **__: object) -> Iterator[torch.Tensor]:
        yield from z.long()[:, None]

    def similarity(original: object, perturbed: object, one: torch.Tensor, **_: object) -> float:
        cosine = float(torch.nn.functional.cosine_similarity(one.double(), torch.ones_like(one).double()))
        return float(np.exp(-((1 - cosine) ** 2) / 0.25**2))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = captum.attr.LimeBase(
            tiny.module,
            SkLearnRidge(alpha=1.0),
            similarity,
            drawn,
            perturb_interpretable_space=True,
            from_interp_rep_transform=lambda one, given, **_: given * one[0][numbered],
            to_interp_rep_transform=None,
        )
        coefficients = peer.attribute(x, target=2, n_samples=50, num_interp_features=z.shape[1])
    found = lime(tiny, x, target=2, n_samples=50, superpixel=6).values[0]
    np.testing.assert_allclose(found, coefficients[0].numpy()[numbered], rtol=0, atol=1e-5)


def test_of_a_linear_network_it_is_what_each_superpixel_adds() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 2))
    x = blocks(1)
    found = lime(net, x, target=1, n_samples=4000, superpixel=5)
    numbered = superpixels_of(Model(net), x, 5)
    share = (net[1].weight[1].detach().reshape(3, 16, 16) * x[0]).sum(0)
    adds = torch.stack([share[numbered == n].sum() for n in range(int(numbered.max()) + 1)])
    # The penalty takes about 4 / (sum of the weights) of each.
    torch.testing.assert_close(torch.tensor(found.values[0]), adds[numbered], rtol=0.01, atol=0.005)
    assert found.provenance.measured["fit"][0] > 0.999


def test_coalitions_begin_with_everything_and_are_fair() -> None:
    z = random_coalitions(4000, 9, 0)
    assert z[0].all()
    np.testing.assert_allclose(z[1:].double().mean(0), 0.5, atol=0.03)
    assert torch.equal(random_coalitions(4000, 9, 0), z)
    assert not torch.equal(random_coalitions(4000, 9, 1), z)
    weights = proximity(torch.tensor([[True] * 4, [True, False, False, False], [False] * 4]))
    torch.testing.assert_close(weights, torch.tensor([0.0, 0.5, 1.0]).double().div(0.25).square().neg().exp())


def test_a_network_that_is_not_linear_gets_a_note() -> None:
    class Parity(nn.Module):
        """Whether an even number of the 16 squares is shown: no linear model says that."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            shown = nn.functional.max_pool2d(x, 4).flatten(1) > 0
            return 1.0 - shown.sum(dim=1, keepdim=True) % 2

    x = torch.ones(2, 1, 16, 16)
    found = lime(Parity(), x, target=0, n_samples=400, superpixel=4)
    assert max(found.provenance.measured["fit"]) < 0.5
    assert any(
        n.startswith("2 of 2 maps are of linear models with an R^2 below 0.5") for n in found.provenance.notes
    )
    linear = nn.Sequential(nn.Flatten(), nn.Linear(256, 1))
    assert not lime(linear, x, target=0, n_samples=400, superpixel=4).provenance.notes


def test_fewer_samples_than_superpixels_and_constant_scores_give_a_result() -> None:
    generator = torch.Generator().manual_seed(0)
    z, y = random_coalitions(18, 20, 0), torch.rand((18, 2), generator=generator).double()
    y = torch.cat([y, torch.tensor([0.1, 0.3, 0.7, 3.7, 1e-3]).double().expand(18, 5)], dim=1)
    coefficients, fit = ridge(z.double(), y, proximity(z))
    assert coefficients.shape == (7, 20)
    assert torch.isfinite(coefficients).all()
    assert not coefficients[2:].any()
    assert (fit[2:] == 1).all()


def test_images_with_different_superpixels_do_not_touch_each_other(tiny: Model) -> None:
    x = blocks(3)
    together = lime(tiny, x, n_samples=40, superpixel=4)
    alone = [lime(tiny, x[i : i + 1], n_samples=40, superpixel=4) for i in range(3)]
    assert len({len(np.unique(one.values)) for one in alone}) > 1
    np.testing.assert_allclose(together.values, np.concatenate([a.values for a in alone]), rtol=0, atol=1e-6)


def test_several_targets_at_once_are_those_one_by_one(tiny: Model) -> None:
    x = blocks(2)
    together = lime(tiny, x, target=Several(0, 2), n_samples=40)
    each = [lime(tiny, x, target=t, n_samples=40) for t in (0, 2)]
    expected = np.stack([one.values for one in each], axis=1).reshape(4, 16, 16)
    np.testing.assert_allclose(together.values, expected, rtol=0, atol=1e-6)
    fits = np.stack([one.provenance.measured["fit"] for one in each], axis=1).reshape(-1)
    np.testing.assert_allclose(together.provenance.measured["fit"], fits, rtol=0, atol=1e-3)


def test_a_constant_image_gives_a_result(tiny: Model) -> None:
    found = lime(tiny, torch.full((1, 3, 16, 16), 0.5), n_samples=40)
    assert found.values.any()
    one = lime(tiny, torch.full((1, 3, 16, 16), 0.5), n_samples=40, superpixel=16)
    assert len(np.unique(one.values)) == 1


def test_errors_say_what_is_wrong(tiny: Model) -> None:
    x = blocks(1)
    for options, message in [
        ({"n_samples": 1}, "n_samples=1: expected a whole number from 2 to"),
        ({"superpixel": 17}, r"superpixel=17: larger than the image the network sees, \(16, 16\)"),
        ({"superpixel": (4, 20)}, "superpixel=.* larger"),
        ({"superpixel": (20, 4)}, "superpixel=.* larger"),
        ({"superpixel": 0}, "superpixel=0: expected a whole number"),
        ({"seed": -1}, "seed=-1"),
        ({"baseline": "gray"}, "baseline='gray'"),
        ({"score": "x"}, "score='x'"),
    ]:
        with pytest.raises(ParameterError, match=message):
            lime(tiny, x, **options)  # type: ignore[arg-type]
