"""Occlusion by windows of several sizes: against occlusion by each of them, and deletion and insertion by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.oracles.curves import area
from tests.oracles.curves import curves as slow_curves
from torch import nn

from convscope import Attribution, ParameterError, Several, occlusion, occlusion_multiscale
from convscope.models import Model
from convscope.perturbation import ranks


def test_several_windows_are_averaged_each_by_its_share_of_the_image(tiny: Model) -> None:
    x = torch.randn(2, 3, 16, 16)
    sizes: list[int | tuple[int, int]] = [4, (8, 2), 16]
    found = occlusion_multiscale(tiny, x, target=[0, 2], windows=sizes, baseline="blur")
    single = [occlusion(tiny, x, target=[0, 2], window=size, baseline="blur").values for size in sizes]
    shares = [16 / 256, 16 / 256, 1.0]
    expected = sum(values / share for values, share in zip(single, shares, strict=True)) / 3
    np.testing.assert_allclose(found.values, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert list(found.layers) == ["window 4 x 4", "window 8 x 2", "window 16 x 16"]
    for layer, values in zip(found.layers.values(), single, strict=True):
        np.testing.assert_allclose(layer, values, rtol=0, atol=1e-6)
    one = occlusion_multiscale(tiny, x, target=[0, 2], windows=[8, (8, 8)])
    expected = 4 * occlusion(tiny, x, target=[0, 2], window=8).values
    np.testing.assert_allclose(one.values, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
    assert list(one.layers) == ["window 8 x 8"]


def test_several_windows_of_several_targets_are_saved_and_loaded(tiny: Model, tmp_path: Path) -> None:
    x = torch.randn(2, 3, 16, 16)
    found = occlusion_multiscale(tiny, x, target=Several("a", "c"), windows=[4, 8])
    for t, name in enumerate("ac"):
        alone = occlusion_multiscale(tiny, x, target=name, windows=[4, 8])
        for layer in ("window 4 x 4", "window 8 x 8"):
            np.testing.assert_allclose(found.layers[layer][t::2], alone.layers[layer], rtol=0, atol=1e-6)
    back = Attribution.load(found.save(tmp_path / "found"))
    assert list(back.layers) == list(found.layers)
    for name, layer in found.layers.items():
        np.testing.assert_array_equal(back.layers[name], layer)


def slow_best(model: Model, x: torch.Tensor, target: int, windows: list[int]) -> tuple[int, np.ndarray]:
    """Of one image: the window whose map has the largest insertion minus deletion, and the map."""

    def score(image: torch.Tensor) -> float:
        with torch.no_grad():
            return float(model.module(image[None])[0, target])

    found = []
    for window in windows:
        values = occlusion(model, x[None], target=target, window=window).values[0]
        deletion, insertion = slow_curves(score, x, torch.zeros_like(x), ranks(values), 12)
        found.append((area(insertion) - area(deletion), window, values))
    _, window, values = max(found, key=lambda one: one[0])
    return window, values


class Detector(nn.Module):
    """Finds a pattern of 6 x 6 pixels, and does not mind that a few of them are missing; sums up the rest."""

    def __init__(self, pattern: torch.Tensor) -> None:
        super().__init__()
        self.find = nn.Conv2d(1, 1, 6, bias=False)
        self.find.weight.data[0, 0] = pattern
        self.sum = nn.Linear(256, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.find(x).amax(dim=(2, 3)).clamp(16, 30) + self.sum(x.flatten(1))


def test_auto_takes_the_window_with_the_largest_insertion_minus_deletion() -> None:
    pattern = torch.sign(torch.randn(6, 6))
    model, x = Model(Detector(pattern)), 0.2 * torch.randn(4, 1, 16, 16)
    x[1, 0, 5:11, 3:9] = x[3, 0, 8:14, 9:15] = pattern
    found = occlusion_multiscale(model, x, target=1, windows="auto")
    expected = [slow_best(model, image, 1, [1, 2, 3, 5]) for image in x]
    assert found.provenance.measured["windows"] == [window for window, _ in expected]
    assert len(set(found.provenance.measured["windows"])) > 1
    for values, (_, best) in zip(found.values, expected, strict=True):
        np.testing.assert_allclose(values, best, rtol=0, atol=1e-6)
    assert found.provenance.parameters["windows"] == "auto"
    for i in range(4):
        alone = occlusion_multiscale(model, x[i : i + 1], target=1, windows="auto")
        np.testing.assert_allclose(alone.values[0], found.values[i], rtol=0, atol=1e-6)
        assert alone.provenance.measured["windows"] == found.provenance.measured["windows"][i : i + 1]


def test_auto_counts_deletion_as_much_as_insertion() -> None:
    torch.manual_seed(28)  # the window with the largest insertion is not the one with the largest difference
    net = nn.Sequential(
        nn.Conv2d(1, 4, 5),
        nn.ReLU(),
        nn.MaxPool2d(3),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 2),
    )
    x = 3 * torch.randn(1, 16, 16)
    found = occlusion_multiscale(net, x[None], target=1, windows="auto")
    assert found.provenance.measured["windows"] == [slow_best(Model(net), x, 1, [1, 2, 3, 5])[0]]


def test_auto_of_several_targets_takes_the_best_for_all_of_them() -> None:
    """The first target would have the smallest window; the second has larger scores and would have another."""

    class Both(Detector):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.sum(x.flatten(1))[:, :1], super().forward(x)[:, 1:]], dim=1)

    pattern = torch.sign(torch.randn(6, 6))
    model, x = Model(Both(pattern)), 0.2 * torch.randn(1, 1, 16, 16)
    x[0, 0, 5:11, 3:9] = pattern
    found = occlusion_multiscale(model, x, target=Several(0, 1), windows="auto")
    (window,) = found.provenance.measured["windows"]
    alone = [slow_best(model, x[0], target, [1, 2, 3, 5]) for target in (0, 1)]
    assert [best for best, _ in alone] == [1, window]
    for t in (0, 1):
        plain = occlusion(model, x, target=t, window=window).values[0]
        np.testing.assert_allclose(found.values[t], plain, rtol=0, atol=1e-6)


def test_auto_works_with_other_shapes_and_refuses_masks_of_ones_own(tiny: Model) -> None:
    x = torch.randn(1, 3, 16, 16)
    for shape in ("ellipse", "superpixel"):
        found = occlusion_multiscale(tiny, x, target=1, windows="auto", shape=shape)
        (window,) = found.provenance.measured["windows"]
        plain = occlusion(tiny, x, target=1, window=window, shape=shape)
        np.testing.assert_allclose(found.values, plain.values, rtol=0, atol=1e-6)
    with pytest.raises(ParameterError, match=r"shape=.*: expected 'rectangle', 'ellipse' or 'superpixel'"):
        occlusion_multiscale(tiny, x, shape=np.ones((1, 16, 16), bool))  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="expected 'auto' or one size at least"):
        occlusion_multiscale(tiny, x, windows=[])
    with pytest.raises(ParameterError, match="larger than the image"):
        occlusion_multiscale(tiny, x, windows=[4, 17])


def test_progress_counts_the_windows_of_all_sizes_and_the_curves(tiny: Model) -> None:
    seen: list[tuple[int, int]] = []
    x = torch.randn(2, 3, 16, 16)
    occlusion_multiscale(tiny, x, windows=[8, 16], progress=lambda *step: seen.append(step))
    assert seen[-1] == (2 * (9 + 1), 2 * (9 + 1))
    occlusion_multiscale(tiny, x, progress=lambda *step: seen.append(step))
    n_windows, n_of_curves = 16**2 + 15**2 + 14**2 + 7**2, 1 + 1 + 2 * 4 * 11
    assert seen[-1] == (2 * (n_windows + n_of_curves), 2 * (n_windows + n_of_curves))


def test_a_result_tells_how_to_make_it_again(tiny: Model) -> None:
    x = torch.randn(1, 3, 16, 16)
    found = occlusion_multiscale(
        tiny, x, target=1, windows=[4, (8, 2)], stride=2, shape="ellipse", baseline="blur"
    )
    about = dict(found.provenance.parameters)
    assert about["windows"] == [(4, 4), (8, 2)]
    again = occlusion_multiscale(tiny, x, **{name: value for name, value in about.items() if value is not None})
    np.testing.assert_array_equal(again.values, found.values)
