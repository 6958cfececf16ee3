"""Occlusion: the stated convention, against hand-made values, a double loop, and Captum."""

from __future__ import annotations

import captum.attr
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.conftest import tiny_network
from tests.oracles.occlusion import occlusion as by_definition
from torch import nn

from convscope import Interrupted, ParameterError, TargetError, occlusion
from convscope.models import Model
from convscope.perturbation import masks


class OneConv(nn.Module):
    """Captum's test network, see the oracle values below."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(1, 2, 3), nn.Linear(8, 4)
        with torch.no_grad():
            self.conv.weight.fill_(1.0)
            self.conv.bias.copy_(torch.tensor([-50.0, -75.0]))
            self.linear.weight.copy_(torch.cat([torch.ones(4, 5), -torch.ones(4, 3)], dim=1))
            self.linear.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.linear(torch.relu(self.conv(x)).view(-1, 8)))


def sum_network(weights: torch.Tensor) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(weights.numel(), 1, bias=False))
    with torch.no_grad():
        net[1].weight.copy_(weights.reshape(1, -1))
    return net


def test_quadrants_of_captums_test_network() -> None:
    found = occlusion(OneConv(), torch.arange(16.0).reshape(1, 1, 4, 4), target=0, window=2, stride=2)
    assert found.scores.tolist() == [54.0]
    assert found.values[0, ::2, ::2].tolist() == [[7.0, 4.0], [36.0, 47.0]]
    assert np.array_equal(found.values[0], np.kron(found.values[0, ::2, ::2], np.ones((2, 2))))


def test_overlapping_windows_are_averaged() -> None:
    x = torch.zeros(1, 1, 5, 5)
    x[0, 0, 1, 1] = x[0, 0, 3, 3] = 1
    values = occlusion(sum_network(torch.full((25,), 3.0)), x, window=3, stride=1).values[0]
    assert values[0, 0] == 3.0
    assert values[1, 1] == 3.75
    assert values[2, 2] == pytest.approx(8 / 3, abs=1e-6)


def test_one_pixel_windows_on_a_linear_network_give_w_times_x_minus_b() -> None:
    w, x = torch.randn(6, 7), torch.randn(1, 1, 6, 7)
    values = occlusion(sum_network(w), x, window=1, baseline=0.25).values
    torch.testing.assert_close(torch.tensor(values[0]), w * (x[0, 0] - 0.25), rtol=0, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_equals_the_definition(data: st.DataObject) -> None:
    size = (data.draw(st.integers(3, 9), "height"), data.draw(st.integers(3, 9), "width"))
    window = tuple(data.draw(st.integers(1, n), "window") for n in size)
    stride = tuple(data.draw(st.integers(1, n), "stride") for n in window)
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 9), "seed"))
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(3 * size[0] * size[1], 2)
    )
    image = torch.randn(1, 2, *size, generator=generator)
    filler = torch.randn(1, 2, *size, generator=generator)

    def score(x: torch.Tensor) -> float:
        with torch.no_grad():
            return float(net(x[None])[0, 1])

    expected = by_definition(score, image[0], window, stride, filler[0])
    found = occlusion(net, image, target=1, window=window, stride=stride, baseline=filler).values[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("window", "stride"), [((60, 60), (40, 40)), ((50, 61), (37, 29))])
@pytest.mark.slow
def test_equals_captum_on_a_real_network(
    lite0: Model, cat: np.ndarray, window: tuple[int, int], stride: tuple[int, int]
) -> None:
    x = next(lite0.batches(lite0.inputs(cat))).x
    peer = captum.attr.Occlusion(lite0.module).attribute(
        x, (3, *window), strides=(3, *stride), target=282, baselines=0, perturbations_per_eval=8
    )
    ours = occlusion(lite0, cat, target="tiger cat", window=window, stride=stride)
    score_range = float(ours.values.max() - ours.values.min())
    np.testing.assert_allclose(ours.values[0], peer[0, 0].detach().numpy(), rtol=0, atol=1e-4 * score_range)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.data())
def test_windows_cover_every_pixel_and_none_is_superfluous(length: int, data: st.DataObject) -> None:
    window = data.draw(st.integers(1, length))
    stride = data.draw(st.integers(1, window))
    tops = masks.starts(length, window, stride)
    covered = {p for top in tops for p in range(top, min(top + window, length))}
    assert covered == set(range(length))
    assert tops == [i * stride for i in range(len(tops))]
    assert len(tops) == 1 or tops[-2] + window < length


def test_counts_of_windows_on_a_224_image() -> None:
    counts = {
        (window, stride): len(masks.windows((224, 224), (window, window), (stride, stride)))
        for window, stride in ((16, 4), (16, 8), (32, 16))
    }
    assert counts == {(16, 4): 2809, (16, 8): 729, (32, 16): 169}


def test_a_window_as_large_as_the_image_gives_a_flat_map(tiny: Model) -> None:
    x = torch.randn(1, 3, 16, 16)
    found = occlusion(tiny, x, target=0, window=16)
    with torch.no_grad():
        drop = tiny.module(x)[0, 0] - tiny.module(torch.zeros_like(x))[0, 0]
    np.testing.assert_allclose(found.values, float(drop), rtol=0, atol=1e-5)


def test_a_constant_network_gives_zeros() -> None:
    found = occlusion(sum_network(torch.zeros(64)), torch.randn(1, 1, 8, 8), window=4)
    assert not found.values.any()


def test_an_ellipse_is_the_one_inscribed_in_its_window() -> None:
    ellipse = masks.windows((6, 10), (6, 10), (6, 10), shape="ellipse").some(np.arange(1))[0].numpy()
    y, x = np.mgrid[0:6, 0:10] + 0.5
    assert np.array_equal(ellipse, ((y - 3) / 3) ** 2 + ((x - 5) / 5) ** 2 <= 1)
    assert np.array_equal(ellipse, ellipse[::-1, ::-1])


def test_superpixels_hide_every_pixel_once(lite0: Model, cat: np.ndarray) -> None:
    pixels = lite0.to_pixels(next(lite0.batches(lite0.inputs(cat))).x)[0]
    found = masks.superpixels(pixels, (56, 56))
    cover = found.some(np.arange(len(found))).sum(dim=0)
    assert (cover == 1).all()
    assert 8 <= len(found) <= 32


def test_masks_of_ones_own_and_uncovered_pixels() -> None:
    w, x = torch.randn(4, 4), torch.ones(1, 1, 4, 4)
    own = np.zeros((2, 4, 4), bool)
    own[0, 0, :2], own[1, 0, 1:3] = True, True
    values = occlusion(sum_network(w), x, shape=own).values[0]
    first, second = float(w[0, :2].sum()), float(w[0, 1:3].sum())
    np.testing.assert_allclose(values[0], [first, (first + second) / 2, second, 0], rtol=0, atol=1e-6)
    assert not values[1:].any()


def test_baselines_in_the_units_of_the_image(tiny: Model) -> None:
    picture = np.full((16, 16, 3), 255, np.uint8)
    whole = np.ones((1, 16, 16), bool)

    def drop(baseline: object) -> float:
        return float(occlusion(tiny, picture, target=1, shape=whole, baseline=baseline).values[0, 0, 0])

    with torch.no_grad():
        scores = {
            v: float(tiny.module(torch.full((1, 3, 16, 16), (v - 0.5) / 0.25))[0, 1]) for v in (0.0, 0.5, 1.0)
        }
    assert drop("mean") == pytest.approx(scores[1.0] - scores[0.5], abs=1e-5)
    assert drop(0) == pytest.approx(scores[1.0] - scores[0.0], abs=1e-5)
    assert drop(1.0) == pytest.approx(0, abs=1e-5)
    assert drop(np.zeros((16, 16, 3), np.uint8)) == pytest.approx(drop(0), abs=1e-5)
    assert drop("blur") == pytest.approx(0, abs=1e-5)  # a uniform picture has nothing to blur
    assert drop("noise") == pytest.approx(0, abs=1e-5)  # nor a range to draw noise from


def test_noise_depends_on_the_seed_alone(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    one, same, other = (occlusion(tiny, x, window=8, baseline="noise", seed=s).values for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_planted_patch_is_found() -> None:
    """A network that looks for one pattern, and a picture that has it in one place."""
    pattern = torch.tensor([[1.0, -1, 1], [-1, 1, -1], [1, -1, 1]])
    detector = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten())
    with torch.no_grad():
        detector[0].weight[0, 0] = pattern
        detector[0].bias[:] = -6.0
    x = 0.1 * torch.randn(1, 1, 24, 24, generator=torch.Generator().manual_seed(0))
    x[0, 0, 14:17, 5:8] = pattern
    values = occlusion(detector, x, window=4, stride=2).values[0]
    inside = np.zeros_like(values, bool)
    inside[10:21, 1:12] = True  # all that a window over the pattern can reach
    assert values[15, 6] == values.max() > 0
    assert values[inside].sum() == pytest.approx(values.sum(), abs=1e-4)


@pytest.mark.slow
def test_each_class_is_found_in_its_half_of_a_picture(lite0: Model, cat: np.ndarray, coffee: np.ndarray) -> None:
    """A cup on the left, a cat's face on the right: each score hangs on its own half."""
    picture = np.zeros((224, 224, 3), np.uint8)
    picture[:, :112] = coffee[88:312, 200:424][:, 56:168]
    picture[:, 112:] = cat[20:244, 60:284][:, 56:168]
    options = {"window": 56, "stride": 28, "score": "probability"}
    cup = occlusion(lite0, picture, target="espresso", **options).values[0]
    animal = occlusion(lite0, picture, target="tiger cat", **options).values[0]
    assert cup[:, :112].mean() > cup[:, 112:].mean()
    assert animal[:, 112:].mean() > animal[:, :112].mean()


def test_progress_counts_all_windows_of_all_images(tiny: Model) -> None:
    seen: list[tuple[int, int]] = []
    occlusion(tiny, torch.randn(3, 3, 16, 16), window=8, progress=lambda *step: seen.append(step))
    assert seen[-1] == (27, 27)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {total for _, total in seen} == {27}


def test_interrupting_keeps_the_finished_images(tiny: Model) -> None:
    def stop(done: int, total: int) -> None:
        if done > 9:
            raise KeyboardInterrupt

    x = torch.randn(3, 3, 16, 16)
    with pytest.raises(Interrupted) as caught:
        occlusion(tiny, x, window=8, progress=stop)
    assert caught.value.result.values.shape == (1, 16, 16)
    alone = occlusion(tiny, x[:1], window=8).values
    np.testing.assert_allclose(caught.value.result.values, alone, rtol=0, atol=1e-6)
    assert "interrupted after 1 of 3" in caught.value.result.provenance.notes[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": 17}, "larger than the image"),
        ({"window": 8, "stride": 9}, "would not be covered"),
        ({"window": 0}, "from 1 to 10,000"),
        ({"window": (4, 4, 4)}, "height, width"),
        ({"window": 2.5}, "expected a whole number"),
        ({"window": 8, "shape": "star"}, "shape='star'"),
        ({"shape": np.zeros((1, 8, 8), bool)}, r"expected \(M, 16, 16\)"),
        ({"shape": np.zeros((0, 16, 16), bool)}, "M at least 1"),
        ({"shape": np.zeros((1, 16, 16))}, "expected booleans"),
        ({"window": 8, "baseline": True}, "baseline=True"),
        ({"window": 8, "baseline": float("nan")}, "baseline=nan"),
        ({"window": 8, "baseline": torch.zeros(3, 4, 4)}, "a baseline of shape"),
        ({"window": 8, "baseline": "men"}, "'mean', 'blur', 'noise'"),
    ],
)
def test_bad_options_are_refused(tiny: Model, options: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        occlusion(tiny, torch.zeros(1, 3, 16, 16), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "message"),
    [(3, "classes 0 to 2"), (-1, "classes 0 to 2"), (True, "expected a class"), ([0, 1], "2 targets for 1")],
)
def test_bad_targets_are_refused(target: object, message: str) -> None:
    with pytest.raises(TargetError, match=message):
        occlusion(tiny_network(), torch.zeros(1, 3, 16, 16), target=target, window=8)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("patch", "options", "expected"),
    [
        (1, {}, ((10, 10), (5, 5))),
        (4, {}, ((8, 8), (4, 4))),  # 10 is 2.5 patches
        (8, {}, ((8, 8), (8, 8))),
        (20, {}, ((20, 20), (20, 20))),
        (4, {"window": 12}, ((12, 12), (4, 4))),
        (4, {"window": 10}, ((10, 10), (5, 5))),  # no whole patches: as it was asked
        (4, {"window": 12, "stride": 5}, ((12, 12), (5, 5))),
    ],
)
def test_windows_are_whole_patches(patch: int, options: dict[str, int], expected: object) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, patch, patch), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    found = occlusion(net, torch.randn(1, 3, 40, 40), target=0, **options).provenance.parameters  # type: ignore[arg-type]
    assert (found["window"], found["stride"]) == expected


def test_masks_may_be_views_and_tensors(tiny: Model) -> None:
    masks = np.zeros((2, 16, 16), bool)
    masks[0, :4] = masks[1, :, :8] = True
    x = torch.randn(1, 3, 16, 16)
    expected = occlusion(tiny, x, target=0, shape=masks).values
    np.testing.assert_array_equal(occlusion(tiny, x, target=0, shape=masks[::-1]).values, expected)
    np.testing.assert_array_equal(occlusion(tiny, x, target=0, shape=torch.from_numpy(masks)).values, expected)
