"""Baselines by name, and the notes on where one misleads: borders of another color, signs that turn around."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from convscope import (
    ATTRIBUTIONS,
    Model,
    ParameterError,
    Several,
    integrated_gradients,
    lime,
    mask_study,
    occlusion,
)
from convscope.perturbation import NAMED, baseline_of, hiding
from convscope.perturbation.borders import background
from convscope.perturbation.signs import SIGNS, n_turned, other_baseline, strongest
from convscope.results import Remark

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
BORDER = "a single color, unlike the baseline"


def colors(size: int = 16, **known: Any) -> Model:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    return Model(net, **({"input_size": (size, size), "mean": MEAN, "std": STD} | known))


def digit() -> np.ndarray:
    """A white seven on black, (16, 16), from 0 to 1."""
    x = np.zeros((16, 16), np.float32)
    x[3, 4:12] = 1
    for row in range(4, 13):
        x[row, 11 - row // 2] = 1
    return x


def ink_counter(strokes: np.ndarray) -> Model:
    """Ink where the strokes are counts for the class, ink anywhere else three times against it."""
    linear = nn.Linear(256, 2)
    weights = torch.from_numpy(np.where(strokes > 0, 1.0, -3.0).astype(np.float32)).flatten()
    with torch.no_grad():
        linear.weight.copy_(torch.stack([weights, -weights]) / 2)  # of normalized pixels, which are twice as large
        linear.bias.zero_()
    return Model(nn.Sequential(nn.Flatten(), linear), input_size=(16, 16), mean=[0.5], std=[0.5])


def picture(gray: np.ndarray) -> np.ndarray:
    return np.round(255 * gray).astype(np.uint8)[:, :, None]


def notes_of(found: Any, about: str) -> list[str]:
    return [note for note in found.provenance.notes if about in note]


# Black and white


@pytest.mark.parametrize(("name", "value"), [("black", 0.0), ("white", 1.0)])
def test_black_and_white_are_pixel_values_for_pictures_and_tensors_alike(name: str, value: float) -> None:
    model = colors()
    image = torch.randn(3, 16, 16)
    expected = torch.tensor([(value - m) / s for m, s in zip(MEAN, STD, strict=True)])[:, None, None]
    for preprocessed in (True, False):
        found = baseline_of(model, name, preprocessed=preprocessed, seed=0)(image)
        torch.testing.assert_close(found, expected.expand(3, 16, 16))
    pixels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    by_name, by_number = (occlusion(model, pixels, target=1, baseline=b, window=8) for b in (name, value))
    np.testing.assert_array_equal(by_name.values, by_number.values)
    assert by_name.provenance.parameters["baseline"] == name


@pytest.mark.parametrize("name", ["black", "white"])
def test_black_is_not_known_where_the_preprocessing_is_not(name: str) -> None:
    with pytest.raises(
        ParameterError, match=f"and {name} depends on it; give a number in normalized units, or wrap"
    ):
        occlusion(colors().module, torch.randn(1, 3, 16, 16), baseline=name)


def test_a_wrong_name_is_answered_with_all_right_ones() -> None:
    with pytest.raises(ParameterError) as caught:
        baseline_of(colors(), "blak", preprocessed=True, seed=0)
    assert all(repr(name) in str(caught.value) for name in NAMED)
    assert {"mean", "blur", "noise", "black", "white"} == set(NAMED)


@pytest.mark.parametrize(
    "method", [name for name, m in ATTRIBUTIONS.items() if "baseline" in inspect.signature(m).parameters]
)
def test_every_method_takes_every_name_and_says_so(method: str) -> None:
    model, pixels = colors(), np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    few = {"rise": {"n_masks": 8, "cells": 2}, "lime": {"n_samples": 8}, "kernel_shap": {"n_samples": 64}}
    fast = few.get(method, {"n_steps": 3} if method == "integrated_gradients" else {})
    for name in NAMED:
        found = ATTRIBUTIONS[method](model, pixels, baseline=name, target=0, **fast)
        assert found.provenance.parameters["baseline"] == name
        assert f'"{name}"' in (inspect.getdoc(ATTRIBUTIONS[method]) or "")
        assert not notes_of(found, BORDER)
    black = np.zeros((16, 16, 3), np.uint8)
    black[5:11, 5:11] = 200
    assert notes_of(ATTRIBUTIONS[method](model, black, target=0, **fast), BORDER)
    assert not notes_of(ATTRIBUTIONS[method](model, black, baseline="black", target=0, **fast), BORDER)


def test_the_study_takes_them_too() -> None:
    options: dict[str, Any] = {"windows": [2, 4], "shapes": ["rectangle"], "baselines": ["black", "mean"]}
    found = mask_study(ink_counter(digit()), picture(digit()), target=0, n_steps=4, **options)
    assert found.baselines == ("black", "mean") * 2
    assert len(notes_of(found, BORDER)) == 1  # the same for both windows


# The border


def test_gray_windows_turn_the_map_of_a_white_digit_around_and_a_note_says_what_to_take() -> None:
    """Of a linear network the map is known: what each pixel adds. Over gray the background adds most."""
    model, x = ink_counter(digit()), digit()
    options: dict[str, Any] = {"target": 0, "window": 1}
    gray, black = (occlusion(model, picture(x), baseline=b, **options) for b in ("mean", "black"))
    np.testing.assert_allclose(black.values[0], x, rtol=0, atol=1e-4)  # scores of up to 750 in float32
    np.testing.assert_allclose(gray.values[0], np.where(x > 0, 0.5, 1.5), rtol=0, atol=1e-4)
    assert stats.spearmanr(gray.values[0].round(2).ravel(), x.ravel()).statistic == pytest.approx(-1)
    assert notes_of(gray, BORDER) == [
        "the border of the image has a single color, unlike the baseline 'mean', which looks like an object "
        "there; baseline='black' is nearer"
    ]
    assert not notes_of(black, BORDER)


def test_the_note_counts_the_images() -> None:
    rng = np.random.default_rng(0)
    varied = rng.random((16, 16)).astype(np.float32)
    images = [picture(digit()), picture(varied), picture(digit()), picture(digit())]
    found = occlusion(ink_counter(digit()), images, target=0, window=8)
    (note,) = notes_of(found, BORDER)
    assert note.startswith("the border of 3 of 4 images has a single color, unlike the baseline 'mean'")
    several = integrated_gradients(
        ink_counter(digit()), images, target=0, n_steps=2, baseline=["mean", "black", "white"]
    )
    assert [note.split("baseline ")[1][:7] for note in notes_of(several, BORDER)] == ["'mean',", "'white'"]
    both = [picture(digit()), picture(1 - digit())]
    (mixed,) = notes_of(occlusion(ink_counter(digit()), both, target=0, window=8), BORDER)
    assert mixed.endswith("baseline='blur' is nearer")  # no name is near to black and to white


def test_photos_with_a_varied_border_have_no_note(cat: np.ndarray, coffee: np.ndarray) -> None:
    model = colors(64)
    for photo in (cat, coffee):
        x = next(model.inputs(photo).batches(1)).x[0]
        for name in NAMED:
            behind = baseline_of(model, name, preprocessed=False, seed=0)(x)
            assert background(x, behind, model.preprocessing) is None


@pytest.mark.parametrize(
    ("share", "spread", "is_one"), [(1.0, 0.04, True), (0.92, 0.0, True), (0.85, 0.0, False), (1.0, 0.2, False)]
)
def test_most_of_the_border_has_to_be_near_its_median(share: float, spread: float, is_one: bool) -> None:
    """A ring of 2 of 64 pixels: 496 of them."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((1, 64, 64), generator=generator)
    ring = torch.ones(64, 64, dtype=torch.bool)
    ring[2:-2, 2:-2] = False
    n = int(ring.sum())
    colored = torch.full((n,), 0.1) + spread * (torch.arange(n) / n - 0.5)
    others = torch.randperm(n, generator=generator)[: round((1 - share) * n)]
    colored[others] = 0.9
    x[0, ring] = colored
    model = Model(nn.Flatten(), input_size=(64, 64), mean=[0.0], std=[1.0])
    color = background(x, torch.full_like(x, 0.5), model.preprocessing)
    assert (color is not None) is is_one
    assert background(x, torch.full_like(x, 0.15), model.preprocessing) is None  # not far from it


def test_without_preprocessing_the_range_of_the_image_counts_and_a_number_is_named() -> None:
    x = torch.from_numpy(digit())[None, None] * 4 - 1.25  # black is -1.25
    notes: list[str] = []
    hide = hiding(Model(nn.Flatten()), "mean", preprocessed=True, seed=0, notes=notes)
    hide(x[0])
    assert notes[0].endswith(
        "unlike the baseline 'mean', which looks like an object there; baseline=-1.25 is nearer"
    )
    assert background(x[0], torch.full_like(x[0], -1.0), None) is None  # 0.06 of the range
    assert (
        background(torch.full((1, 9, 9), 3.0), torch.zeros(1, 9, 9), None) is None
    )  # nothing to tell a border by
    colored = torch.zeros(3, 16, 16) + torch.tensor([0.0, 1.0, 0.0])[:, None, None]
    colored[:, 6:9, 6:9] = 0.5
    hiding(Model(nn.Flatten()), -3.0, preprocessed=True, seed=0, notes=notes)(colored)
    assert notes[1].endswith(
        "unlike the baseline -3.0, which looks like an object there; baseline='blur' is nearer"
    )


def test_other_remarks_stay_beside_the_note_on_the_border() -> None:
    found = lime(ink_counter(digit()), picture(digit()), target=0, n_samples=2, baseline="mean")
    assert notes_of(found, BORDER)
    remarks = ["the method's own"]
    first, second = Remark(remarks), Remark(remarks)
    first.say("1")
    second.say("2")
    first.say("3")
    assert remarks == ["the method's own", "3", "2"]


# The sign


def dim_spots(value: float) -> np.ndarray:
    """Eight spots, brighter than what is around them, on ground whose border is varied; (16, 16) from 0 to 1."""
    x = np.full((16, 16), 0.1, np.float32)
    x[[0, -1]], x[:, [0, -1]] = np.linspace(0, 1, 16), np.linspace(0, 1, 16)[:, None]
    x[4:13:8, 3:13:3] = value
    return x


def spot_counter() -> Model:
    """The score is the sum of the spots, in normalized units."""
    linear = nn.Linear(256, 2)
    places = torch.zeros(16, 16)
    places[4:13:8, 3:13:3] = 1
    with torch.no_grad():
        linear.weight.copy_(torch.stack([places.flatten(), -places.flatten()]))
        linear.bias.zero_()
    return Model(nn.Sequential(nn.Flatten(), linear), input_size=(16, 16), mean=[0.5], std=[0.5])


def test_a_sign_that_hangs_on_the_baseline_is_noted() -> None:
    """Spots of 0.3 are darker than the mean image of 0.5, and brighter than the blurred one."""
    found = occlusion(spot_counter(), picture(dim_spots(0.3)), target=0, window=1)
    assert notes_of(found, SIGNS) == [
        f"{SIGNS}: 8 of the 8 masks that change the score most have the other sign with 'blur'"
    ]
    assert not notes_of(found, BORDER)
    bright = occlusion(spot_counter(), picture(dim_spots(0.9)), target=0, window=1)
    assert not notes_of(bright, SIGNS)
    blurred = occlusion(spot_counter(), picture(dim_spots(0.3)), target=0, window=1, baseline="blur")
    assert notes_of(blurred, SIGNS)[0].endswith("have the other sign with 'mean'")
    images = [picture(dim_spots(v)) for v in (0.9, 0.3, 0.9)]
    assert notes_of(occlusion(spot_counter(), images, target=0, window=1), SIGNS) == [
        f"{SIGNS}: in 1 of 3 maps a quarter or more of the 8 masks that change the score most have the other sign "
        "with 'blur'"
    ]
    several = occlusion(spot_counter(), picture(dim_spots(0.3)), target=Several(0, 1), window=1)
    assert notes_of(several, SIGNS)[0].startswith(f"{SIGNS}: in 2 of 2 maps")


def test_a_mask_study_has_a_map_of_signs_and_no_note() -> None:
    options: dict[str, Any] = {"windows": [1], "shapes": ["rectangle"], "baselines": ["mean", "blur"]}
    found = mask_study(spot_counter(), picture(dim_spots(0.3)), target=0, n_steps=2, **options)
    assert found.sign_varies[0].sum() == 8
    assert not notes_of(found, SIGNS)


def test_looking_at_signs_costs_eight_images_and_changes_no_value() -> None:
    model, x = spot_counter(), torch.from_numpy(dim_spots(0.3))[None, None] * 2 - 1
    seen: list[int] = []
    handle = model.module.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    zeros = torch.zeros(1, 16, 16)
    steps: list[tuple[int, int]] = []
    counts, values = [], []
    occlusion(model, x, target=0, window=4)  # what is found out once about a network
    for baseline in (zeros, "mean"):  # the same pixels; an image has no sign check
        seen.clear()
        found = occlusion(
            model, x, target=0, window=4, baseline=baseline, engine="dense", progress=lambda *s: steps.append(s)
        )
        counts.append(sum(seen))
        values.append(found.values)
    handle.remove()
    assert counts[1] - counts[0] == 8
    np.testing.assert_array_equal(*values)
    assert {total for _, total in steps} == {49}
    assert other_baseline(zeros) is None
    assert other_baseline("photo.png") is None
    assert [other_baseline(b) for b in ("mean", "blur", 0.5)] == ["blur", "mean", "blur"]


def test_slight_values_have_no_sign() -> None:
    drops = torch.tensor([10.0, -5.0, 2.0, 0.9])
    assert n_turned(drops, torch.tensor([-1.1, -5.0, 2.0, -9.0])) == 1  # the last is itself slight
    assert n_turned(drops, torch.tensor([-0.9, 1.1, -1.1, 1.0])) == 2
    assert n_turned(torch.zeros(3), torch.ones(3)) == 0
    assert strongest(torch.tensor([1.0, -3.0, 2.0])).tolist() == [1, 2, 0]
    assert len(strongest(torch.randn(50))) == 8
