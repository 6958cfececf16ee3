"""Sanity checks: an edge detector fails them, a map that hangs on the network passes, and nothing is changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from skimage.metrics import structural_similarity
from tests.conftest import tiny_network
from torch import nn

from convscope import (
    ATTRIBUTIONS,
    Attribution,
    ModelError,
    ParameterError,
    SanityCheck,
    TargetError,
    grad_cam,
    occlusion,
    saliency,
    sanity_check,
)
from convscope.evaluation import sanity
from convscope.evaluation.map_similarity import have_changed, similarity, verdict_on
from convscope.evaluation.shuffled_weights import in_order, shuffle, stages_of
from convscope.models import Model
from convscope.results import CHANGED, SAME


def edges(model: Any, images: Any, **options: Any) -> Attribution:
    """What the network has learned is of no interest to it, nor is the target."""
    plain = saliency(model, images, **options)
    gray = plain.images.mean(axis=3)
    return replace(plain, values=np.stack([np.hypot(ndimage.sobel(g, 0), ndimage.sobel(g, 1)) for g in gray]))


def flat(model: Any, images: Any, **options: Any) -> Attribution:
    plain = saliency(model, images, **options)
    return replace(plain, values=np.full_like(plain.values, -2.0))


@pytest.fixture
def with_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ATTRIBUTIONS, "edges", edges)
    monkeypatch.setitem(ATTRIBUTIONS, "flat", flat)


def network(n_classes: int = 8) -> nn.Module:
    """Three convolutions of another size each, so that all tensors can be told apart."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 10, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(10, 12, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(12 * 256, n_classes),
        )


def picture(seed: int = 0) -> torch.Tensor:
    return torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


# What passes and what fails


@pytest.mark.usefixtures("with_edges")
def test_an_edge_detector_fails_both_checks() -> None:
    found = sanity_check(network(), picture(), "edges", n_stages=3)
    assert found.cascading.shape == found.independent.shape == (3, 2)
    np.testing.assert_allclose([*found.cascading, *found.independent, *found.labels], 1, rtol=0, atol=1e-6)
    assert found.passes_weights is False
    assert found.passes_labels is False
    assert "edges fails the weights check" in found.verdict
    assert "it fails the label check" in found.verdict


def test_eigen_cam_fails_the_label_check_as_it_knows_no_target() -> None:
    found = sanity_check(network(), picture(), "eigen_cam", n_stages=3)
    np.testing.assert_allclose(found.labels, 1, rtol=0, atol=1e-6)
    assert found.passes_labels is False


def test_the_gradient_of_a_linear_network_passes_both() -> None:
    """Its map is the weights of the target and nothing else."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(256, 6))
    found = sanity_check(net, torch.randn(1, 1, 16, 16), "saliency")
    assert found.stages == ("1",)
    assert np.abs(found.cascading[:, 0]).max() < 0.3
    assert found.passes_weights is True
    assert found.passes_labels is True
    assert found.verdict.startswith("saliency passes the weights check")


@pytest.mark.slow
def test_grad_cam_on_a_trained_network_passes_the_weights_check(lite0: Model, coffee: np.ndarray) -> None:
    found = sanity_check(lite0, coffee, "grad_cam", n_stages=4)
    assert found.passes_weights is True
    assert found.target == "espresso"
    assert found.maps.shape == (5, 224, 224)


@pytest.mark.usefixtures("with_edges")
def test_a_flat_map_is_neither_good_nor_bad() -> None:
    found = sanity_check(network(), picture(), "flat", n_stages=2)
    assert found.passes_weights is None
    assert found.passes_labels is None
    assert "the same everywhere" in found.verdict


@pytest.mark.parametrize(
    ("correlations", "passes"),
    [([0.4, 0.4], True), ([0.9, -0.9], False), ([0.5, -0.5], None), ([-0.6, -0.6], False), ([0.3, -0.3], True)],
)
def test_the_mean_size_of_the_correlations_decides(
    correlations: list[float], passes: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([*correlations, *correlations[:1], *[0.2] * 3])
    monkeypatch.setattr(sanity, "similarity", lambda one, other: (next(answers), 0.0))
    found = sanity_check(network(2), picture(), n_stages=2)
    # First the cascade, then the only other class.
    assert found.passes_weights is passes
    size = abs(correlations[0])
    assert found.passes_labels is (True if size <= 0.4 else False if size >= 0.6 else None)
    words = {True: "passes", False: "fails", None: "is doubtful in"}[passes]
    assert f"saliency {words} the weights check" in found.verdict
    assert f"a size of {np.abs(correlations).mean():.2f} on average ({correlations[0]:.2f} with" in found.verdict


def test_signs_do_not_cancel() -> None:
    """Correlations that a user met: their mean is 0.06, and every single map is much the same or its negative."""
    assert have_changed(np.array([-0.87, 0.86, 0.95, -0.70])) is False
    assert have_changed(np.array([-0.87, np.nan, 0.95, -0.70])) is False
    words = verdict_on("grad_cam", np.array([-0.87, 0.86, 0.95, -0.70]), False, np.array([-0.9, 0.9]), False)
    assert "grad_cam fails the weights check" in words
    assert "a size of 0.84 on average (-0.87 with the last layer, -0.70 with all)" in words
    assert "that size is 0.90 on average" in words


def _sizes_by_chance(side: int, n_maps: int) -> np.ndarray:
    """The mean size of the rank correlation of a map with n unrelated ones, many times: smooth, positive parts."""
    rng = np.random.default_rng(0)
    cells = ndimage.uniform_filter(rng.normal(size=(300, side, side)), (0, 3, 3), mode="mirror").clip(0)
    maps = ndimage.zoom(cells, (1, 28 / side, 28 / side), order=1, mode="nearest", grid_mode=True)
    places = stats.rankdata(maps.reshape(300, -1), axis=1)
    sizes = np.abs(np.corrcoef(places[places.std(axis=1) > 0]))
    chosen = [rng.choice(len(sizes), n_maps + 1, replace=False) for _ in range(4000)]
    return np.array([sizes[i[0], i[1:]].mean() for i in chosen])


@pytest.mark.parametrize("n_maps", [5, 8])
def test_chance_alone_stays_below_the_limits(n_maps: int) -> None:
    """Of 7 x 7 cells, unrelated maps pass 19 times of 20; of fewer they may be doubtful, and fail only if tiny."""
    limit = {side: np.quantile(_sizes_by_chance(side, n_maps), 0.95) for side in (2, 4, 6, 7, 14)}
    assert limit[14] < limit[7] < CHANGED < limit[6]
    assert limit[4] < SAME < limit[2]


def test_a_map_of_few_cells_says_so() -> None:
    coarse = nn.Sequential(nn.Conv2d(3, 6, 3, 4, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 4))
    (note,) = sanity_check(coarse, picture(), "grad_cam", n_stages=1).provenance.notes
    assert "the map has 4 x 4 cells" in note
    assert not sanity_check(network(), picture(), "grad_cam", n_stages=1).provenance.notes  # 16 x 16
    assert not sanity_check(coarse, picture(), "saliency", n_stages=1).provenance.notes


# What is made random


def test_the_given_network_is_left_as_it_was() -> None:
    net = network().train()
    net[3].weight.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    random_state = torch.get_rng_state()
    sanity_check(net, picture(), n_stages=4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["3.weight"]
    assert all(m.training and not m._forward_hooks for m in net.modules())
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_stages_are_shuffled_one_by_one_and_then_one_after_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor keeps its values in another order, in just the stages whose turn it is."""
    net, seen = network(), []

    def watched(model: Any, images: Any, **options: Any) -> Attribution:
        seen.append({name: tensor.clone() for name, tensor in model.module.state_dict().items() if tensor.ndim})
        return saliency(model, images, **options)

    monkeypatch.setitem(ATTRIBUTIONS, "watched", watched)
    with torch.no_grad():
        net[1].weight.uniform_(0.5, 2)
        net[1].bias.normal_()
        net[1].running_mean.normal_()
        net[1].running_var.uniform_(0.5, 2)
    found = sanity_check(net, picture(), "watched", n_stages=3)
    learned = net.state_dict()
    groups = stages_of(in_order(Model(net), picture()), 3)
    assert found.stages == tuple(group[0] for group in groups) == ("8", "5", "1")
    alone = [{name} for name in range(3)]
    cascade = [{0}, {0, 1}, {0, 1, 2}]
    expected = [set(), *alone, *cascade, *[set()] * 5]  # the original, the stages, the other classes
    assert len(seen) == len(expected)
    for weights, shuffled in zip(seen, expected, strict=True):
        random = {module for stage in shuffled for module in groups[stage]}
        for name, tensor in weights.items():
            is_random = name.rsplit(".", 1)[0] in random
            assert torch.equal(tensor, learned[name]) is not is_random, name
            assert torch.equal(tensor.flatten().sort().values, learned[name].flatten().sort().values)


def test_the_last_map_of_the_cascade_is_that_of_the_shuffled_network() -> None:
    net = network()
    found = sanity_check(net, picture(), "occlusion", target=1, n_stages=3, seed=6, window=8, stride=4)
    found_stages = stages_of(in_order(Model(net), picture()), 3)
    for s in range(4):
        np.testing.assert_array_equal(
            found.maps[s], occlusion(net, picture(), target=1, window=8, stride=4).values[0]
        )
        if s < 3:
            shuffle(net, found_stages[s], 6)
    for s in range(3):
        assert tuple(found.cascading[s]) == pytest.approx(similarity(found.maps[0], found.maps[s + 1]))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 9])
def test_stages_hold_every_layer_once(n: int) -> None:
    stages = stages_of(list("abcde"), n)
    assert [name for stage in stages for name in stage] == list("edcba")
    assert len(stages) == min(n, 5)
    assert all(stages)
    if n > 1:
        assert stages[0] == ["e"]


def test_layers_go_by_the_order_in_which_they_run() -> None:
    class Order(nn.Module):
        """Registered the other way round, with a weight of its own, and a layer that never runs."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))
            self.unused = nn.Linear(5, 5)
            self.head, self.first = nn.Linear(4, 3), nn.Conv2d(3, 4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.first(self.scale * x).mean(dim=(2, 3)))

    assert in_order(Model(Order()), picture()) == ["", "first", "head"]
    assert sanity_check(Order(), picture()).stages == ("head", "first", "")
    with pytest.raises(ModelError, match="no weights to shuffle"):
        sanity_check(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), picture())


def test_seeds_decide_and_the_same_seed_gives_the_same() -> None:
    first, same, other = (sanity_check(network(), picture(), n_stages=2, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.maps, same.maps)
    np.testing.assert_array_equal(first.labels, same.labels)
    assert not np.array_equal(first.maps[1:], other.maps[1:])
    assert np.array_equal(first.maps[0], other.maps[0])
    assert first.label_names != other.label_names


def test_weights_of_chance_may_break_the_score() -> None:
    """A score that is none with other weights gives no map, which says nothing of the method."""

    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(256, 2)
            self.first = float(self.linear.weight.detach()[0, 0])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            is_learned = float(self.linear.weight[0, 0]) == self.first
            return self.linear(x.flatten(1)) * (1.0 if is_learned else float("nan"))

    model = Model(Breaks(), input_size=(16, 16), mean=[0.5], std=[0.5])
    found = sanity_check(model, torch.randn(1, 1, 16, 16))
    assert np.isnan(found.maps[1]).all()
    assert np.isnan(found.cascading).all()
    assert found.passes_weights is None
    assert "left out: 1 flat or missing" in found.verdict


# Labels


def test_other_classes_are_asked_about_and_never_the_own() -> None:
    net = network(8)
    found = sanity_check(Model(net, labels=list("abcdefgh")), picture(), target="c", n_stages=1)
    assert len(found.label_names) == len(set(found.label_names)) == 5
    assert "c" not in found.label_names
    original = saliency(net, picture(), target=2).values[0]
    for name, alike in zip(found.label_names, found.labels, strict=True):
        other = saliency(net, picture(), target="abcdefgh".index(name)).values[0]
        assert tuple(alike) == pytest.approx(similarity(original, other))
    assert sanity_check(network(3), picture(), n_stages=1).labels.shape == (2, 2)


def test_one_class_has_no_label_check() -> None:
    found = sanity_check(network(1), picture(), n_stages=2)
    assert found.labels.shape == (0, 2)
    assert found.label_names == ()
    assert found.passes_labels is None
    assert "label" not in found.verdict
    assert found.passes_weights is not None or "doubtful" in found.verdict


def test_the_predicted_class_stays_the_target_all_through(monkeypatch: pytest.MonkeyPatch) -> None:
    net, asked = network(), []

    def watched(model: Any, images: Any, *, target: Any, **options: Any) -> Attribution:
        asked.append(target)
        return saliency(model, images, target=target, **options)

    monkeypatch.setitem(ATTRIBUTIONS, "watched", watched)
    sanity_check(net, picture(), "watched", n_stages=2)
    best = int(net.eval()(picture()).argmax())
    assert asked[:5] == [best] * 5
    assert best not in asked[5:]


# Similarity


def test_similarity_is_that_of_scipy_and_scikit_image() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(20, 24)).astype(np.float32)
    other = (one + rng.normal(size=(20, 24))).astype(np.float32)
    correlation, alike = similarity(one, other)
    assert correlation == pytest.approx(stats.spearmanr(np.abs(one).ravel(), np.abs(other).ravel()).statistic)
    a, b = (np.abs(m).astype(np.float64) for m in (one, other))
    a, b = ((m - m.min()) / (m.max() - m.min()) for m in (a, b))
    assert alike == pytest.approx(structural_similarity(a, b, data_range=1))
    assert similarity(one, -3 * one) == pytest.approx((1, 1))  # the sign and the scale do not count


def test_similarity_with_nothing_is_none() -> None:
    one = np.random.default_rng(0).normal(size=(8, 8))
    holes = one.copy()
    holes[0, 0] = np.nan
    for other in (np.zeros((8, 8)), np.full((8, 8), -1.0), holes):
        assert np.isnan(similarity(one, other)).all()
    small = np.arange(4.0).reshape(2, 2)
    assert similarity(small, small) == (1, 0)  # too small for a window of 3


# What can be given


def test_options_reach_the_method() -> None:
    found = sanity_check(network(), picture(), "saliency", n_stages=1, kind="signed")
    np.testing.assert_array_equal(found.maps[0], saliency(network(), picture(), kind="signed").values[0])
    assert found.provenance.parameters["kind"] == "signed"
    assert found.signed
    assert not sanity_check(network(), picture(), "saliency", n_stages=1).signed
    by_cam = sanity_check(network(), picture(), "grad_cam", n_stages=1, layer="3")
    np.testing.assert_array_equal(by_cam.maps[0], grad_cam(network(), picture(), layer="3").values[0])


def test_progress_counts_all_maps() -> None:
    seen: list[tuple[int, int]] = []
    sanity_check(network(), picture(), n_stages=3, progress=lambda *step: seen.append(step))
    assert seen == [(n, 12) for n in range(1, 13)]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "magic"}, ParameterError, "'magic' is no method; expected one of"),
        ({"n_stages": 0}, ParameterError, "n_stages=0"),
        ({"seed": -1}, ParameterError, "seed=-1"),
        ({"image": torch.zeros(2, 3, 16, 16)}, ParameterError, "one image; 2 were given"),
        ({"target": 8}, TargetError, "classes 0 to 7"),
        ({"target": "zebra"}, TargetError, "no labels"),
        ({"target": lambda out: out[:, 0]}, TargetError, "give a class index or a label"),
        ({"target": [0]}, TargetError, "give a class index or a label"),
        ({"kind": "x"}, ParameterError, "kind='x'"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    image = options.pop("image", picture())
    with pytest.raises(error, match=message):
        sanity_check(network(), image, **options)


def test_a_result_shows_saves_and_draws_itself(tmp_path: Path) -> None:
    model = Model(tiny_network(), input_size=(16, 16), mean=[0.5] * 3, std=[0.25] * 3, labels=["a", "b", "c"])
    found = sanity_check(model, np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8), "grad_cam")
    assert found.rows()[1] == (
        "7",
        *(f"{value:.2f}" for value in (*found.cascading[0], *found.independent[0])),
    )
    assert "SanityCheck(grad_cam of image, " in repr(found)
    assert found.verdict in repr(found)
    back = SanityCheck.load(found.save(tmp_path / "found"))
    np.testing.assert_array_equal(back.maps, found.maps)
    assert (back.rows(), back.verdict) == (found.rows(), found.verdict)
    assert (back.passes_weights, back.passes_labels) == (found.passes_weights, found.passes_labels)
    assert (tmp_path / "found" / "picture.png").stat().st_size > 1000


def test_numbers_that_a_layer_counts_or_looks_up_by_stay() -> None:
    net = nn.Linear(4, 3)
    net.register_buffer("places", torch.arange(64))
    learned = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    shuffle(net, [""], 0)
    assert torch.equal(net.places, learned["places"])
    assert not torch.equal(net.weight, learned["weight"])
