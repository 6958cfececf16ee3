"""Evaluation of maps: against the slow loop, Quantus, Captum, pytorch-grad-cam, SciPy, and by hand."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import captum.attr
import captum.metrics
import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from tests.conftest import tiny_network
from tests.oracles.curves import area
from tests.oracles.curves import curves as by_definition
from torch import nn

from convscope import (
    ATTRIBUTIONS,
    Attribution,
    Contrast,
    Evaluation,
    Interrupted,
    ParameterError,
    Several,
    TargetError,
    evaluate,
    grad_cam,
    integrated_gradients,
    occlusion,
    occlusion_multiscale,
    saliency,
)
from convscope.evaluation import MEASURES, measures, road, sensitivity
from convscope.evaluation.controls import control_maps
from convscope.evaluation.intervals import mean_and_margin
from convscope.evaluation.measures import CURVES, gini, hit, share_inside
from convscope.evaluation.regions import regions_of
from convscope.evaluation.road import imputed
from convscope.models import Model
from convscope.perturbation import baseline_of, ranks

QUICK = {
    "kernel_shap": {"n_samples": 12},
    "lime": {"n_samples": 12},
    "rise": {"n_masks": 12},
    "occlusion": {"window": 8},
}


def linear(weights: torch.Tensor) -> nn.Module:
    """Two classes on one channel: the score of the first is the weighted sum, that of the second is 0."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(weights.numel(), 2, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(torch.stack([weights.flatten(), torch.zeros(weights.numel())]))
    return net


def probability(net: nn.Module, image: torch.Tensor, target: int) -> float:
    with torch.no_grad():
        return float(net(image[None].clone()).softmax(1)[0, target])


# Deletion and insertion


def test_areas_and_curves_equal_the_slow_loop(tiny: Model) -> None:
    x, maps = torch.randn(2, 3, 16, 16), np.random.default_rng(0).normal(size=(2, 16, 16)).astype(np.float32)
    found = evaluate(tiny, x, {"mine": maps}, target=[2, 0], measures=CURVES, n_steps=7, seed=3)
    assert found.methods == ("mine", "random", "center")
    assert found.curves.shape == (3, 4, 2, 8)
    for i, target in enumerate([2, 0]):
        for m, values in enumerate([maps[i], *control_maps((16, 16), 3 + i)]):
            for name in ("mean", "blur"):
                behind = baseline_of(tiny, name, preprocessed=True, seed=0)(x[i])
                pair = by_definition(
                    lambda image, t=target: probability(tiny.module, image, t), x[i], behind, ranks(values, 3), 7
                )
                for kind, curve in zip(("deletion", "insertion"), pair, strict=True):
                    c = found.curve_names.index(f"{kind}_{name}")
                    np.testing.assert_allclose(found.curves[m, c, i], curve, rtol=0, atol=1e-6)
                    k = found.measures.index(f"{kind}_{name}")
                    assert found.values[m, k, i] == pytest.approx(area(curve), abs=1e-6)


def test_the_map_of_a_linear_network_beats_all_others_at_every_step() -> None:
    """With the mean image behind, w * x is what a pixel adds: no order takes more away, or gives more, sooner."""
    w, x = torch.randn(12, 12), torch.randn(3, 1, 12, 12)
    perfect = (w * x[:, 0]).numpy()
    rivals = {f"{seed}": np.random.default_rng(seed).normal(size=perfect.shape) for seed in range(3)}
    maps = {"perfect": perfect, "negative": -perfect, **rivals}
    found = evaluate(linear(w), x, maps, target=0, measures=["deletion_mean", "insertion_mean"], n_steps=12)
    deletion, _, insertion, _ = (found.curves[:, c] for c in range(4))
    assert (deletion[0] <= deletion[1:] + 1e-6).all()
    assert (insertion[0] >= insertion[1:] - 1e-6).all()
    assert found.means[0, 0] < found.means[1:, 0].min() - 0.1
    assert found.means[0, 1] > found.means[1:, 1].max() + 0.1
    assert (found.gains[0] > 0.1).all()  # both, though a good deletion is a low one
    assert (found.gains[1] < -0.1).all()


@pytest.mark.slow  # quantus takes long to import, and comes with the extra [bench]
def test_the_deletion_curve_is_the_pixel_flipping_of_quantus() -> None:
    """One channel, as Quantus flips channels one by one; 0 behind; its curve leaves out the whole image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantus = pytest.importorskip("quantus")
    net, x = tiny_network(n_channels=1).eval(), torch.randn(3, 1, 16, 16)
    maps = np.random.default_rng(0).normal(size=(3, 16, 16)).astype(np.float32)
    target = np.array([2, 0, 1])
    flipping = quantus.PixelFlipping(
        features_in_step=32, perturb_baseline=0.0, normalise=False, disable_warnings=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        curves = np.array(
            flipping(net, x.numpy(), target, a_batch=maps[:, None], channel_first=True, softmax=True, device="cpu")
        )
    found = evaluate(net, x, maps, target=target, measures=["deletion_mean"], n_steps=8)
    ours = found.curves[0, 0]
    np.testing.assert_allclose(ours[:, 1:], curves, rtol=0, atol=1e-6)
    # Quantus' area is that of the points 1 to 8, a step 1 wide.
    first = (ours[:, 0] + ours[:, 1]) / 2
    np.testing.assert_allclose(8 * found.values[0, 0] - first, np.trapezoid(curves, axis=1), rtol=0, atol=1e-5)


# The other measures


@pytest.mark.slow  # quantus takes long to import, and comes with the extra [bench]
def test_sparseness_is_that_of_quantus() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantus = pytest.importorskip("quantus")
    # Large, as Quantus adds 1e-7 to each value.
    maps = 1e3 * np.random.default_rng(0).normal(size=(4, 9, 7))
    maps[1] **= 3
    maps[2, :6] = 0
    peer = quantus.Sparseness(normalise=False, disable_warnings=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = peer(
            tiny_network(),
            np.zeros((4, 1, 9, 7)),
            np.zeros(4, int),
            a_batch=maps[:, None].copy(),
            channel_first=True,
        )
    np.testing.assert_allclose([gini(values) for values in maps], expected, rtol=0, atol=1e-6)


def test_sparseness_by_hand() -> None:
    one = np.zeros((4, 5))
    assert gini(one) == 0
    one[2, 3] = -7
    assert gini(one) == pytest.approx(1 - 1 / 20)
    assert gini(np.full((4, 5), -2.0)) == pytest.approx(0, abs=1e-12)
    assert gini(np.array([[1.0, 3.0]])) == pytest.approx(0.25)  # mean |difference| 1, over twice the mean


@pytest.mark.parametrize(("target", "indices"), [(None, None), (2, [2, 2]), ([2, 0], [2, 0]), ("c", [2, 2])])
def test_max_sensitivity_is_that_of_captum_with_the_same_noise(
    tiny: Model, target: Any, indices: list[int] | None
) -> None:
    x = torch.randn(2, 3, 16, 16)
    maps = saliency(tiny, x, target=target)
    found = evaluate(tiny, x, maps, target=target, measures=["max_sensitivity"], seed=4)
    peer = captum.attr.Saliency(tiny.module)

    def explain(given: Any, target: int) -> Any:
        (images,) = given if isinstance(given, tuple) else (given,)
        return (peer.attribute(images.clone().requires_grad_(), target).amax(1),)

    def always(moved: torch.Tensor) -> Any:
        return lambda given: moved

    for i, index in enumerate(indices or tiny.module(x).argmax(1).tolist()):
        noise = 2 * torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(4)) - 1
        moved = x[i] + 0.02 * (x[i].max() - x[i].min()) * noise
        expected = captum.metrics.sensitivity_max(
            explain, x[i : i + 1], perturb_func=always(moved), n_perturb_samples=5, target=index
        )
        assert found.values[0, 0, i] == pytest.approx(float(expected), rel=1e-4)
    assert np.isnan(found.values[1:]).all()


@pytest.mark.parametrize("name", [n for n in ATTRIBUTIONS if not n.startswith("attention_")])
def test_without_noise_no_map_moves(tiny: Model, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the method ran again with the options and the target of the first time."""
    monkeypatch.setattr(sensitivity, "_NOISE_SHARE", 0)
    x = torch.randn(2, 3, 16, 16)
    maps = ATTRIBUTIONS[name](tiny, x, target=[1, 2], **QUICK.get(name, {}))
    found = evaluate(tiny, x, maps, target=[1, 2], measures=["max_sensitivity"])
    np.testing.assert_allclose(found.values[0], 0, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (occlusion_multiscale, {"windows": [4, 8]}),
        (occlusion_multiscale, {"windows": [4, 8], "stride": 4}),
        (occlusion, {"window": (4, 8), "stride": (2, 4), "baseline": "noise", "seed": 2}),
        (occlusion_multiscale, {"windows": [4, 8], "shape": "superpixel"}),
        (integrated_gradients, {"baseline": ["mean", "noise"], "n_steps": 4, "seed": 1}),
        (grad_cam, {"layer": "0"}),
        (saliency, {"target": Contrast(0, 2)}),
        (saliency, {"target": [Contrast(0, 2), Contrast(1, 0)]}),
    ],
)
def test_options_survive_saving_and_the_second_run(
    tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(sensitivity, "_NOISE_SHARE", 0)
    x, target = torch.randn(2, 3, 16, 16), options.get("target")
    maps = method(tiny, x, **options)
    saved = Attribution.load(maps.save(tmp_path / "maps"))
    for given in (maps, saved):
        found = evaluate(tiny, x, given, target=target, measures=["max_sensitivity"])
        np.testing.assert_allclose(found.values[0], 0, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"baseline": 0.5}, {"baseline": np.zeros((16, 16, 3), np.uint8)}, {"shape": np.ones((1, 16, 16), bool)}],
)
def test_options_that_are_not_known_by_name_leave_sensitivity_out(tiny: Model, options: dict[str, Any]) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    found = evaluate(tiny, picture, occlusion(tiny, picture, **options), measures=["max_sensitivity"])
    assert np.isnan(found.values).all()
    assert "occlusion: max_sensitivity needs all options" in found.provenance.notes[0]


def test_the_completeness_error_is_the_one_of_the_method(tiny: Model) -> None:
    x = torch.randn(3, 3, 16, 16)
    maps = {
        "ig": integrated_gradients(tiny, x, n_steps=3),
        "plain": saliency(tiny, x),
        "array": np.ones((3, 16, 16)),
    }
    found = evaluate(tiny, x, maps, measures=["completeness_error"])
    expected = maps["ig"].provenance.measured["completeness_error"]
    assert max(expected) > 0
    np.testing.assert_allclose(found.values[0, 0], expected, rtol=1e-6)
    assert np.isnan(found.values[1:]).all()
    assert found.mean("ig", "completeness_error") == pytest.approx(np.mean(expected))
    assert math.isnan(found.mean("plain", "completeness_error"))


def test_pointing_and_localization_by_hand() -> None:
    values = np.array([[5.0, 1, 0], [-9, 2, 2]])
    left, right = np.array([[1, 0, 0], [1, 0, 0]], bool), np.array([[0, 1, 1], [0, 1, 1]], bool)
    assert hit(values, left) == 1
    assert hit(values, right) == 0
    assert share_inside(values, left) == pytest.approx(0.5)  # 5 of 10; the -9 does not count
    assert share_inside(values, right) == pytest.approx(0.5)
    assert hit(np.zeros((2, 3)), right) == pytest.approx(4 / 6)  # as often as chance would
    assert math.isnan(share_inside(-np.ones((2, 3)), left))


def test_boxes_are_the_masks_of_the_pixels_whose_middle_they_hold(tiny: Model) -> None:
    boxes = np.array([[0, 0, 16, 16], [2, 3, 5, 4], [2.4, 3, 4.6, 4.5], [-5, -5, 1, 1]])
    masks = regions_of(boxes, 4, (16, 16))
    expected = np.zeros((4, 16, 16), bool)
    expected[0] = True
    expected[1, 3:4, 2:5] = True
    expected[2, 3:4, 2:5] = True
    expected[3, :1, :1] = True
    np.testing.assert_array_equal(masks, expected)
    x, maps = torch.randn(4, 3, 16, 16), np.random.default_rng(0).normal(size=(4, 16, 16))
    wanted = ["pointing", "localization"]
    by_box = evaluate(tiny, x, maps, measures=wanted, regions=boxes.tolist())
    by_mask = evaluate(tiny, x, maps, measures=wanted, regions=expected)
    np.testing.assert_array_equal(by_box.values, by_mask.values)
    np.testing.assert_allclose(by_box.values[0, 1, 1], share_inside(maps[1], expected[1]), rtol=1e-6)
    assert by_box.values[0, :, 0].tolist() == [1, 1]


# ROAD


def peer_imputed(x: torch.Tensor, removed: np.ndarray) -> torch.Tensor:
    """By pytorch-grad-cam, without its noise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pytorch_grad_cam.metrics.road import NoisyLinearImputer

        found: torch.Tensor = NoisyLinearImputer(noise=0)(x, torch.from_numpy(~removed).float())
    return found


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
def test_imputation_is_that_of_pytorch_grad_cam(seed: int, share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(road, "_NOISE", 0)
    x = torch.randn(1 + seed, 14, 11)
    removed = np.random.default_rng(seed).random((14, 11)) < share
    torch.testing.assert_close(imputed(x, removed), peer_imputed(x, removed), rtol=0, atol=1e-5)


def test_what_is_imputed_solves_its_equations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(road, "_NOISE", 0)
    x = torch.randn(2, 6, 5, dtype=torch.float64)
    removed = np.random.default_rng(1).random((6, 5)) < 0.6
    found = imputed(x, removed)
    for i in range(6):
        for j in range(5):
            if not removed[i, j]:
                assert torch.equal(found[:, i, j], x[:, i, j])
                continue
            near = [
                (1 / 6 if 0 in (di, dj) else 1 / 12, found[:, i + di, j + dj])
                for di in (-1, 0, 1)
                for dj in (-1, 0, 1)
                if (di or dj) and 0 <= i + di < 6 and 0 <= j + dj < 5
            ]
            mean = sum(w * v for w, v in near) / sum(w for w, _ in near)
            torch.testing.assert_close(found[:, i, j], mean, rtol=0, atol=1e-10)


def test_noise_of_imputation_is_a_hundredth_of_the_image_and_hangs_on_the_seed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, removed = 5 * torch.randn(3, 40, 40), np.random.default_rng(0).random((40, 40)) < 0.5
    found = imputed(x, removed, 1)
    assert torch.equal(found, imputed(x, removed, 1))
    assert not torch.equal(found, imputed(x, removed, 2))
    monkeypatch.setattr(road, "_NOISE", 0)
    noise = (found - imputed(x, removed))[:, removed]
    assert float(noise.std() / x.std()) == pytest.approx(0.01, rel=0.1)
    assert torch.equal(imputed(x, np.zeros((40, 40), bool)), x)
    torch.testing.assert_close(imputed(x, np.ones((40, 40), bool)), x.mean().expand(3, 40, 40))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_imputation_leaves_the_image_as_it_was(dtype: torch.dtype) -> None:
    x = torch.randn(3, 8, 8, dtype=dtype)
    before = x.clone()
    imputed(x, np.random.default_rng(0).random((8, 8)) < 0.5)
    assert torch.equal(x, before)


def test_road_is_the_same_in_float64() -> None:
    net, x, maps = tiny_network().eval(), torch.randn(1, 3, 16, 16), np.random.default_rng(0).random((1, 16, 16))
    single = evaluate(net, x, maps, target=1, measures=["road"])
    double = evaluate(net.double(), x.double(), maps, target=1, measures=["road"])
    np.testing.assert_allclose(double.values, single.values, rtol=0, atol=1e-5)


def test_road_is_the_mean_over_four_shares(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(road, "_NOISE", 0)
    x = torch.randn(1, 3, 16, 16)
    values = np.random.default_rng(0).normal(size=(16, 16)).astype(np.float32)
    ordered = np.sort(values.ravel())
    differences = []
    for share in (0.1, 0.3, 0.5, 0.7):
        n = round(share * 256)
        without_highest, without_lowest = values >= ordered[-n], values <= ordered[n - 1]
        scores = [
            probability(tiny.module, peer_imputed(x[0], gone), 1) for gone in (without_highest, without_lowest)
        ]
        differences.append(scores[1] - scores[0])
    found = evaluate(tiny, x, values[None], target=1, measures=["road"])
    assert found.values[0, 0, 0] == pytest.approx(np.mean(differences), abs=1e-6)


def test_road_prefers_the_map_of_a_linear_network() -> None:
    w, x = torch.randn(12, 12), torch.randn(4, 1, 12, 12)
    perfect = (w * x[:, 0]).numpy()
    found = evaluate(linear(w), x, {"perfect": perfect, "negative": -perfect}, target=0, measures=["road"])
    assert (found.values[0] > 0.2).all()
    assert (found.values[1] < -0.2).all()


# Means and margins


def test_margins_are_those_of_scipy() -> None:
    values = np.random.default_rng(0).normal(size=(3, 2, 9))
    means, margins = mean_and_margin(values)
    for m in range(3):
        for k in range(2):
            low, high = stats.t.interval(0.95, 8, np.mean(values[m, k]), stats.sem(values[m, k]))
            assert means[m, k] - margins[m, k] == pytest.approx(low)
            assert means[m, k] + margins[m, k] == pytest.approx(high)
    holes = values[0, 0].copy()
    holes[[1, 4]] = np.nan
    mean, margin = mean_and_margin(holes)
    rest, margin_of_rest = mean_and_margin(np.delete(holes, [1, 4]))
    assert (float(mean), float(margin)) == pytest.approx((float(rest), float(margin_of_rest)))
    assert np.isnan(mean_and_margin(np.full((1, 4), np.nan))).all()
    one, none = mean_and_margin(np.array([[2.0, np.nan]]))
    assert one.tolist() == [2.0]
    assert np.isnan(none).all()


def test_gains_are_paired_with_the_random_map(tiny: Model) -> None:
    x = torch.randn(6, 3, 16, 16)
    found = evaluate(tiny, x, saliency(tiny, x), measures=["sparseness", "deletion_mean"], n_steps=4)
    for k, sign in enumerate((1, -1)):
        test = stats.ttest_rel(found.values[0, k].astype(float), found.values[1, k].astype(float))
        low, high = test.confidence_interval(0.95)
        assert found.gains[0, k] == pytest.approx(sign * (low + high) / 2, abs=1e-6)
        assert found.gain_margins[0, k] == pytest.approx((high - low) / 2, abs=1e-6)
    assert not found.gains[1].any()


def test_one_image_has_no_margins(tiny: Model) -> None:
    found = evaluate(tiny, torch.randn(1, 3, 16, 16), np.ones((1, 16, 16)), measures=["sparseness"])
    assert np.isfinite(found.means).all()
    assert np.isnan(found.margins).all()
    assert np.isnan(found.gain_margins).all()


def test_controls_are_numbers_of_chance_and_a_hill_in_the_middle() -> None:
    random, center = control_maps((20, 30), 0)
    assert not np.array_equal(random, control_maps((20, 30), 1)[0])
    np.testing.assert_array_equal(random, control_maps((20, 30), 0)[0])
    assert abs(random.mean() - 0.5) < 0.05
    np.testing.assert_array_equal(center, center[::-1, ::-1])
    assert center[10, 15] == center.max()
    # A quarter of a side from the middle it is exp(-1 / 2).
    assert center[10, 15 + 8] / center[10, 15] == pytest.approx(
        math.exp(-((8.5 / 7.5) ** 2 - (0.5 / 7.5) ** 2) / 2)
    )


# What can be given


def test_measures_are_chosen_by_name_and_come_in_that_order(tiny: Model) -> None:
    x = torch.randn(1, 3, 16, 16)
    found = evaluate(
        tiny, x, np.ones((1, 16, 16)), measures=["sparseness", "insertion_blur", "sparseness"], n_steps=2
    )
    assert found.measures == ("sparseness", "insertion_blur")
    assert found.higher_is_better == (True, True)
    others = [name for name in MEASURES if not name.startswith(("deletion_", "insertion_"))]
    assert measures.check_measures(None, has_regions=True) == (*CURVES, *others)
    assert measures.check_measures(None, has_regions=False) == (*CURVES, *others)[:-2]
    assert evaluate(tiny, x, np.ones((1, 16, 16)), measures=["sparseness"]).curves.shape == (3, 4, 1, 0)


def test_maps_may_be_results_arrays_lists_and_dicts(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    one, two = saliency(tiny, x), grad_cam(tiny, x)
    options: dict[str, Any] = {"measures": ["sparseness"]}
    expected = [[gini(v) for v in a.values] for a in (one, two)]
    for given, names in (
        ([one, two], ("saliency", "grad_cam")),
        ([one.values, two.values], ("map 1", "map 2")),
        ({"a": one, "b": two.values}, ("a", "b")),
        ([one, two.values.astype(np.float64)], ("saliency", "map 2")),
    ):
        found = evaluate(tiny, x, given, **options)
        assert found.methods == (*names, "random", "center")
        np.testing.assert_allclose(found.values[:2, 0], expected, rtol=0, atol=1e-6)
    alone = evaluate(tiny, x, one, **options)
    assert alone.methods[0] == "saliency"
    assert alone.seconds[0] == one.provenance.seconds
    assert np.isnan(evaluate(tiny, x, one.values, **options).seconds).all()


def test_images_that_cannot_be_read_are_left_out(tiny: Model, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (16, 16, 3), np.uint8) for _ in range(3)]
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"not an image")
    maps = saliency(tiny, tmp_path, target=[0, 1, 2])
    boxes = np.array([[0, 0, 8, 8], [0, 0, 1, 1], [4, 4, 12, 16]])
    wanted = ["deletion_mean", "localization", "max_sensitivity"]
    found = evaluate(tiny, tmp_path, maps, target=[0, 1, 2], regions=boxes, measures=wanted, n_steps=3)
    assert len(found.names) == 2
    assert found.targets == ("a", "c")
    assert "1.png" in found.provenance.skipped[0]
    alone = evaluate(
        tiny,
        [pictures[0], pictures[2]],
        maps.values,
        target=[0, 2],
        regions=boxes[[0, 2]],
        measures=wanted[:2],
        n_steps=3,
    )
    np.testing.assert_allclose(found.values[0, :2], alone.values[0], rtol=0, atol=1e-6)
    assert np.isfinite(found.values[0]).all()
    every = np.concatenate([maps.values[:1], np.zeros((1, 16, 16)), maps.values[1:]])
    given = evaluate(tiny, tmp_path, every, target=[0, 1, 2], regions=boxes, measures=wanted[:2], n_steps=3)
    np.testing.assert_allclose(given.values[0], alone.values[0], rtol=0, atol=1e-6)


def test_a_batch_gives_what_single_images_give(tiny: Model) -> None:
    x, maps = torch.randn(3, 3, 16, 16), np.random.default_rng(0).normal(size=(3, 16, 16))
    wanted = [*CURVES, "road", "sparseness"]
    together = evaluate(tiny, x, maps, measures=wanted, n_steps=3)
    for i in range(3):
        alone = evaluate(tiny, x[i : i + 1], maps[i : i + 1], measures=wanted, n_steps=3)
        np.testing.assert_allclose(together.values[0, :, i], alone.values[0, :, 0], rtol=0, atol=1e-6)


def test_a_callable_and_a_contrast_have_scores_of_their_own(tiny: Model) -> None:
    x, maps = torch.randn(2, 3, 16, 16), np.random.default_rng(0).normal(size=(2, 16, 16))
    options: dict[str, Any] = {"measures": ["deletion_mean"], "n_steps": 3}
    by_function = evaluate(tiny, x, maps, target=lambda out: out[:, 1], **options)
    assert by_function.provenance.parameters["score"] == "logit"
    by_index = evaluate(tiny, x, maps, target=1, score="logit", **options)
    np.testing.assert_allclose(by_function.values, by_index.values, rtol=0, atol=1e-6)
    assert evaluate(tiny, x, maps, target=1, **options).provenance.parameters["score"] == "probability"
    contrast = evaluate(tiny, x, maps, target=Contrast(0, 1), **options)
    assert contrast.provenance.parameters["score"] == "probability"
    with torch.no_grad():
        p = tiny.module(x).softmax(1)
    np.testing.assert_allclose(contrast.curves[0, 0, :, 0], (p[:, 0] - p[:, 1]).numpy(), rtol=0, atol=1e-6)
    with pytest.raises(ParameterError, match="score='probability' has no meaning"):
        evaluate(tiny, x, maps, target=lambda out: out[:, 1], score="probability", **options)


def test_maps_of_another_target_are_refused(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    with pytest.raises(TargetError, match="saliency explains 'a' of image 0, and the target is 'c'"):
        evaluate(tiny, x, saliency(tiny, x, target=0), target=2, measures=["sparseness"])
    evaluate(tiny, x, saliency(tiny, x, target=0).values, target=2, measures=["sparseness"])  # arrays say nothing


def test_several_targets_are_refused(tiny: Model) -> None:
    with pytest.raises(ParameterError, match="the targets of Several one by one"):
        evaluate(tiny, torch.randn(1, 3, 16, 16), np.ones((1, 16, 16)), target=Several(0, 1), measures=["road"])


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (np.ones((2, 8, 8)), r"maps of shape \(2, 8, 8\)"),
        (np.ones((16, 16)), r"maps of shape \(16, 16\)"),
        (np.ones((3, 16, 16)), r"maps of shape \(3, 16, 16\) for 2 images"),
        (np.ones((1, 16, 16)), "1 map, and more images"),
        (np.full((2, 16, 16), np.nan), "NaN or infinite"),
        ([], "expected at least one"),
        ({"random": np.ones((2, 16, 16))}, "the name of a control"),
    ],
)
def test_bad_maps_are_refused(tiny: Model, maps: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        evaluate(tiny, torch.randn(2, 3, 16, 16), maps, measures=["sparseness"])


def test_a_method_with_too_few_maps_is_refused_whatever_is_measured(tiny: Model) -> None:
    x = torch.randn(3, 3, 16, 16)
    maps = integrated_gradients(tiny, x[:2], n_steps=2)
    for measure in ("completeness_error", "max_sensitivity", "deletion_mean"):
        with pytest.raises(ParameterError, match="integrated_gradients: 2 maps, and more images"):
            evaluate(tiny, x, maps, measures=[measure], n_steps=2)
    with pytest.raises(ParameterError, match="two of the same method"):
        evaluate(tiny, x, [saliency(tiny, x), saliency(tiny, x, kind="signed")])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"measures": "deletion_mean"}, "expected a list"),
        ({"measures": []}, "expected a list of names"),
        ({"measures": ["deletion"]}, "measures='deletion': did you mean"),
        ({"measures": ["pointing"]}, "'pointing' needs regions="),
        ({"n_steps": 1}, "n_steps=1"),
        ({"seed": -1}, "seed=-1"),
        ({"score": "x"}, "score='x'"),
        ({"regions": np.ones((2, 8, 8), bool)}, "regions of shape"),
        ({"regions": np.ones((2, 16, 16))}, "of booleans"),
        ({"regions": [[0, 0, 4, 4]]}, "regions of shape"),
        ({"regions": [[0, 0, 4, 4], [3, 3, 3, 3]]}, "one of them is empty"),
    ],
)
def test_bad_options_are_refused(tiny: Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        evaluate(tiny, torch.randn(2, 3, 16, 16), np.ones((2, 16, 16)), **{"n_steps": 2, **options})


@pytest.mark.parametrize("target", [3, "zebra", [0]])
def test_bad_targets_are_refused(tiny: Model, target: Any) -> None:
    with pytest.raises(TargetError):
        evaluate(tiny, torch.randn(2, 3, 16, 16), np.ones((2, 16, 16)), target=target, n_steps=2)


# The rest


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_left_as_it_was(fails: bool) -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 196, 2)
    ).train()
    x = torch.randn(1, 3, 16, 16)
    maps = saliency(net, x, target=0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    random_state = torch.get_rng_state()

    def stop(done: int, total: int) -> None:
        if fails:
            raise RuntimeError("stopped")

    if fails:
        with pytest.raises(RuntimeError, match="stopped"):
            evaluate(net, x, maps, target=0, n_steps=2, progress=stop)
    else:
        evaluate(net, x, maps, target=0, n_steps=2, progress=stop)
    assert all(m.training and not m._forward_hooks for m in net.modules())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_the_same_call_gives_the_same_numbers(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    maps = {"flat": np.ones((2, 16, 16))}  # nothing but ties
    options: dict[str, Any] = {"measures": [*CURVES, "road"], "n_steps": 4}
    first, same, other = (evaluate(tiny, x, maps, seed=s, **options) for s in (1, 1, 2))
    np.testing.assert_array_equal(first.values, same.values)
    assert (first.values[:2] != other.values[:2]).any(axis=(1, 2)).all()


def test_progress_counts_all_scores(tiny: Model) -> None:
    seen: list[tuple[int, int]] = []
    x = torch.randn(2, 3, 16, 16)
    evaluate(
        tiny,
        x,
        np.ones((2, 16, 16)),
        measures=[*CURVES, "road"],
        n_steps=3,
        progress=lambda *step: seen.append(step),
    )
    total = 2 * (1 + 2 + 2 * 3 * 2 * 2 + 3 * 2 * 4)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {all_of_them for _, all_of_them in seen} == {total}


def test_a_score_that_is_none_on_the_way_is_noted() -> None:
    class Brittle(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            total = x.sum(dim=(1, 2, 3))
            return torch.stack([torch.where(total < 200, torch.nan, total), -total], dim=1)

    found = evaluate(
        Brittle(), torch.ones(1, 1, 16, 16), np.ones((1, 16, 16)), target=0, measures=CURVES, n_steps=4
    )
    assert any("NaN or infinite" in note for note in found.provenance.notes)
    assert np.isnan(found.means[0]).any()


def test_a_result_shows_saves_and_draws_itself(tiny: Model, tmp_path: Path) -> None:
    x = torch.randn(3, 3, 16, 16)
    found = evaluate(
        tiny,
        x,
        [saliency(tiny, x), grad_cam(tiny, x)],
        measures=["deletion_mean", "completeness_error"],
        n_steps=3,
    )
    heading, *rows = found.rows()
    assert heading == ("method", "deletion mean ↓", "completeness error ↓", "seconds")
    assert [row[0] for row in rows] == ["saliency", "grad_cam", "random", "center"]
    assert rows[0][1] == f"{found.means[0, 0]:.3f} ± {found.margins[0, 0]:.3f}"
    assert rows[2][2:] == ("–", "–")
    assert "Evaluation(2 methods, 3 images)" in repr(found)
    back = Evaluation.load(found.save(tmp_path / "found"))
    np.testing.assert_array_equal(back.values, found.values)
    np.testing.assert_array_equal(back.curves, found.curves)
    assert (back.methods, back.measures, back.rows()) == (found.methods, found.measures, found.rows())
    assert (tmp_path / "found" / "picture.png").stat().st_size > 1000


def test_maps_of_whole_numbers_are_ranked_as_others_are() -> None:
    x, values = torch.randn(1, 3, 16, 16), np.random.default_rng(0).integers(0, 255, (1, 16, 16), np.uint8)
    as_they_are, as_floats = (
        evaluate(tiny_network(), x, {"map": m}, n_steps=4, measures=CURVES).values[0]
        for m in (values, values.astype(np.float32))
    )
    np.testing.assert_array_equal(as_they_are, as_floats)


def test_of_a_network_of_one_class_a_note_asks_for_its_logit() -> None:
    net, x = tiny_network(n_classes=1), torch.randn(1, 3, 16, 16)
    certain = torch.nn.Sequential(net, torch.nn.Softmax(dim=1))  # of its only class
    found = evaluate(certain, x, saliency(net, x), n_steps=4, measures=CURVES)
    assert found.provenance.notes == (
        "the probability is the same whatever is hidden, as of a single class: take score='logit'",
    )
    for score in ("logit", "probability"):  # that of a single score is its sigmoid
        found = evaluate(net, x, saliency(net, x), n_steps=4, score=score, measures=CURVES)
        assert found.provenance.notes == ()


def test_ctrl_c_leaves_the_images_that_were_measured(tiny: Model) -> None:
    images, maps = torch.randn(3, 3, 8, 8), np.random.default_rng(0).normal(size=(3, 8, 8))
    whole = evaluate(tiny, images, {"mine": maps}, measures=CURVES, n_steps=4)

    def stop(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        evaluate(tiny, images, {"mine": maps}, measures=CURVES, n_steps=4, progress=stop)
    found = caught.value.result
    assert found.names == whole.names[:1]
    np.testing.assert_array_equal(found.values, whole.values[:, :, :1])
    assert found.curves.shape == (*whole.curves.shape[:2], 1, 5)
    with pytest.raises(KeyboardInterrupt) as early:
        evaluate(tiny, images, {"mine": maps}, measures=CURVES, n_steps=4, progress=lambda *_: stop(1, 1))
    assert not isinstance(early.value, Interrupted)


def test_what_was_measured_is_on_record(tiny: Model) -> None:
    images, maps = torch.randn(2, 3, 8, 8), np.ones((2, 8, 8))
    found = evaluate(tiny, images, maps, measures=["pointing"], regions=[[0, 0, 4, 4]] * 2)
    assert found.provenance.parameters["measures"] == ("pointing",)
    assert found.provenance.parameters["regions"] == "2 boxes"


def test_curves_go_over_another_baseline_where_that_is_asked_for(tiny: Model) -> None:
    x = np.random.default_rng(0).integers(0, 255, (2, 16, 16, 3), np.uint8)
    maps = {"mine": np.random.default_rng(1).normal(size=(2, 16, 16)).astype(np.float32)}
    wanted = ["insertion_black", "deletion_black"]
    found = evaluate(tiny, list(x), maps, target=1, measures=wanted, n_steps=4)
    assert found.measures == tuple(wanted)
    assert found.curve_names == ("deletion_black", "insertion_black")
    image = tiny.preprocessing.apply(x[0])
    behind = torch.full((3, 16, 16), -2.0)  # black: (0 - 0.5) / 0.25
    pair = by_definition(lambda one: probability(tiny.module, one, 1), image, behind, ranks(maps["mine"][0]), 4)
    for c, curve in enumerate(pair):
        np.testing.assert_allclose(found.curves[0, c, 0], curve, rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.areas("deletion")[0, 0], area(pair[0]), rtol=0, atol=1e-6)
    with pytest.raises(ParameterError, match="and black depends on it"):
        evaluate(tiny.module, torch.randn(2, 3, 16, 16), maps, target=1, measures=wanted)
    by_default = evaluate(tiny, list(x), maps, target=1, n_steps=4, measures=["insertion_blur"])
    assert by_default.curve_names == CURVES
    both = [*CURVES, "deletion_white"]
    names = evaluate(tiny, list(x), maps, target=1, n_steps=2, measures=both).curve_names
    assert names[:3] == ("deletion_mean", "deletion_blur", "deletion_white")
