"""Mask studies: each setting is a plain call of occlusion, and the best by plain measures is recommended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats
from torch import nn

from convscope import Interrupted, MaskStudy, ParameterError, TargetError, evaluate, mask_study, occlusion
from convscope.evaluation.mask_agreement import agreement, reason_for, sign_varies, stability
from convscope.evaluation.measures import CURVES
from convscope.evaluation.measuring import Measuring
from convscope.models import Model
from convscope.perturbation import tried_windows

SMALL: dict[str, Any] = {"windows": [4, 8], "shapes": ["rectangle", "ellipse"], "baselines": ["mean", "noise"]}


def test_maps_are_those_of_plain_calls_and_measures_those_of_evaluate(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    found = mask_study(tiny, x, target=[0, 2], n_steps=4, seed=3, **SMALL)
    assert list(zip(found.windows, found.shapes, found.baselines, strict=True)) == [
        (w, s, b) for w in (4, 8) for s in ("rectangle", "ellipse") for b in ("mean", "noise")
    ]
    for s, (window, shape, baseline) in enumerate(zip(found.windows, found.shapes, found.baselines, strict=True)):
        plain = occlusion(tiny, x, target=[0, 2], window=window, shape=shape, baseline=baseline, seed=3)  # type: ignore[arg-type]
        np.testing.assert_array_equal(found.maps[s], plain.values)
        measured = evaluate(tiny, x, plain, target=[0, 2], measures=CURVES, n_steps=4, seed=3).values[0]
        np.testing.assert_allclose(found.deletion[s], measured[:2].mean(axis=0), rtol=0, atol=1e-6)
        np.testing.assert_allclose(found.insertion[s], measured[2:].mean(axis=0), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found.advantage, (found.insertion - found.deletion).mean(axis=1), rtol=0, atol=0)
    assert found.targets == ("a", "c")
    assert found.resolution_px.tolist() == list(found.windows)
    assert found.n_masks.tolist() == [49] * 4 + [9] * 4


def test_the_largest_advantage_is_recommended_and_the_reason_says_so(tiny: Model) -> None:
    x = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    found = mask_study(tiny, x, target=1, n_steps=4, **SMALL)
    best = int(found.advantage.argmax())
    assert found.recommended == best
    assert best != found.insertion.mean(axis=1).argmax()  # so that it is not insertion alone that decides
    assert found.reason.startswith(f"{found.setting(best)}: best insertion minus deletion (")
    assert found.rows()[1][0] == found.setting(best)
    assert "best insertion (" not in found.reason


def test_each_number_in_the_reason_is_that_of_the_measure_beside_it() -> None:
    """Deletion alone is 0.349; what decided is the difference, which is another number."""
    insertion = np.array([[0.9, 0.978], [0.8, 0.8], [0.99, 0.99]])
    deletion = np.array([[0.3, 0.398], [0.5, 0.5], [0.7, 0.7]])
    assert reason_for(insertion, deletion) == "best insertion minus deletion (0.590), best deletion (0.349)"
    assert reason_for(insertion[:2], deletion[:2]) == (
        "best insertion minus deletion (0.590), best insertion (0.939), best deletion (0.349)"
    )
    middle = np.array([[0.8], [0.9], [0.7]]), np.array([[0.3], [0.5], [0.25]])
    assert reason_for(*middle) == "best insertion minus deletion (0.500)"


class Detector(nn.Module):
    """Finds a pattern of 6 x 6 pixels, and does not mind that a few of them are missing."""

    def __init__(self, pattern: torch.Tensor) -> None:
        super().__init__()
        self.find = nn.Conv2d(1, 1, 6, bias=False)
        self.find.weight.data[0, 0] = pattern

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.find(x).amax(dim=(2, 3)).clamp(16, 30)
        return torch.cat([found - 23, 23 - found], dim=1) / 2


def test_a_planted_patch_is_found_best_by_windows_of_its_size() -> None:
    """Smaller windows change nothing, as the rest of the pattern is enough; larger ones hide more than it."""
    pattern = torch.sign(torch.randn(6, 6))
    x = 0.2 * torch.randn(1, 1, 32, 32)
    x[0, 0, 9:15, 15:21] = pattern
    found = mask_study(
        Detector(pattern),
        x,
        target=0,
        windows=[2, 6, 16, 28],
        shapes=["rectangle"],
        baselines=["mean"],
        n_steps=32,
    )
    assert not found.maps[0].any()
    assert found.windows[found.recommended] == 6
    assert found.insertion[1, 0] > 0.8
    assert (np.diff(found.advantage[1:]) < -0.1).all()


def test_by_default_windows_are_shares_of_the_image(tiny: Model) -> None:
    assert tried_windows((224, 224)) == [16, 24, 32, 48, 64]
    assert tried_windows((16, 16)) == [1, 2, 3, 5]
    found = mask_study(
        tiny, torch.randn(1, 3, 16, 16), target=0, shapes=["rectangle"], baselines=["blur"], n_steps=2
    )
    assert found.windows == (1, 2, 3, 5)
    assert set(found.baselines) == {"blur"}


# Agreement


def test_agreement_is_spearmans_correlation_and_the_mean_over_images() -> None:
    maps = np.random.default_rng(0).normal(size=(4, 3, 7, 6)).round(1)  # with ties
    alike = agreement(maps)
    assert alike.shape == (4, 4)
    for s in range(4):
        for t in range(4):
            expected = np.mean(
                [stats.spearmanr(maps[s, i].ravel(), maps[t, i].ravel()).statistic for i in range(3)]
            )
            assert alike[s, t] == pytest.approx(expected)
    np.testing.assert_array_equal(np.diag(alike), 1)
    maps[1] = 5  # flat
    np.testing.assert_array_equal(agreement(maps)[1], [0, 1, 0, 0])


def test_agreement_of_a_setting_is_that_with_the_others(tiny: Model) -> None:
    found = mask_study(tiny, torch.randn(2, 3, 16, 16), target=1, n_steps=2, **SMALL)
    np.testing.assert_allclose(found.alike, agreement(found.maps), rtol=0, atol=1e-12)
    for s in range(8):
        assert found.agreement[s] == pytest.approx(np.delete(found.alike[s], s).mean())
    one = mask_study(
        tiny, torch.randn(1, 3, 16, 16), target=1, windows=[8], shapes=["rectangle"], baselines=["mean"], n_steps=2
    )
    assert one.agreement.tolist() == [0]
    assert "no other window within 2 times its side" in one.reason


def test_the_reason_names_the_windows_that_agree() -> None:
    """A wide blob looks much the same through windows of 2 to 4; a window of the whole image shows nothing."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 2))
    y, x = np.mgrid[:32, :32] / 32
    blob = torch.tensor(np.exp(-((y - 0.4) ** 2 + (x - 0.6) ** 2) / 0.05), dtype=torch.float32)
    with torch.no_grad():
        net[1].weight.copy_(torch.stack([blob.flatten(), -blob.flatten()]) / 20)
        net[1].bias.zero_()
    found = mask_study(
        net,
        torch.ones(1, 1, 32, 32),
        target=0,
        windows=[32, 4, 2, 3],
        shapes=["rectangle"],
        baselines=["mean"],
        n_steps=8,
    )
    assert "stable from 2 to 4 px (rank correlation at least 0.8)" in found.reason
    assert not found.maps[0].std() > 1e-6
    two = mask_study(
        net,
        torch.ones(1, 1, 32, 32),
        target=0,
        windows=[32, 4],
        shapes=["rectangle"],
        baselines=["mean"],
        n_steps=8,
    )
    assert "4 px rectangle over mean: best insertion minus deletion (" in two.reason
    assert "stability not known: no other window within 2 times its side" in two.reason


# Signs


def test_signs_vary_where_baselines_contradict_each_other() -> None:
    maps = np.zeros((2, 1, 2, 3))
    maps[0, 0] = [[1.0, 0.5, 0.05], [-1, 0, 0.5]]
    maps[1, 0] = [[-0.3, 0.9, -0.9], [-1, -0.7, -0.05]]
    # 1 and -0.3 contradict each other; 0.05 and -0.05 are less than a tenth of the largest value.
    expected = np.array([[[1, 0, 0], [0, 0, 0]]], bool)
    np.testing.assert_array_equal(sign_varies(maps), expected)
    np.testing.assert_array_equal(sign_varies(maps[::-1]), expected)
    assert not sign_varies(maps[:1]).any()
    both = np.concatenate([maps, 100 * maps], axis=1)  # each image has a largest value of its own
    np.testing.assert_array_equal(sign_varies(both), np.repeat(expected, 2, axis=0))


def test_signs_are_compared_at_the_recommended_window_and_shape() -> None:
    """A linear network and an image of ones: over 0 the signs are those of the weights, over 2 the opposite."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    over = [0.0, 2.0]
    found = mask_study(
        net, torch.ones(1, 1, 8, 8), target=0, windows=[1, 2], shapes=["rectangle"], baselines=over, n_steps=4
    )
    assert found.baselines == ("0.0", "2.0") * 2
    window = found.windows[found.recommended]
    first, second = (found.maps[s, 0] for s in range(4) if found.windows[s] == window)
    np.testing.assert_allclose(first, -second, rtol=0, atol=1e-5)
    large = np.abs(first) > 0.1 * np.abs(first).max()
    np.testing.assert_array_equal(found.sign_varies[0], large)
    assert found.sign_varies.mean() > 0.5


# What can be given


def test_baselines_may_be_images_and_a_folder_may_hold_a_broken_one(tiny: Model, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "1.png").write_bytes(b"not an image")
    black = np.zeros((16, 16, 3), np.uint8)
    found = mask_study(
        tiny,
        str(tmp_path),
        target=[0, 1, 2],
        windows=[8],
        shapes=["rectangle"],
        baselines=[black, 0.0, "mean"],
        n_steps=2,
    )
    assert found.baselines == ("image", "0.0", "mean")
    assert found.targets == ("a", "c")
    assert "1.png" in found.provenance.skipped[0]
    assert found.n_masks.tolist() == [9] * 3
    np.testing.assert_allclose(found.maps[0], found.maps[1], rtol=0, atol=1e-5)


def test_several_images_as_baselines_are_told_apart(tiny: Model) -> None:
    x = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    black, white = np.zeros((16, 16, 3), np.uint8), np.full((16, 16, 3), 255, np.uint8)
    found = mask_study(
        tiny, x, target=1, windows=[8], shapes=["rectangle"], baselines=[black, "mean", white], n_steps=2
    )
    assert found.baselines == ("image 1", "mean", "image 3")
    assert "no other window within" in found.reason


def test_superpixels_have_no_stride_and_are_counted(tiny: Model) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    found = mask_study(tiny, picture, windows=[4, 8], shapes=["superpixel"], baselines=["mean"], n_steps=2)
    for s, window in enumerate(found.windows):
        seen: list[int] = []
        occlusion(
            tiny, picture, window=window, shape="superpixel", progress=lambda done, _, seen=seen: seen.append(done)
        )
        assert found.n_masks[s] == seen[-1]


def test_progress_counts_settings_and_the_evaluation(tiny: Model) -> None:
    seen: list[tuple[int, int]] = []
    mask_study(tiny, torch.randn(1, 3, 16, 16), n_steps=2, progress=lambda *step: seen.append(step), **SMALL)
    assert seen == [(n, 9) for n in range(1, 10)]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"windows": []}, ParameterError, "expected a list of at least one"),
        ({"shapes": []}, ParameterError, "expected a list of at least one"),
        ({"baselines": []}, ParameterError, "expected a list of at least one"),
        ({"shapes": "rectangle"}, ParameterError, "expected a list"),
        ({"baselines": "mean"}, ParameterError, "expected a list"),
        ({"windows": [17]}, ParameterError, "larger than the image"),
        ({"shapes": ["star"]}, ParameterError, "shape='star'"),
        ({"baselines": ["men"]}, ParameterError, "baseline='men'"),
        ({"engine": "warp"}, ParameterError, "engine='warp'"),
        ({"n_steps": 1}, ParameterError, "n_steps=1"),
        ({"seed": -1}, ParameterError, "seed=-1"),
        ({"target": 3}, TargetError, "classes 0 to 2"),
    ],
)
def test_bad_arguments_are_refused(
    tiny: Model, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        mask_study(tiny, torch.zeros(1, 3, 16, 16), **{**SMALL, "n_steps": 2, **options})


def test_a_result_shows_saves_and_draws_itself(tiny: Model, tmp_path: Path) -> None:
    found = mask_study(tiny, torch.randn(2, 3, 16, 16), target=1, n_steps=2, **SMALL)
    heading, *rows = found.rows()
    assert heading[0] == "setting"
    assert len(rows) == 8
    assert rows[0][1:3] == tuple(f"{v[found.recommended].mean():.3f}" for v in (found.insertion, found.deletion))
    assert found.reason in repr(found)
    back = MaskStudy.load(found.save(tmp_path / "found"))
    np.testing.assert_array_equal(back.maps, found.maps)
    np.testing.assert_array_equal(back.sign_varies, found.sign_varies)
    assert (back.rows(), back.recommended, back.reason) == (found.rows(), found.recommended, found.reason)
    assert (tmp_path / "found" / "picture.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("windows", "alike", "window", "words"),
    [
        ([16, 24, 32], [0.9, 1.0, 0.7], 24, "stable from 16 to 24 px (rank correlation at least 0.8)"),
        ([32, 16, 24], [0.7, 0.9, 1.0], 24, "stable from 16 to 24 px (rank correlation at least 0.8)"),
        ([16, 24, 32], [0.7, 1.0, 0.7], 24, "not stable: windows of 16 and 32 px give other maps"),
        ([16, 64], [0.9, 1.0], 64, "stability not known: no other window within 2 times its side"),
        ([24], [1.0], 24, "stability not known: no other window within 2 times its side"),
    ],
)
def test_stability_in_words(windows: list[int], alike: list[float], window: int, words: str) -> None:
    assert stability(windows, np.array(alike), window) == words


def test_ctrl_c_leaves_a_study_of_the_windows_that_were_done(tiny: Model) -> None:
    images = torch.randn(1, 3, 12, 12)

    def stop(done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"shapes": ["rectangle", "ellipse"], "baselines": ["mean", 0.5]}
    with pytest.raises(Interrupted) as caught:
        mask_study(tiny, images, windows=[2, 4, 6], **options, progress=stop)
    found = caught.value.result
    expected = mask_study(tiny, images, windows=[2], **options)
    assert found.provenance.parameters["windows"] == (2,)
    np.testing.assert_array_equal(found.maps, expected.maps)
    np.testing.assert_array_equal(found.insertion, expected.insertion)
    with pytest.raises(KeyboardInterrupt) as early:
        mask_study(tiny, images, windows=[2, 4], **options, progress=lambda done, total: stop(5, 5))
    assert not isinstance(early.value, Interrupted)


def test_an_interrupt_while_measuring_leaves_the_images_before_it(
    tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, options = (
        torch.randn(3, 3, 12, 12),
        {"windows": [2, 4], "shapes": ["rectangle"], "baselines": ["mean"]},
    )
    whole = mask_study(tiny, images, **options)
    measured: list[int] = []
    measure = Measuring.measure

    def stop(self: Measuring, image: Any) -> None:
        if len(measured) == 2:
            raise KeyboardInterrupt
        measured.append(1)
        measure(self, image)

    monkeypatch.setattr(Measuring, "measure", stop)
    with pytest.raises(Interrupted) as caught:
        mask_study(tiny, images, **options)
    found = caught.value.result
    assert isinstance(found, MaskStudy)
    assert found.names == whole.names[:2]
    np.testing.assert_array_equal(found.maps, whole.maps[:, :2])
    np.testing.assert_array_equal(found.deletion, whole.deletion[:, :2])
    found.save(tmp_path / "part")
