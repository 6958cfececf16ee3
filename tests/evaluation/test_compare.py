"""Comparison of methods: the verdict for made-up numbers, the budget, and the ranking against plain calls."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from tests.conftest import tiny_network
from torch import nn

from convscope import (
    ATTRIBUTIONS,
    Attribution,
    Comparison,
    Interrupted,
    LayerError,
    ParameterError,
    Several,
    TargetError,
    compare,
    evaluate,
    grad_cam,
    occlusion,
    saliency,
)
from convscope.evaluation import CURVES
from convscope.evaluation.entries import entries_of
from convscope.evaluation.intervals import is_better
from convscope.evaluation.standings import standings_of, verdict_of
from convscope.models import Model

FEW: dict[str, Any] = {"measures": ["sparseness"], "n_steps": 4}


def verdict(chance: list[float], **advantages: list[float]) -> str:
    """Of methods with these advantages on the images, beside a map of chance."""
    methods = (*advantages, "random", "center")
    values = np.array([*advantages.values(), chance, chance])
    return verdict_of(methods, values.shape[1], standings_of(values))


CHANCE = [0.0, 0.02, -0.01, 0.01]
GOOD = [0.5, 0.53, 0.49, 0.5]
AS_GOOD = [0.51, 0.5, 0.48, 0.5]
FAIR = [0.3, 0.31, 0.3, 0.29]


# The verdict


def test_layers_are_for_methods_that_look_at_one() -> None:
    with pytest.raises(ParameterError, match=r"none of the methods \(occlusion\) looks at a layer; .*grad_cam"):
        entries_of(["occlusion"], ["0"], {})


def test_one_image_gives_no_verdict() -> None:
    assert verdict([0.0], a=[0.9], b=[0.1]) == (
        "a comes first, but one image says nothing about the noise: take ten or more"
    )


def test_no_methodis_better_than_chance() -> None:
    noise = [0.4, -0.4, 0.5, -0.3]
    assert verdict(CHANCE, a=noise, b=CHANCE) == (
        "No method is better than a map of chance by more than the noise, on 4 images."
    )


def test_all_are_tied() -> None:
    assert verdict(CHANCE, a=GOOD, b=AS_GOOD) == (
        "No difference larger than the noise between the 2 methods, on 4 images."
    )


def test_one_is_the_best() -> None:
    assert verdict(CHANCE, fair=FAIR, good=GOOD) == "good is the best by more than the noise, on 4 images."


def test_some_are_tied_with_the_best_and_some_are_no_better_than_chance() -> None:
    assert verdict(CHANCE, lost=CHANCE, b=AS_GOOD, fair=FAIR, a=GOOD) == (
        "a comes first; no difference larger than the noise to b, on 4 images. "
        "Not better than a map of chance: lost."
    )


def test_a_first_that_does_not_beat_chance_is_not_called_the_best() -> None:
    """Its mean is the highest, by one image, and the noise is larger; the others are sure to be above chance."""
    words = verdict(CHANCE, fair=FAIR, noisy=[2.0, 0.0, 0.1, 0.0], lost=CHANCE)
    assert words == (
        "No method can be called the best, on 4 images: noisy has the highest mean, but does not beat a map of "
        "chance by more than the noise. Better than chance: fair."
    )


def test_one_method_is_compared_with_chance_alone() -> None:
    assert verdict(CHANCE, a=GOOD) == "a is better than a map of chance, on 4 images."
    assert verdict(GOOD, a=CHANCE).startswith("No method is better")


def test_better_is_what_a_paired_t_test_says_with_bonferroni() -> None:
    rng = np.random.default_rng(0)
    answers = set()
    for trial in range(200):
        n, n_questions = int(rng.integers(2, 12)), int(rng.integers(1, 8))
        one, other = rng.normal(0.6, 1, n), rng.normal(0, 1, n)
        p = stats.ttest_rel(one, other, alternative="greater").pvalue
        answers.add(is_better(one, other, n_questions))
        assert is_better(one, other, n_questions) is bool(p < 0.025 / n_questions), trial
    assert answers == {True, False}
    assert is_better(
        np.array([1.0, 1.0, np.nan]), np.array([0.0, 0.0, 5.0]), 1
    )  # without noise, one image left out
    assert not is_better(np.array([1.0, np.nan]), np.zeros(2), 1)


def test_more_methods_ask_for_larger_differences() -> None:
    best, other = np.array([0.5, 0.1, 0.9, 0.6, 0.3]), np.zeros(5)
    assert is_better(best, other, 1)
    assert not is_better(best, other, 1000)


# The run


def test_the_ranking_is_by_insertion_minus_deletion_of_plain_calls(tiny: Model) -> None:
    x = torch.randn(4, 3, 16, 16)
    names = ["saliency", "grad_cam", "occlusion"]
    found = compare(tiny, x, names, n_steps=5, seed=2)
    maps = {name: ATTRIBUTIONS[name](tiny, x) for name in names}
    plain = evaluate(tiny, x, maps, measures=CURVES, n_steps=5, seed=2)
    k = [found.measures.index(name) for name in CURVES]
    np.testing.assert_allclose(found.values[:, k], plain.values, rtol=0, atol=1e-6)
    deletion, insertion = plain.values[:, :2].mean(axis=1), plain.values[:, 2:].mean(axis=1)
    expected = (insertion - deletion).mean(axis=1)
    np.testing.assert_allclose(found.advantage, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(plain.areas("deletion"), deletion, rtol=0, atol=1e-6)
    np.testing.assert_allclose(plain.areas("insertion"), insertion, rtol=0, atol=1e-6)
    assert found.ranking == tuple(sorted(names, key=lambda name: -expected[names.index(name)]))
    assert found.methods == (*names, "random", "center")
    assert found.tied[0] == found.ranking[0]
    low, high = stats.t.interval(0.95, 3, 0, stats.sem((insertion - deletion)[0]))
    assert found.advantage_margins[0] == pytest.approx((high - low) / 2, abs=1e-6)
    for m, name in enumerate(names):
        np.testing.assert_array_equal(found.maps[m], maps[name].values)
    assert found.signed == (False, False, True)


def test_the_map_of_a_linear_network_comes_first() -> None:
    """Of a linear score, the gradient times the image is the right map, and its size alone is not."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(144, 2))
    x = torch.randn(10, 1, 12, 12)
    kinds = {"saliency": {"kind": "input_x_gradient"}, "occlusion": {"window": 8}}
    found = compare(net, x, ["occlusion", "saliency", "vargrad"], target=1, options=kinds, **FEW)
    assert found.ranking[0] == "saliency"
    assert found.tied == ("saliency",)
    assert found.verdict.startswith("saliency is the best by more than the noise, on 10 images.")


def test_a_method_that_takes_too_long_is_left_out_and_the_rest_is_kept(
    tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    def slow(model: Any, images: Any, *, target: Any = None, progress: Any = None) -> Attribution:
        for n in range(1000):
            time.sleep(0.01)
            done.append(n)
            progress(n + 1, 1000)
        return saliency(model, images, target=target)

    monkeypatch.setitem(ATTRIBUTIONS, "slow", slow)
    x = torch.randn(2, 3, 16, 16)
    found = compare(tiny, x, ["slow", "saliency"], budget_s=1.0, **FEW)
    assert found.methods == ("saliency", "random", "center")
    assert found.left_out == ("slow: not finished within its share of 0.5 s; raise budget_s",)
    assert found.provenance.notes[-1] == f"left out: {found.left_out[0]}"
    assert 5 < len(done) < 60  # half of the second
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    assert "slow" in compare(tiny, x, ["slow", "saliency"], budget_s=20.0, **FEW).ranking


def test_a_method_that_is_done_at_the_last_moment_is_kept(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(model: Any, images: Any, *, target: Any = None, progress: Any = None) -> Attribution:
        time.sleep(0.2)
        progress(2, 2)
        return saliency(model, images, target=target)

    monkeypatch.setitem(ATTRIBUTIONS, "late", late)
    assert compare(tiny, torch.randn(2, 3, 16, 16), "late", budget_s=0.1, **FEW).ranking == ("late",)


def test_a_method_that_does_not_fit_is_left_out_with_its_reason(tiny: Model) -> None:
    found = compare(tiny, torch.randn(2, 3, 16, 16), ["attention_rollout", "saliency"], **FEW)
    assert found.ranking == ("saliency",)
    (reason,) = found.left_out
    assert reason.startswith("attention_rollout: ")
    assert len(reason) > len("attention_rollout: ") + 10
    with pytest.raises(ParameterError, match="no method finished: attention_rollout: "):
        compare(tiny, torch.randn(2, 3, 16, 16), "attention_rollout", **FEW)


@pytest.mark.slow
def test_all_methods_run_by_default(tiny: Model) -> None:
    few = {"kernel_shap": {"n_samples": 12}, "lime": {"n_samples": 12}, "rise": {"n_masks": 12}}
    found = compare(tiny, torch.randn(2, 3, 16, 16), options=few, n_steps=2)
    assert set(found.ranking) == set(ATTRIBUTIONS) - {"attention_gradient", "attention_rollout"}
    assert found.measures == (*CURVES, "completeness_error", "sparseness")


def test_options_reach_their_method_alone(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    found = compare(tiny, x, ["occlusion", "grad_cam"], options={"occlusion": {"window": 8, "stride": 8}}, **FEW)
    np.testing.assert_array_equal(found.maps[0], occlusion(tiny, x, window=8, stride=8).values)
    np.testing.assert_array_equal(found.maps[1], grad_cam(tiny, x).values)
    with pytest.raises(ParameterError, match=r"window=\(17, 17\)"):
        compare(tiny, x, ["occlusion", "grad_cam"], options={"occlusion": {"window": 17}}, **FEW)


def test_each_method_that_looks_at_a_layer_runs_once_at_each(tiny: Model) -> None:
    x = torch.randn(3, 3, 16, 16)
    found = compare(
        tiny,
        x,
        ["grad_cam", "saliency", "layer-cam"],
        layers=["0", "4"],
        options={"grad_cam": {"kind": "signed"}},
        **FEW,
    )
    expected = {
        "grad_cam @ 0": grad_cam(tiny, x, layer="0", kind="signed"),
        "grad_cam @ 4": grad_cam(tiny, x, layer="4", kind="signed"),
        "saliency": saliency(tiny, x),
        "layer_cam @ 0": ATTRIBUTIONS["layer_cam"](tiny, x, layer="0"),
        "layer_cam @ 4": ATTRIBUTIONS["layer_cam"](tiny, x, layer="4"),
    }
    assert found.methods == (*expected, "random", "center")
    for m, name in enumerate(expected):
        np.testing.assert_array_equal(found.maps[m], expected[name].values)
    plain = evaluate(tiny, x, expected, measures=CURVES, n_steps=FEW["n_steps"])
    k = [found.measures.index(name) for name in CURVES]
    np.testing.assert_array_equal(found.values[:, k], plain.values)
    assert set(found.ranking) == set(expected)
    parameters = found.provenance.parameters
    assert parameters["layers"] == ("0", "4")
    assert parameters["methods"] == ("grad_cam", "saliency", "layer_cam")
    assert "layers" not in compare(tiny, x, "saliency", **FEW).provenance.parameters


def test_the_layer_with_the_object_comes_before_one_that_lost_it() -> None:
    """The score is a bright pixel's; the second layer has turned the picture round, and the pixel with it."""

    class Turned(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flip(2, 3)

    net = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False), Turned(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(1, 2)
    )
    with torch.no_grad():
        net[0].weight.fill_(1.0)
        net[4].weight.copy_(torch.tensor([[0.0], [1.0]]))
    x = 0.1 * torch.rand(8, 1, 8, 8)
    for n in range(8):
        x[n, 0, n % 3, n % 4] = 5.0
    found = compare(net, x, "grad_cam", layers=["1", "0"], target=1, measures=["sparseness"], n_steps=8)
    assert found.ranking == ("grad_cam @ 0", "grad_cam @ 1")
    assert found.tied == ("grad_cam @ 0",)
    assert (
        "grad_cam @ 1" in found.verdict.partition("Not better than a map of chance")[2] or "best" in found.verdict
    )


def test_all_methods_with_layers_are_those_that_look_at_one(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    found = compare(tiny, x, layers="4", **FEW)
    expected = {"grad_cam", "grad_cam_plus_plus", "layer_cam", "score_cam", "eigen_cam", "guided_grad_cam"}
    assert set(found.ranking) == {f"{name} @ 4" for name in expected}
    assert found.provenance.parameters["methods"] == "all"


def test_a_layer_that_a_method_cannot_use_is_left_out_and_one_that_is_not_there_refused(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    found = compare(tiny, x, "grad_cam", layers=["4", "7"], **FEW)
    assert found.ranking == ("grad_cam @ 4",)
    (reason,) = found.left_out
    assert reason.startswith("grad_cam @ 7: layer='7' puts out (3,)")
    assert reason in found.provenance.notes[-1]
    for layers, error, says in (
        (["4", "nine"], LayerError, "no layer 'nine'"),
        ([], ParameterError, "expected at least one"),
        (5, ParameterError, "layers=5"),
    ):
        with pytest.raises(error, match=says):
            compare(tiny, x, "grad_cam", layers=layers, **FEW)
    with pytest.raises(ParameterError, match=r"none of the methods \(saliency\) looks at a layer; .*grad_cam"):
        compare(tiny, x, "saliency", layers=["4"], **FEW)
    with pytest.raises(ParameterError, match="grad_cam has a layer there"):
        compare(tiny, x, "grad_cam", layers=["4"], options={"grad_cam": {"layer": "0"}}, **FEW)


def test_measures_regions_and_targets_are_handed_on(tiny: Model) -> None:
    x, boxes = torch.randn(2, 3, 16, 16), [[0, 0, 8, 8], [4, 4, 16, 16]]
    found = compare(tiny, x, "saliency", target=[2, 0], measures=["pointing"], regions=boxes, n_steps=3)
    assert found.measures == (*CURVES, "pointing")
    assert found.targets == ("c", "a")
    plain = evaluate(tiny, x, saliency(tiny, x, target=[2, 0]), target=[2, 0], regions=boxes, n_steps=3)
    k = [plain.measures.index(name) for name in found.measures]
    np.testing.assert_array_equal(found.values, plain.values[:, k])


def test_a_folder_with_a_broken_image(tiny: Model, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "0.png").write_bytes(b"not an image")
    for given in (tmp_path, str(tmp_path)):
        found = compare(tiny, given, ["saliency", "grad_cam"], **FEW)
        assert [Path(name).name for name in found.names] == ["1.png", "2.png"]
        assert "0.png" in found.provenance.skipped[0]


def test_progress_names_the_stages(tiny: Model) -> None:
    seen: list[tuple[str, int, int]] = []
    compare(tiny, torch.randn(2, 3, 16, 16), ["saliency", "occlusion"], progress=lambda *s: seen.append(s), **FEW)
    assert list(dict.fromkeys(stage for stage, _, _ in seen)) == ["saliency", "occlusion", "evaluate"]
    last = {stage: (done, total) for stage, done, total in seen}
    assert all(done == total for done, total in last.values())


def test_it_can_be_interrupted(tiny: Model) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "occlusion" and done * 2 > total:
            raise KeyboardInterrupt

    images = torch.randn(4, 3, 16, 16)
    with pytest.raises(Interrupted) as caught:
        compare(tiny, images, ["saliency", "occlusion", "grad_cam"], progress=stop, **FEW)
    found = caught.value.result
    assert found.ranking == ("saliency",)
    assert [reason.partition(":")[0] for reason in found.left_out] == ["occlusion", "grad_cam"]
    assert all("interrupted" in reason for reason in found.left_out)
    np.testing.assert_array_equal(found.values, compare(tiny, images, ["saliency"], **FEW).values)
    with pytest.raises(KeyboardInterrupt) as early:
        compare(tiny, images, ["occlusion"], progress=stop, **FEW)
    assert not isinstance(early.value, Interrupted)


def test_the_second_interrupt_leaves_what_was_measured_before_it(tiny: Model, tmp_path: Path) -> None:
    def stop(stage: str, done: int, total: int) -> None:
        if stage == "evaluate" and done * 2 > total:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        compare(tiny, torch.randn(4, 3, 16, 16), ["saliency", "occlusion"], progress=stop, **FEW)
    found = caught.value.result
    assert set(found.ranking) == {"saliency", "occlusion"}
    assert 0 < len(found.names) < 4
    assert len(found.images) == found.maps.shape[1] == len(found.names)
    found.save(tmp_path / "part")
    assert (tmp_path / "part" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": "magic"}, "'magic' is no method"),
        ({"methods": ["saliency", "magic"]}, "'magic' is no method"),
        ({"methods": []}, "expected at least one"),
        ({"options": {"magic": {}}}, "'magic' is no method"),
        ({"budget_s": 0}, "budget_s=0"),
        ({"budget_s": float("inf")}, "budget_s=inf"),
        ({"measures": ["magic"]}, "measures='magic': expected"),
        ({"n_steps": 1}, "n_steps=1"),
        ({"target": 7}, "target=7: the network has classes 0 to 2"),
        ({"target": Several(0, 1)}, "the targets of Several one by one"),
    ],
)
def test_bad_arguments_are_refused(tiny: Model, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ParameterError, TargetError), match=message):
        compare(tiny, torch.randn(1, 3, 16, 16), **{"methods": "saliency", **FEW, **options})


def test_a_result_shows_saves_and_draws_itself(tmp_path: Path) -> None:
    found = compare(tiny_network(), torch.randn(3, 3, 16, 16), ["saliency", "grad_cam", "occlusion"], **FEW)
    heading, *rows = found.rows()
    assert heading[:2] == ("method", "insertion − deletion ↑")
    assert [row[0] for row in rows] == [*found.ranking, "random", "center"]
    best = found.methods.index(found.ranking[0])
    assert rows[0][1] == f"{found.advantage[best]:.3f} ± {found.advantage_margins[best]:.3f}"
    assert repr(found).endswith(found.verdict)
    back = Comparison.load(found.save(tmp_path / "found"))
    np.testing.assert_array_equal(back.maps, found.maps)
    assert (back.ranking, back.tied, back.verdict) == (found.ranking, found.tied, found.verdict)
    assert back.rows() == found.rows()
    assert (tmp_path / "found" / "picture.png").stat().st_size > 1000
