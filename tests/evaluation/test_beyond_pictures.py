"""Comparisons, mask studies and sanity checks of signals and volumes: against plain loops, autograd and SciPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import convscope as cs
from convscope import ParameterError
from convscope.perturbation import tried_windows
from convscope.render import figure
from convscope.render.overlays import map_scale, overlay

SIGNAL, VOLUME = (2, 24), (2, 5, 8, 8)
SHAPES = pytest.mark.parametrize("shape", [SIGNAL, VOLUME], ids=["signal", "volume"])


def network(shape: tuple[int, ...]) -> nn.Module:
    """Of 3 classes; float64, so that ranks of its maps are those of any other computation."""
    convolution = nn.Conv1d if len(shape) == 2 else nn.Conv3d
    pool = nn.AdaptiveAvgPool1d if len(shape) == 2 else nn.AdaptiveAvgPool3d
    body = [convolution(shape[0], 4, 3, padding=1), nn.Tanh(), convolution(4, 6, 3, padding=1), nn.Tanh()]
    return nn.Sequential(*body, pool(2), nn.Flatten(), nn.Linear(6 * 2 ** (len(shape) - 1), 3)).double()


def inputs(shape: tuple[int, ...], n: int) -> torch.Tensor:
    return torch.randn(n, *shape, dtype=torch.float64)


def occluded(net: nn.Module, x: torch.Tensor, target: int, window: tuple[int, ...]) -> np.ndarray:
    """Occlusion over zeros by the definition: a loop over windows, strides half of them."""
    sides = x.shape[2:]
    starts = [
        range(0, max(side - of, 0) + max(1, of // 2), max(1, of // 2))
        for side, of in zip(sides, window, strict=True)
    ]
    total, cover = np.zeros(sides), np.zeros(sides)
    with torch.no_grad():
        whole = float(net(x)[0, target])
        for corner in np.array(np.meshgrid(*starts, indexing="ij")).reshape(len(sides), -1).T:
            place = tuple(slice(int(at), int(at) + of) for at, of in zip(corner, window, strict=True))
            hidden = x.clone()
            hidden[(slice(None), slice(None), *place)] = 0
            total[place] += whole - float(net(hidden)[0, target])
            cover[place] += 1
    return total / cover


@pytest.mark.parametrize(("shape", "windows"), [(SIGNAL, [5, 8]), (VOLUME, [(2, 4, 3), 3])])
def test_a_mask_study_has_windows_of_as_many_sides(shape: tuple[int, ...], windows: list[Any]) -> None:
    net, x = network(shape), inputs(shape, 1)
    found = cs.mask_study(net, x, target=1, windows=windows, shapes=["rectangle"], baselines=["mean"], n_steps=3)
    n_sides = len(shape) - 1
    assert found.windows == tuple(windows)
    for n, window in enumerate(windows):
        sides = (window,) * n_sides if isinstance(window, int) else window
        np.testing.assert_allclose(found.maps[n, 0], occluded(net, x, 1, sides), rtol=0, atol=1e-6)
        assert found.resolution_px[n] == pytest.approx(np.prod(sides) ** (1 / n_sides))
    expected = spearmanr(found.maps[0, 0].ravel(), found.maps[1, 0].ravel()).statistic
    assert found.alike[0, 1] == pytest.approx(expected)
    assert found.sign_varies.shape == (1, *shape[1:])


@pytest.mark.slow
@SHAPES
def test_a_mask_study_tries_what_fits(shape: tuple[int, ...], tmp_path: Path) -> None:
    net, x = network(shape), inputs(shape, 2)
    found = cs.mask_study(net, x, target=1, baselines=["mean"], n_steps=2)
    n_sides = len(shape) - 1
    assert set(found.shapes) == ({"rectangle"} if n_sides == 1 else {"rectangle", "ellipse"})
    assert ("5 samples rectangle" if n_sides == 1 else "1 × 2 × 2 voxels ellipse") in repr(found)
    figure(found)
    again = cs.MaskStudy.load(found.save(tmp_path / "study"))
    assert again.windows == found.windows
    np.testing.assert_array_equal(again.maps, found.maps)
    with pytest.raises(ParameterError, match=r"superpixel.* needs pictures"):
        cs.mask_study(net, x, target=1, shapes=["superpixel"])
    with pytest.raises(ParameterError, match=r"windows=\(2, 2\)"):
        cs.mask_study(net, x, target=1, windows=[(2, 2)])


def test_windows_of_a_volume_are_shares_of_each_side() -> None:
    assert tried_windows((8, 120, 60)) == [(1, 20, 10), (2, 30, 15), (3, 40, 20)]
    assert tried_windows((1, 2, 2)) == [(1, 1, 1)]  # each once
    assert tried_windows((160,)) == [11, 17, 23, 34, 46]


def gradient(net: nn.Module, x: torch.Tensor, of: int) -> np.ndarray:
    """The largest size of the gradient over the channels, by hand."""
    leaf = x.clone().requires_grad_()
    net(leaf)[0, of].backward()
    assert leaf.grad is not None
    return leaf.grad[0].abs().amax(dim=0).numpy()


@SHAPES
def test_a_sanity_check_compares_maps_of_any_shape(shape: tuple[int, ...]) -> None:
    from skimage.metrics import structural_similarity

    net, x = network(shape), inputs(shape, 1)
    found = cs.sanity_check(net, x, "saliency", target=1)
    original = gradient(net, x, 1)
    np.testing.assert_allclose(found.maps[0], original, rtol=0, atol=1e-6)
    assert found.maps.shape == (1 + len(found.stages), *shape[1:])
    for of, measured in zip((name.split()[-1] for name in found.label_names), found.labels, strict=True):
        other = gradient(net, x, int(of))
        assert measured[0] == pytest.approx(spearmanr(original.ravel(), other.ravel()).statistic, abs=1e-6)
        one, two = ((values - values.min()) / np.ptp(values) for values in (original, other))
        side = (min(7, *shape[1:]) - 1) // 2 * 2 + 1  # an odd number
        expected = structural_similarity(one, two, data_range=1.0, win_size=side)
        assert measured[1] == pytest.approx(expected, abs=1e-4)
    for values, correlation in zip(found.maps[1:], found.cascading[:, 0], strict=True):
        expected = spearmanr(original.ravel(), values.ravel()).statistic
        assert correlation == pytest.approx(expected, abs=1e-6)
    panel = figure(found).axes[1].images[0].get_array()
    if shape is VOLUME:  # the plane of the strongest value
        depth = int(np.unravel_index(original.argmax(), original.shape)[0])
        scale = map_scale(found.maps[0], signed=False)
        np.testing.assert_array_equal(panel, overlay(found.image[depth], found.maps[0, depth], scale))


def test_a_map_of_few_cells_is_noted() -> None:
    found = cs.sanity_check(network(VOLUME), inputs(VOLUME, 1), "grad_cam", target=1, layer="4")
    assert any("2 x 2 x 2 cells" in note for note in found.provenance.notes)


def area_between(net: nn.Module, x: torch.Tensor, values: np.ndarray, target: int, n_steps: int) -> float:
    """Insertion minus deletion over zeros, of the probability, by a loop."""
    order = np.argsort(-values.ravel(), kind="stable")
    below, above = [], []
    with torch.no_grad():
        for k in range(n_steps + 1):
            first = order[: round(k / n_steps * order.size)]
            without, only = x.flatten(2).clone(), torch.zeros_like(x.flatten(2))
            only[:, :, first] = without[:, :, first]
            without[:, :, first] = 0
            below.append(float(net(without.reshape(x.shape)).softmax(1)[0, target]))
            above.append(float(net(only.reshape(x.shape)).softmax(1)[0, target]))
    return float(np.trapezoid(above, dx=1 / n_steps) - np.trapezoid(below, dx=1 / n_steps))


@SHAPES
def test_methods_are_ranked_on_signals_and_volumes(shape: tuple[int, ...]) -> None:
    net, x = network(shape), inputs(shape, 3)
    found = cs.compare(
        net, x, ["saliency", "occlusion", "lime"], target=1, n_steps=4, options={"occlusion": {"window": 3}}
    )
    assert set(found.ranking) == {"saliency", "occlusion"}
    assert len(found.left_out) == 1
    assert found.left_out[0].startswith("lime: lime needs pictures (N, C, H, W)")
    maps = {
        "saliency": [gradient(net, x[n : n + 1], 1) for n in range(3)],
        "occlusion": [occluded(net, x[n : n + 1], 1, (3,) * (len(shape) - 1)) for n in range(3)],
    }
    at = found.measures.index
    for name, every in maps.items():
        values = found.values[found.methods.index(name)]
        expected = [area_between(net, x[n : n + 1], every[n], 1, 4) for n in range(3)]
        ours = values[at("insertion_mean")] - values[at("deletion_mean")]
        np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-5)
    best = max(found.ranking, key=lambda name: found.advantage[found.methods.index(name)])
    assert found.ranking[0] == best
    figure(found)
