"""Concept vectors: Captum's TCAV with the same classifier, scikit-learn's regression, derivatives by hand."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from tests.conftest import tiny_network, tiny_transformer
from torch import nn

from convscope import ConceptVector, LayerError, Model, ModelError, ParameterError, Several, concept_vector
from convscope.units.separation import Samples, direction, permutation_p


def examples(seed: int = 0, n: int = 12) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images with a bright first channel, images without, and others."""
    rng = torch.Generator().manual_seed(seed)
    yes, no, others = (torch.randn(n, 3, 16, 16, generator=rng) for _ in range(3))
    yes[:, 0] += 1.5
    return yes, no, others


def values_at(net: nn.Sequential, n_layers: int, x: torch.Tensor) -> torch.Tensor:
    return net[:n_layers](x.clone())


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def test_the_difference_of_means_and_its_derivative_by_hand() -> None:
    net, (yes, no, others) = tiny_network().eval(), examples()
    found = concept_vector(net, yes, no, layer="3", images=others, target=2, n_random=20)
    means = [values_at(net, 4, x).mean((2, 3)).detach().numpy().astype(np.float64) for x in (yes, no, others)]
    vector = unit(means[0].mean(0) - means[1].mean(0))
    np.testing.assert_allclose(found.vector, vector, atol=1e-5)
    middle = (means[0].mean(0) + means[1].mean(0)) / 2
    np.testing.assert_allclose(found.score(others), (means[2] - middle) @ vector, atol=1e-5)
    leaf = values_at(net, 4, others).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net[4:](leaf.clone())[:, 2].sum(), leaf)
    expected = gradient.sum((2, 3)).numpy() @ vector
    np.testing.assert_allclose(found.derivatives[:, 0], expected, atol=1e-5)
    np.testing.assert_allclose(found.derivative(others[:1], target=2), expected[:1, None], atol=1e-5)
    assert found.tcav == pytest.approx([(expected > 0).mean()])
    assert found.targets == ("class 2",)


def test_a_flat_logistic_direction_is_that_of_scikit_learn() -> None:
    """In all dimensions, where the product takes the few that the examples span."""
    net, (yes, no, _) = tiny_network().eval(), examples(n=8)
    found = concept_vector(net, yes, no, layer="3", method="logistic", places="flat", n_random=3)
    x = np.concatenate([values_at(net, 4, x).flatten(1).detach().numpy() for x in (yes, no)]).astype(np.float64)
    samples = Samples.of(x[:8], x[8:])
    scale = samples.coordinates.std()
    fit = LogisticRegression(C=1.0, max_iter=10_000, tol=1e-8).fit((x - x.mean(0)) / scale, np.arange(16) < 8)
    assert float(found.vector @ unit(fit.coef_[0])) > 0.999
    scores = found.score(torch.cat([yes, no]))
    expected = fit.decision_function((x - x.mean(0)) / scale) * scale / np.linalg.norm(fit.coef_[0])
    np.testing.assert_allclose(scores, expected, atol=0.02 * np.abs(expected).max())


@pytest.mark.slow
def test_equals_captum_with_the_same_classifier(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from captum.concept import TCAV, Classifier, Concept

    net, (yes, no, others) = tiny_network().eval(), examples()

    class Means(Classifier):  # type: ignore[misc]
        def __init__(self) -> None:
            self.found = torch.zeros(0)

        def train_and_eval(self, dataloader: Any, **_: Any) -> dict[str, torch.Tensor]:
            x, labels = (torch.cat(parts) for parts in zip(*dataloader, strict=True))
            weights, _ = direction(x.double().numpy(), labels.numpy() == 0, "mean_difference")
            self.found = torch.from_numpy(weights)
            return {"accs": torch.tensor(1.0)}

        def weights(self) -> torch.Tensor:
            return torch.stack([self.found, -self.found])

        def classes(self) -> list[int]:
            return [0, 1]

    for target in range(3):
        ours = concept_vector(net, yes, no, layer="3", places="flat", images=others, target=target, n_random=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kinds = [Concept(i, name, list(x[:, None])) for i, (name, x) in enumerate((("yes", yes), ("no", no)))]
            theirs = TCAV(net, ["3"], classifier=Means(), model_id=str(target), save_path=str(tmp_path))
            scores = theirs.interpret(others, [kinds], target=target)["0-1"]["3"]
        assert ours.tcav[0] == pytest.approx(float(scores["sign_count"][0]))
        assert ours.derivatives.mean() == pytest.approx(float(scores["magnitude"][0]), rel=1e-4)


def test_a_planted_concept_passes_and_a_shuffled_one_does_not() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    net[0].weight = nn.Parameter(torch.eye(3)[:, :, None, None])
    net[0].bias = nn.Parameter(torch.zeros(3))
    net[4].weight = nn.Parameter(torch.tensor([[2.0, 0.5, 0], [-2.0, 0.5, 0]]))  # the first channel is the concept
    yes, no, others = (x.abs() for x in examples(n=20))
    found = concept_vector(net, yes, no, layer="1", images=others, target=Several(0, 1), n_random=99)
    assert found.accuracy == 1
    assert found.accuracy_p == pytest.approx(1 / 100)
    assert found.tcav.tolist() == [1, 0]
    assert found.random_accuracy.mean() == pytest.approx(0.5, abs=0.1)
    assert found.random_tcav.shape == (99, 2)
    same = concept_vector(net, no, others, layer="1", images=yes, target=0, n_random=99)
    assert same.accuracy_p > 0.05
    assert same.tcav_p[0] > 0.05


def test_p_values_count_the_labelings() -> None:
    others = np.array([0.1, 0.5, 0.5, 0.9])
    assert permutation_p(0.9, others, two_sided=False) == pytest.approx(2 / 5)
    assert permutation_p(1.0, others, two_sided=True) == pytest.approx(2 / 5)
    assert permutation_p(0.0, others, two_sided=True) == pytest.approx(2 / 5)
    assert permutation_p(0.5, others, two_sided=True) == 1


def test_it_is_saved_without_its_network_and_takes_only_that_one(tmp_path: Path) -> None:
    net, (yes, no, others) = tiny_network(), examples()
    found = concept_vector(net, yes, no, layer="3", n_random=5)
    assert found.tcav.shape == (0,)
    assert found.derivatives.shape == (0, 0)
    again = ConceptVector.load(found.save(tmp_path / "vector"))
    with pytest.raises(ParameterError, match="give model="):
        again.score(others)
    np.testing.assert_array_equal(again.score(others, model=net), found.score(others))
    other = tiny_network()
    with torch.no_grad():
        other[0].weight += 1
    with pytest.raises(ModelError, match="other weights"):
        again.score(others, model=other)


def test_the_same_seed_gives_the_same_and_the_network_is_left_alone() -> None:
    net, (yes, no, others) = tiny_network().train(), examples()
    first, second = (concept_vector(net, yes, no, layer="3", images=others, n_random=5, seed=2) for _ in range(2))
    np.testing.assert_array_equal(first.random_accuracy, second.random_accuracy)
    np.testing.assert_array_equal(first.random_tcav, second.random_tcav)
    assert net.training
    assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert not any(child._forward_hooks for child in net.modules())


def test_tokens_are_averaged_over_patches() -> None:
    net, (yes, no, _) = tiny_transformer(), examples()
    found = concept_vector(net, yes, no, layer="blocks.0", target=1, n_random=3)
    assert found.vector.shape == (8,)
    assert found.derivatives.shape == (24, 1)
    assert any("positives and negatives" in note for note in found.provenance.notes)


def test_shared_examples_and_derivatives_of_zero_are_told() -> None:
    yes, no, _ = examples(n=4)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2))
    net(yes)
    nn.init.zeros_(net[3].weight)
    found = concept_vector(net, yes, torch.cat([no, yes[:3]]), layer="1", target=1, images=yes, n_random=3)
    notes = " ".join(found.provenance.notes)
    assert "3 positives of 4 are to this layer the same as a negative" in notes
    assert "does not change along the concept in 4 images of 4" in notes
    others = concept_vector(net, yes, no, layer="1", n_random=3)
    assert not others.provenance.notes


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"positives": torch.randn(1, 3, 16, 16)}, ParameterError, "positives: 1 image"),
        ({"positives": torch.ones(3, 3, 16, 16), "negatives": torch.ones(3, 3, 16, 16)}, ParameterError, "same"),
        # The means differ by rounding alone.
        (
            {"positives": examples()[0].flip(0), "negatives": examples()[0]},
            ParameterError,
            "no direction leads there",
        ),
        (
            {"method": "logistic", "positives": torch.ones(3, 3, 16, 16), "negatives": torch.ones(3, 3, 16, 16)},
            ParameterError,
            "no direction leads there",
        ),
        ({"layer": "x"}, LayerError, "no layer 'x'"),
        ({"method": "svm"}, ParameterError, "method='svm'"),
        ({"places": "all"}, ParameterError, "places='all'"),
    ],
)
def test_errors_say_what_is_wrong(tiny: Model, change: dict[str, Any], error: type[Exception], says: str) -> None:
    yes, no, _ = examples()
    given = {"positives": yes, "negatives": no, "layer": "3", "n_random": 2} | change
    with pytest.raises(error, match=says):
        concept_vector(tiny, **given)
